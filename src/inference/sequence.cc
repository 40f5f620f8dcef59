#include "inference/sequence.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/check.h"

namespace tandem {
Sequence::Sequence(SequenceInit init, const Tokenizer* tokenizer)
    : id_(init.id),
      adapter_(init.adapter),
      arrival_(init.arrival),
      blocks_needed_(init.blocks_needed),
      prompt_size_(static_cast<int>(init.request.prompt.size())),
      tokens_(std::move(init.request.prompt)),
      request_(std::move(init.request)),
      decoder_(tokenizer, request_.skip_special_tokens),
      stop_checker_(request_.stop.stop, request_.stop.include_stop_in_text ? StopChecker::StopString::kInText
                                                                           : StopChecker::StopString::kLeftOut),
      adapter_lease_(std::move(init.adapter_lease)),
      sink_(std::move(init.sink)) {
  CHECK(sink_ != nullptr);
  CHECK_GE(prompt_size_, 1);
  CHECK_GE(request_.stop.max_tokens, 1);
  CHECK_GE(blocks_needed_, 1);
}

Sequence::~Sequence() {
  if (!ended()) Abort(absl::CancelledError("the engine has stopped"));
}

Offer Sequence::MakeOffer() const {
  return {.sequence = id_,
          .kind = computed_ < prompt_size_ ? SpanKind::kPrefill : SpanKind::kDecode,
          .ready_rows = static_cast<int>(tokens_.size()) - computed_,
          .first_position = computed_,
          .blocks_to_reserve = admitted() ? 0 : blocks_needed_,
          .priority = 0,
          .arrival = arrival_};
}

void Sequence::Reserve(BlockTable blocks) {
  CHECK(!admitted() && !ended());
  CHECK_EQ(blocks.size(), blocks_needed_);
  blocks_ = std::move(blocks);
  admitted_ = true;
}

void Sequence::Emit(int num_rows, Batch& batch) {
  const Offer offer = MakeOffer();
  CHECK(admitted());
  CHECK(num_rows >= 1 && num_rows <= offer.ready_rows) << "got " << num_rows << ", ready " << offer.ready_rows;
  batch.spans.push_back({.sequence = id_,
                         .adapter = adapter_,
                         .kind = offer.kind,
                         .first_row = batch.num_rows(),
                         .num_rows = num_rows,
                         .first_position = computed_,
                         .blocks = blocks_.blocks()});
  const auto first = tokens_.begin() + computed_;
  batch.token_ids.insert(batch.token_ids.end(), first, first + num_rows);
  batch.labels.insert(batch.labels.end(), num_rows, kIgnoredLabel);
  EmitPromptRequests(batch.spans.back(), batch);
  if (num_rows < offer.ready_rows) return;
  const int index = static_cast<int>(tokens_.size()) - prompt_size_;
  SampleRequest sample{.sequence = id_, .row = batch.num_rows() - 1, .params = request_.sampling, .index = index};
  sample.history = tokens_;
  sample.num_prompt_tokens = prompt_size_;
  if (index < request_.stop.min_tokens) sample.banned = request_.stop.stop_token_ids;
  batch.samples.push_back(std::move(sample));
}

// The log probabilities of the prompt's tokens that follow the span's rows, but for those that are known.
void Sequence::EmitPromptRequests(const Span& span, Batch& batch) {
  if (!request_.prompt_logprobs.has_value() || tokens_.size() > static_cast<size_t>(prompt_size_)) return;
  if (prompt_logprobs_.empty()) prompt_logprobs_.push_back({.token = tokens_[0]});  // it follows nothing
  const int end = std::min(span.first_position + span.num_rows, prompt_size_ - 1);
  for (int position = static_cast<int>(prompt_logprobs_.size()) - 1; position < end; ++position) {
    CHECK_GE(position, span.first_position) << "rows of the prompt were left out";
    batch.scores.push_back({.sequence = id_,
                            .row = span.first_row + position - span.first_position,
                            .token = tokens_[position + 1],
                            .num_top = *request_.prompt_logprobs});
  }
}

void Sequence::Advance(int num_rows) {
  computed_ += num_rows;
  CHECK_LE(computed_, static_cast<int>(tokens_.size()));
}

void Sequence::AcceptScore(TokenLogprobs score) {
  if (std::isnan(score.logprob)) {
    return Abort(absl::InternalError(absl::StrCat("the logits of prompt token ", prompt_logprobs_.size(),
                                                  " are not finite: the model or the adapter is broken")));
  }
  prompt_logprobs_.push_back(std::move(score));
}

bool Sequence::IsStopToken(int32_t token) const {
  const std::vector<int32_t>& stop_tokens = request_.stop.stop_token_ids;
  return std::find(stop_tokens.begin(), stop_tokens.end(), token) != stop_tokens.end();
}

// The text that is certain with the token that was just appended.
std::string Sequence::TextOf(int32_t token, bool stop_token) {
  if (stop_token && !request_.stop.include_stop_in_text) return "";
  const std::string piece = decoder_.Append(token);
  return usage().completion_tokens <= request_.stop.min_tokens ? piece : stop_checker_.Append(piece);
}

void Sequence::Accept(int32_t token, TokenLogprobs logprobs) {
  if (token == kNoTokenAllowed) {
    return Abort(absl::InvalidArgumentError(absl::StrCat(
        "no token is left for position ", usage().completion_tokens,
        " of the completion: allowed_token_ids, bad words, logit_bias, min_tokens or the structure asked for "
        "rule out all of them")));
  }
  if (token < 0) {
    return Abort(absl::InternalError(absl::StrCat("the logits of token ", usage().completion_tokens,
                                                  " are not finite: the model or the adapter is broken")));
  }
  tokens_.push_back(token);
  const bool stop_token = IsStopToken(token);
  if (stop_token) stop_token_ = token;
  GenerationUpdate update{.token_ids = {token}, .text = TextOf(token, stop_token), .usage = usage()};
  if (request_.sampling.num_logprobs.has_value()) update.logprobs.push_back(std::move(logprobs));
  update.prompt_logprobs = std::exchange(prompt_logprobs_, {});
  sink_->OnUpdate(std::move(update));
  if (stop_token || stop_checker_.stopped()) {
    End(absl::OkStatus(), FinishReason::kStop);
  } else if (usage().completion_tokens == request_.stop.max_tokens) {
    End(absl::OkStatus(), FinishReason::kLength);
  }
}

void Sequence::Abort(const absl::Status& status) {
  CHECK(!status.ok());
  End(status, FinishReason::kCancelled);
}

Usage Sequence::usage() const {
  return {.prompt_tokens = prompt_size_, .completion_tokens = static_cast<int>(tokens_.size()) - prompt_size_};
}

// Everything it held is free again before the sink hears of it.
void Sequence::End(const absl::Status& status, FinishReason reason) {
  CHECK(!ended());
  std::string text = stop_checker_.Append(decoder_.Flush());
  text += stop_checker_.Flush();
  const bool stop_string = status.ok() && stop_checker_.stopped();
  if (stop_string) reason = FinishReason::kStop;
  blocks_.Release();
  adapter_lease_.reset();
  const std::shared_ptr<GenerationSink> sink = std::exchange(sink_, nullptr);
  sink->OnEnd({.status = status,
               .reason = reason,
               .usage = usage(),
               .adapter_generation = adapter_.generation,
               .text = std::move(text),
               .stop_string = stop_string ? stop_checker_.match() : "",
               .stop_token = stop_string ? std::nullopt : stop_token_});
}

}  // namespace tandem
