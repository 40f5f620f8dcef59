#include "serve/grpc/convert.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "base/status.h"
#include "tokenizer/utf8.h"

namespace tandem {

void FillTimestamp(absl::Time time, google::protobuf::Timestamp* timestamp) {
  const int64_t seconds = absl::ToUnixSeconds(time);
  timestamp->set_seconds(seconds);
  timestamp->set_nanos(static_cast<int32_t>(absl::ToInt64Nanoseconds(time - absl::FromUnixSeconds(seconds))));
}

namespace {

// A time that was never set (the epoch, or an infinity) stays unset on the wire.
bool IsSet(absl::Time time) {
  return time != absl::Time() && time != absl::InfiniteFuture() && time != absl::InfinitePast();
}

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

void FillTokenRules(const v1::Sampling& sampling, GenerationInput& input) {
  for (const auto& [token, bias] : sampling.logit_bias()) input.logit_bias.push_back({.token = token, .bias = bias});
  // A map comes in any order.
  std::sort(input.logit_bias.begin(), input.logit_bias.end(),
            [](const TokenBias& a, const TokenBias& b) { return a.token < b.token; });
  input.allowed_token_ids.assign(sampling.allowed_token_ids().begin(), sampling.allowed_token_ids().end());
  input.bad_words.assign(sampling.bad_words().begin(), sampling.bad_words().end());
  for (const v1::TokenPrompt& tokens : sampling.bad_token_sequences()) {
    input.bad_token_sequences.emplace_back(tokens.ids().begin(), tokens.ids().end());
  }
}

std::optional<StructureInput> TakeStructure(v1::GenerateRequest& request) {
  switch (request.structured_case()) {
    case v1::GenerateRequest::kJsonSchema:
      return StructureInput{StructureKind::kJsonSchema, std::move(*request.mutable_json_schema())};
    case v1::GenerateRequest::kRegex:
      return StructureInput{StructureKind::kRegex, std::move(*request.mutable_regex())};
    case v1::GenerateRequest::kGrammar:
      return StructureInput{StructureKind::kGrammar, std::move(*request.mutable_grammar())};
    case v1::GenerateRequest::kJsonObject:
      if (request.json_object()) return StructureInput{StructureKind::kJsonObject, ""};
      break;
    case v1::GenerateRequest::STRUCTURED_NOT_SET:
      break;
  }
  return std::nullopt;
}

std::vector<ChatMessage> TakeMessages(v1::ChatPrompt& chat) {
  std::vector<ChatMessage> messages;
  for (v1::ChatMessage& message : *chat.mutable_messages()) {
    messages.push_back({std::move(*message.mutable_role()), std::move(*message.mutable_content())});
  }
  return messages;
}

std::string StatusName(const absl::Status& status) {
  return absl::StatusCodeToString(status.code());
}

}  // namespace

Prompt FromProto(v1::TokenizeRequest& request) {
  switch (request.prompt_case()) {
    case v1::TokenizeRequest::kText:
      return std::move(*request.mutable_text());
    case v1::TokenizeRequest::kChat:
      return TakeMessages(*request.mutable_chat());
    case v1::TokenizeRequest::PROMPT_NOT_SET:
      break;
  }
  return {};
}

GenerationInput FromProto(v1::GenerateRequest& request) {
  GenerationInput input;
  switch (request.prompt_case()) {
    case v1::GenerateRequest::kText:
      input.prompt = std::move(*request.mutable_text());
      break;
    case v1::GenerateRequest::kTokens:
      input.prompt = std::vector<int32_t>(request.tokens().ids().begin(), request.tokens().ids().end());
      break;
    case v1::GenerateRequest::kChat:
      input.prompt = TakeMessages(*request.mutable_chat());
      break;
    case v1::GenerateRequest::PROMPT_NOT_SET:
      break;
  }
  input.structure = TakeStructure(request);
  input.request_id = std::move(*request.mutable_request_id());
  input.adapter = std::move(*request.mutable_adapter());
  if (request.has_ttft_ms()) input.ttft_ms = request.ttft_ms();
  if (request.has_tpot_ms()) input.tpot_ms = request.tpot_ms();
  const v1::Sampling& sampling = request.sampling();
  if (sampling.has_temperature()) input.temperature = sampling.temperature();
  if (sampling.has_top_k()) input.top_k = sampling.top_k();
  if (sampling.has_top_p()) input.top_p = sampling.top_p();
  if (sampling.has_seed()) input.seed = sampling.seed();
  FillTokenRules(sampling, input);
  if (sampling.has_n()) input.n = sampling.n();
  if (sampling.has_min_p()) input.min_p = sampling.min_p();
  if (sampling.has_typical_p()) input.typical_p = sampling.typical_p();
  if (sampling.has_presence_penalty()) input.presence_penalty = sampling.presence_penalty();
  if (sampling.has_frequency_penalty()) input.frequency_penalty = sampling.frequency_penalty();
  if (sampling.has_repetition_penalty()) input.repetition_penalty = sampling.repetition_penalty();
  if (request.has_logprobs()) input.logprobs = request.logprobs();
  if (request.has_prompt_lookup_tokens()) input.prompt_lookup_tokens = request.prompt_lookup_tokens();
  if (request.has_prompt_logprobs()) input.prompt_logprobs = request.prompt_logprobs();
  v1::Stopping& stopping = *request.mutable_stopping();
  if (stopping.has_max_tokens()) input.max_tokens = stopping.max_tokens();
  if (stopping.has_min_tokens()) input.min_tokens = stopping.min_tokens();
  input.include_stop_in_text = stopping.include_stop_str_in_output();
  input.stop.assign(std::make_move_iterator(stopping.mutable_stop()->begin()),
                    std::make_move_iterator(stopping.mutable_stop()->end()));
  input.stop_token_ids.assign(stopping.stop_token_ids().begin(), stopping.stop_token_ids().end());
  input.ignore_eos = stopping.ignore_eos();
  if (request.has_skip_special_tokens()) input.skip_special_tokens = request.skip_special_tokens();
  if (request.has_priority()) input.priority = request.priority();
  input.tenant = std::move(*request.mutable_tenant());
  input.cache_salt = std::move(*request.mutable_cache_salt());
  return input;
}

absl::StatusOr<EmbeddingInput> FromProto(v1::EmbedRequest& request) {
  EmbeddingInput input;
  for (v1::EmbedInput& one : *request.mutable_inputs()) {
    switch (one.input_case()) {
      case v1::EmbedInput::kText:
        input.inputs.emplace_back(std::move(*one.mutable_text()));
        break;
      case v1::EmbedInput::kTokens:
        input.inputs.emplace_back(std::vector<int32_t>(one.tokens().ids().begin(), one.tokens().ids().end()));
        break;
      case v1::EmbedInput::kChat:
        input.inputs.emplace_back(TakeMessages(*one.mutable_chat()));
        break;
      case v1::EmbedInput::INPUT_NOT_SET:
        input.inputs.emplace_back();
        break;
    }
  }
  switch (request.pooling()) {
    case v1::EMBEDDING_POOLING_UNSPECIFIED:
    case v1::EMBEDDING_POOLING_LAST:
      break;
    case v1::EMBEDDING_POOLING_MEAN:
      input.pooling = Pooling::kMean;
      break;
    default:
      return absl::InvalidArgumentError(
          absl::StrCat("pooling is ", static_cast<int>(request.pooling()), ", want 1 (last) or 2 (mean)"));
  }
  input.adapter = std::move(*request.mutable_adapter());
  if (request.has_priority()) input.priority = request.priority();
  input.tenant = std::move(*request.mutable_tenant());
  input.cache_salt = std::move(*request.mutable_cache_salt());
  input.request_id = std::move(*request.mutable_request_id());
  return input;
}

namespace {

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

v1::Adapter ToProto(const AdapterInfo& adapter) {
  v1::Adapter proto;
  proto.set_name(adapter.name);
  proto.set_generation(adapter.generation);
  proto.set_method(std::string(Name(adapter.method)));
  proto.set_rank(adapter.rank);
  proto.set_alpha(adapter.alpha);
  for (const std::string& module : adapter.target_modules) proto.add_target_modules(module);
  proto.set_num_parameters(adapter.num_parameters);
  proto.set_path(adapter.path);
  proto.set_job_id(adapter.job_id);
  if (IsSet(adapter.created)) FillTimestamp(adapter.created, proto.mutable_created());
  return proto;
}

void FillScheduler(const SchedulerStatus& status, v1::SchedulerStatus& proto) {
  proto.set_policy(status.policy);
  proto.set_decode_rows(status.decode_rows);
  proto.set_prefill_rows(status.prefill_rows);
  proto.set_training_rows(status.training_rows);
  proto.set_backward_rows(status.backward_rows);
  proto.set_predicted_ms(status.predicted_ms);
  proto.set_measured_ms(status.measured_ms);
  proto.set_budget_ms(status.budget_ms);
  proto.set_mean_error(status.mean_error);
  proto.set_headroom(status.headroom);
  proto.set_planning_us(status.planning_us);
  proto.set_yields(status.yields);
  proto.set_outliers(status.outliers);
  proto.set_slo_requests(status.slo_requests);
  proto.set_slo_met(status.slo_met);
  proto.set_slo_recent(status.slo_recent);
  proto.set_slo_unmeetable(status.slo_unmeetable);
  proto.set_cost_model(status.cost_model);
  proto.set_busy_seconds(status.busy_seconds);
}

v1::DaemonStatus ToProto(const EngineStatus& status) {
  v1::DaemonStatus proto;
  proto.set_version(TANDEM_VERSION);
  if (IsSet(status.started)) FillTimestamp(status.started, proto.mutable_started());
  proto.set_draining(status.draining);
  proto.set_steps(status.steps);
  proto.set_last_step_ms(status.last_step_ms);
  v1::ModelStatus& model = *proto.mutable_model();
  model.set_name(status.model_name);
  model.set_path(status.model_path);
  model.set_backend(status.backend);
  model.set_weight_dtype(status.weight_dtype);
  model.set_num_parameters(status.num_parameters);
  model.set_max_context(status.max_context);
  v1::InferenceStatus& inference = *proto.mutable_inference();
  inference.set_running_requests(status.running_requests);
  inference.set_waiting_requests(status.waiting_requests);
  inference.set_prompt_tokens(status.prompt_tokens);
  inference.set_generated_tokens(status.generated_tokens);
  inference.set_cached_prompt_tokens(status.cached_prompt_tokens);
  inference.set_preemptions(status.preemptions);
  inference.set_drafted_tokens(status.drafted_tokens);
  inference.set_accepted_tokens(status.accepted_tokens);
  inference.set_tokens_per_second(status.inference_tokens_per_second);
  v1::TrainingStatus& training = *proto.mutable_training();
  training.set_running_jobs(status.running_jobs);
  training.set_queued_jobs(status.queued_jobs);
  training.set_trained_tokens(status.trained_tokens);
  training.set_preemptions(status.training_preemptions);
  training.set_tokens_per_second(status.training_tokens_per_second);
  FillScheduler(status.scheduler, *proto.mutable_scheduler());
  v1::KvStatus& kv = *proto.mutable_kv();
  kv.set_blocks_used(status.kv_blocks_used);
  kv.set_blocks_total(status.kv_blocks_total);
  kv.set_block_size(status.kv_block_size);
  kv.set_blocks_cached(status.kv_blocks_cached);
  return proto;
}

v1::Model ToProto(const ModelInfo& model) {
  v1::Model proto;
  proto.set_name(model.source.name);
  proto.set_path(model.source.path);
  proto.set_progress(model.progress);
  FillTimestamp(model.since, proto.mutable_since());
  switch (model.state) {
    case ModelState::kLoading:
      proto.set_state(v1::MODEL_STATE_LOADING);
      break;
    case ModelState::kReady:
      proto.set_state(v1::MODEL_STATE_READY);
      break;
    case ModelState::kUnloading:
      proto.set_state(v1::MODEL_STATE_UNLOADING);
      break;
  }
  if (!model.engine.has_value()) return proto;
  proto.set_backend(model.engine->backend);
  proto.set_weight_dtype(model.engine->weight_dtype);
  proto.set_num_parameters(model.engine->num_parameters);
  proto.set_max_context(model.engine->max_context);
  return proto;
}

v1::TokenLogprobs ToProto(const TokenLogprobs& logprobs, const Tokenizer& tokenizer) {
  const auto fill = [&tokenizer](int32_t id, float logprob, v1::TokenLogprob& out) {
    out.set_id(id);
    if (!std::isnan(logprob)) out.set_logprob(logprob);
    out.set_bytes(tokenizer.TokenBytes(id));
    out.set_text(ReplaceInvalidUtf8(out.bytes()));
  };
  v1::TokenLogprobs proto;
  fill(logprobs.token, logprobs.logprob, *proto.mutable_token());
  for (const TokenLogprob& top : logprobs.top) fill(top.token, top.logprob, *proto.add_top());
  return proto;
}

void FillUsage(const Usage& usage, v1::Usage& proto) {
  proto.set_prompt_tokens(usage.prompt_tokens);
  proto.set_completion_tokens(usage.completion_tokens);
  proto.set_cached_tokens(usage.cached_tokens);
  proto.set_drafted_tokens(usage.drafted_tokens);
  proto.set_accepted_tokens(usage.accepted_tokens);
}

v1::FinishReason ToProto(FinishReason reason) {
  switch (reason) {
    case FinishReason::kStop:
      return v1::FINISH_REASON_STOP;
    case FinishReason::kLength:
      return v1::FINISH_REASON_LENGTH;
    case FinishReason::kCancelled:
      break;  // travels as the status CANCELLED
  }
  return v1::FINISH_REASON_UNSPECIFIED;
}

}  // namespace tandem
