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

bool IsSet(absl::Time time) {
  return time != absl::Time() && time != absl::InfiniteFuture() && time != absl::InfinitePast();
}

namespace {

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
