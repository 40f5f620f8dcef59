// Fine-tuning's side of convert.h.
#include <utility>

#include "base/status.h"
#include "serve/grpc/convert.h"

namespace tandem {
namespace {

v1::JobState ToProto(JobState state) {
  switch (state) {
    case JobState::kValidating:
      return v1::JOB_STATE_VALIDATING;
    case JobState::kQueued:
      return v1::JOB_STATE_QUEUED;
    case JobState::kRunning:
      return v1::JOB_STATE_RUNNING;
    case JobState::kPaused:
      return v1::JOB_STATE_PAUSED;
    case JobState::kPreempted:
      return v1::JOB_STATE_PREEMPTED;
    case JobState::kCancelling:
      return v1::JOB_STATE_CANCELLING;
    case JobState::kSucceeded:
      return v1::JOB_STATE_SUCCEEDED;
    case JobState::kFailed:
      return v1::JOB_STATE_FAILED;
    case JobState::kCancelled:
      return v1::JOB_STATE_CANCELLED;
  }
  return v1::JOB_STATE_UNSPECIFIED;
}

absl::StatusOr<LrSchedule> FromProto(v1::LrSchedule schedule) {
  switch (schedule) {
    case v1::LR_SCHEDULE_CONSTANT:
      return LrSchedule::kConstant;
    case v1::LR_SCHEDULE_LINEAR:
      return LrSchedule::kLinear;
    case v1::LR_SCHEDULE_COSINE:
      return LrSchedule::kCosine;
    default:
      return absl::InvalidArgumentError(
          absl::StrCat("schedule is ", static_cast<int>(schedule), ", want 1 (constant), 2 (linear) or 3 (cosine)"));
  }
}

absl::StatusOr<LossMask> FromProto(v1::LossMask mask) {
  switch (mask) {
    case v1::LOSS_MASK_ALL:
      return LossMask::kAll;
    case v1::LOSS_MASK_COMPLETION:
      return LossMask::kCompletion;
    case v1::LOSS_MASK_ASSISTANT:
      return LossMask::kAssistant;
    default:
      return absl::InvalidArgumentError(
          absl::StrCat("loss_mask is ", static_cast<int>(mask), ", want 1 (all), 2 (completion) or 3 (assistant)"));
  }
}

absl::Status FillHyperparameters(const v1::Hyperparameters& h, JobInput& input) {
  if (h.has_epochs()) input.epochs = h.epochs();
  if (h.has_max_steps()) input.max_steps = h.max_steps();
  if (h.has_micro_batch()) input.micro_batch = h.micro_batch();
  if (h.has_gradient_accumulation()) input.gradient_accumulation = h.gradient_accumulation();
  if (h.has_learning_rate()) input.learning_rate = h.learning_rate();
  if (h.has_warmup_steps()) input.warmup_steps = h.warmup_steps();
  if (h.has_weight_decay()) input.weight_decay = h.weight_decay();
  if (h.has_beta1()) input.beta1 = h.beta1();
  if (h.has_beta2()) input.beta2 = h.beta2();
  if (h.has_epsilon()) input.epsilon = h.epsilon();
  if (h.has_max_grad_norm()) input.max_grad_norm = h.max_grad_norm();
  if (h.has_max_length()) input.max_length = h.max_length();
  if (h.has_shuffle()) input.shuffle = h.shuffle();
  if (h.has_seed()) input.seed = h.seed();
  // UNSPECIFIED is as good as not set: generated clients often send it so.
  if (h.schedule() != v1::LR_SCHEDULE_UNSPECIFIED) {
    ASSIGN_OR_RETURN(input.schedule, FromProto(h.schedule()));
  }
  if (h.loss_mask() != v1::LOSS_MASK_UNSPECIFIED) {
    ASSIGN_OR_RETURN(input.loss_mask, FromProto(h.loss_mask()));
  }
  return absl::OkStatus();
}

std::string StatusName(const absl::Status& status) {
  return absl::StatusCodeToString(status.code());
}

PeftInput FromProto(const v1::Peft& proto) {
  PeftInput peft;
  const auto modules = [](const auto& from, std::vector<std::string>& to) { to.assign(from.begin(), from.end()); };
  switch (proto.method_case()) {
    case v1::Peft::METHOD_NOT_SET:
      break;
    case v1::Peft::kLora: {
      const v1::Lora& lora = proto.lora();
      if (lora.has_use_dora()) peft.method = lora.use_dora() ? PeftMethod::kDora : PeftMethod::kLora;
      if (lora.has_rank()) peft.rank = lora.rank();
      if (lora.has_alpha()) peft.alpha = lora.alpha();
      if (lora.has_use_rslora()) peft.rank_stabilized = lora.use_rslora();
      if (lora.has_dropout()) peft.dropout = lora.dropout();
      modules(lora.target_modules(), peft.target_modules);
      break;
    }
    case v1::Peft::kIa3:
      peft.method = PeftMethod::kIa3;
      modules(proto.ia3().target_modules(), peft.target_modules);
      modules(proto.ia3().feedforward_modules(), peft.feedforward_modules);
      break;
    case v1::Peft::kBottleneck:
      peft.method = PeftMethod::kBottleneck;
      if (proto.bottleneck().has_width()) peft.rank = proto.bottleneck().width();
      if (proto.bottleneck().has_activation()) peft.activation = proto.bottleneck().activation();
      modules(proto.bottleneck().target_modules(), peft.target_modules);
      break;
  }
  return peft;
}

}  // namespace

absl::StatusOr<JobInput> FromProto(v1::CreateJobRequest& request) {
  JobInput input;
  input.adapter = std::move(*request.mutable_adapter());
  v1::TrainingData& data = *request.mutable_data();
  if (data.source_case() == v1::TrainingData::kJsonl) input.data = InlineData{std::move(*data.mutable_jsonl())};
  if (data.source_case() == v1::TrainingData::kPath) input.data = DataFile{std::move(*data.mutable_path())};
  input.data_name = std::move(*data.mutable_name());
  input.init_from_adapter = std::move(*request.mutable_init_from_adapter());
  if (request.has_publish_every_steps()) input.publish_every_steps = request.publish_every_steps();
  input.idempotency_key = std::move(*request.mutable_idempotency_key());
  input.peft = FromProto(request.peft());
  RETURN_IF_ERROR(FillHyperparameters(request.hyperparameters(), input));
  return input;
}

v1::Job ToProto(const JobInfo& job) {
  v1::Job proto;
  proto.set_id(job.id);
  proto.set_adapter(job.adapter_name);
  proto.set_state(ToProto(job.state));
  if (!job.error.ok()) {
    proto.mutable_error()->set_status(StatusName(job.error));
    proto.mutable_error()->set_message(std::string(job.error.message()));
  }
  proto.set_step(job.step);
  proto.set_total_steps(job.total_steps);
  proto.set_epoch(job.epoch);
  proto.set_loss(job.loss);
  proto.set_trained_tokens(job.trained_tokens);
  proto.set_num_samples(job.num_samples);
  proto.set_dataset_tokens(job.dataset_tokens);
  proto.set_dataset_learned_tokens(job.dataset_learned_tokens);
  proto.set_num_truncated_samples(job.num_truncated_samples);
  proto.set_adapter_generation(job.adapter_generation);
  proto.set_tokens_per_second(job.tokens_per_second);
  if (IsSet(job.created)) FillTimestamp(job.created, proto.mutable_created());
  if (IsSet(job.started)) FillTimestamp(job.started, proto.mutable_started());
  if (IsSet(job.finished)) FillTimestamp(job.finished, proto.mutable_finished());
  return proto;
}

v1::JobEvent ToProto(const JobEvent& event) {
  v1::JobEvent proto;
  proto.set_number(event.number);
  if (IsSet(event.time)) FillTimestamp(event.time, proto.mutable_time());
  proto.set_state(ToProto(event.state));
  switch (event.kind) {
    case JobEventKind::kStateChanged:
      proto.mutable_state_changed()->set_message(event.message);
      break;
    case JobEventKind::kStep: {
      v1::JobStep& step = *proto.mutable_step();
      step.set_step(event.step);
      step.set_loss(event.loss);
      step.set_learning_rate(event.learning_rate);
      step.set_gradient_norm(event.gradient_norm);
      step.set_tokens(event.tokens);
      step.set_tokens_per_second(event.tokens_per_second);
      break;
    }
    case JobEventKind::kPublished:
      proto.mutable_published()->set_adapter_generation(event.adapter_generation);
      break;
    case JobEventKind::kMessage:
      proto.mutable_message()->set_message(event.message);
      break;
  }
  return proto;
}

}  // namespace tandem
