#include "inference/sequence.h"

#include <algorithm>
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
      stop_checker_(request_.stop.stop),
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
          .arrival = arrival_,
          .due = due(),
          .tpot = tpot_target()};
}

absl::Time Sequence::due() const {
  const int generated = usage().completion_tokens;
  return generated == 0 ? arrival_ + ttft_target() : first_token_ + generated * tpot_target();
}

std::optional<bool> Sequence::met_targets() const {
  const int generated = usage().completion_tokens;
  const bool targeted = ttft_target() < absl::InfiniteDuration() || tpot_target() < absl::InfiniteDuration();
  if (!targeted || generated == 0) return std::nullopt;
  return first_token_ - arrival_ <= ttft_target() && last_token_ - first_token_ <= (generated - 1) * tpot_target();
}

void Sequence::Reserve(BlockTable blocks) {
  CHECK(!admitted() && !ended());
  CHECK_EQ(blocks.size(), blocks_needed_);
  blocks_ = std::move(blocks);
  admitted_ = true;
}

void Sequence::Emit(int num_rows, Batch& batch) const {
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
  if (num_rows < offer.ready_rows) return;
  batch.samples.push_back({.sequence = id_,
                           .row = batch.num_rows() - 1,
                           .params = request_.sampling,
                           .index = static_cast<int>(tokens_.size()) - prompt_size_});
}

void Sequence::Advance(int num_rows) {
  computed_ += num_rows;
  CHECK_LE(computed_, static_cast<int>(tokens_.size()));
}

void Sequence::Accept(int32_t token, absl::Time now) {
  if (token < 0) {
    return Abort(absl::InternalError(absl::StrCat("the logits of token ", usage().completion_tokens,
                                                  " are not finite: the model or the adapter is broken")));
  }
  tokens_.push_back(token);
  last_token_ = now;
  if (usage().completion_tokens == 1) first_token_ = now;
  const std::vector<int32_t>& stop_tokens = request_.stop.stop_token_ids;
  const bool stop_token = std::find(stop_tokens.begin(), stop_tokens.end(), token) != stop_tokens.end();
  GenerationUpdate update{.token_ids = {token}, .text = "", .usage = usage()};
  if (!stop_token) update.text = stop_checker_.Append(decoder_.Append(token));
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
  if (status.ok() && stop_checker_.stopped()) reason = FinishReason::kStop;
  blocks_.Release();
  adapter_lease_.reset();
  const std::shared_ptr<GenerationSink> sink = std::exchange(sink_, nullptr);
  sink->OnEnd({.status = status,
               .reason = reason,
               .usage = usage(),
               .adapter_generation = adapter_.generation,
               .text = std::move(text)});
}

}  // namespace tandem
