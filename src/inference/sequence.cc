#include "inference/sequence.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/status.h"

namespace tandem {
Sequence::Sequence(SequenceInit init, BlockPool* pool, const Tokenizer* tokenizer)
    : id_(init.id),
      adapter_(init.adapter),
      arrival_(init.arrival),
      pool_(pool),
      prompt_size_(static_cast<int>(init.request.prompt.size())),
      prefix_root_(std::move(init.prefix_root)),
      sibling_(init.sibling),
      tokens_(std::move(init.request.prompt)),
      drafter_(init.speculation),
      request_(std::move(init.request)),
      ran_(init.sibling ? prompt_size_ : 0),
      was_admitted_(init.sibling),
      structure_(std::move(init.structure)),
      decoder_(tokenizer, request_.skip_special_tokens),
      stop_checker_(request_.stop.stop, request_.stop.include_stop_in_text ? StopChecker::StopString::kInText
                                                                           : StopChecker::StopString::kLeftOut),
      adapter_lease_(std::move(init.adapter_lease)),
      sink_(std::move(init.sink)) {
  CHECK(sink_ != nullptr);
  CHECK_GE(prompt_size_, 1);
  CHECK_GE(request_.stop.max_tokens, request_.pooling.has_value() ? 0 : 1);
  if (request_.pooling.has_value()) pooled_.assign(init.embedding_width, 0.0);
}

Sequence::~Sequence() {
  if (!ended()) Abort(absl::CancelledError("the engine has stopped"));
}

int Sequence::BlocksLeft(int held) const {
  const int64_t tokens = int64_t{prompt_size_} + request_.stop.max_tokens;
  return std::max(0, static_cast<int>(pool_->BlocksFor(tokens)) - held);
}

absl::Time Sequence::due() const {
  const int generated = usage().completion_tokens;
  if (generated == 0) return arrival_ + ttft_target() + awaited_ * tpot_target();
  return first_token_ + (generated + awaited_) * tpot_target();
}

std::optional<bool> Sequence::met_targets() const {
  const int generated = usage().completion_tokens;
  const bool targeted = ttft_target() < absl::InfiniteDuration() || tpot_target() < absl::InfiniteDuration();
  if (!targeted || generated == 0) return std::nullopt;
  return first_token_ - arrival_ <= ttft_target() && last_token_ - first_token_ <= (generated - 1) * tpot_target();
}

// At least one row has to run: its logits are what the next token is drawn from.
BlockPool::Match Sequence::FindPrefix() const {
  if (prefix_root_.empty()) return {};
  return pool_->Find(prefix_root_, tokens_, (size() - 1) / pool_->block_size());
}

bool Sequence::ready() const {
  if (!admitted()) return awaited_ == 0;
  const bool goes_on = awaited_ == 0 || usage().completion_tokens + awaited_ < request_.stop.max_tokens;
  return goes_on && emitted_ < size_to_come();
}

bool Sequence::needs_last_token() const {
  if (request_.prompt_logprobs.has_value() && computed_ < emitted_ && computed_ < prompt_size_) return true;
  if (awaited_ == 0) return false;
  const SamplingParams& params = request_.sampling;
  return structure_.has_value() || drafter_.guesses() || params.has_penalties() ||
         (params.rules != nullptr && !params.rules->bad_words.empty());
}

Offer Sequence::MakeOffer(Lookup lookup) const {
  Offer offer{.sequence = id_, .priority = request_.priority, .arrival = arrival_, .due = due(), .tpot = tpot_target()};
  offer.bypass = !adapter_.is_base();
  int held = blocks_.size();
  if (admitted()) {
    offer.kind = decodes() ? SpanKind::kDecode : SpanKind::kPrefill;
    offer.first_position = emitted_;
    offer.blocks_to_reserve = std::max(0, static_cast<int>(pool_->BlocksFor(size_to_come())) - held);
    offer.blocks_if_preempted = blocks_held_alone();
    held += offer.blocks_to_reserve;
  } else {
    const BlockPool::Match match = lookup == Lookup::kYes ? FindPrefix() : BlockPool::Match{};
    offered_cached_blocks_ = static_cast<int>(match.blocks.size());
    offer.first_position = offered_cached_blocks_ * pool_->block_size();
    held = static_cast<int>(pool_->BlocksFor(size()));
    offer.blocks_to_reserve = held - match.held;
  }
  offer.ready_rows = size_to_come() - offer.first_position;
  offer.blocks_to_end = BlocksLeft(held);
  if (decodes()) {
    offer.drafts = static_cast<int>(Guesses().size());
    offer.draft_acceptance = drafter_.acceptance();
    offer.blocks_for_drafts = std::max(0, static_cast<int>(pool_->BlocksFor(size() + offer.drafts)) - held);
    offer.ready_rows += offer.drafts;
  }
  return offer;
}

// The token behind the last of them is drawn too, and max_tokens is the end. A mask is known for the next token only.
std::span<const int32_t> Sequence::Guesses() const {
  const int left = request_.stop.max_tokens - usage().completion_tokens - 1;
  if (left <= 0 || structure_.has_value()) return {};
  return drafter_.Guess(tokens_, left);
}

GenerateRequest Sequence::SiblingRequest(int index) const {
  GenerateRequest request = request_;
  request.prompt.assign(tokens_.begin(), tokens_.begin() + prompt_size_);
  request.sampling.seed += static_cast<uint64_t>(index);
  request.prompt_logprobs.reset();  // the first one's
  return request;
}

bool Sequence::Reserve(int num_rows) {
  CHECK(!ended());
  const bool admits = !admitted();
  if (admits) {
    // No more than was offered: the rows granted may be all that are left behind it. Less where somebody who was
    // admitted before it in this iteration has taken a cached block.
    const BlockPool::Match match = pool_->Find(prefix_root_, tokens_, offered_cached_blocks_);
    blocks_ = pool_->Share(match);
    remembered_ = blocks_.size();
    prefix_ = match.blocks.empty() ? prefix_root_ : match.prefix;
    computed_ = emitted_ = remembered_ * pool_->block_size();
    prefill_end_ = size();
    if (!was_admitted_) cached_tokens_ = computed_;
    ran_ = std::max(ran_, computed_);
    admitted_ = was_admitted_ = true;
  }
  const int more = static_cast<int>(pool_->BlocksFor(std::max(size(), emitted_ + num_rows))) - blocks_.size();
  const absl::Status status = pool_->Extend(blocks_, std::max(0, more));
  CHECK(status.ok()) << "granted more than is free: " << status.ToString();
  return admits;
}

void Sequence::Preempt() {
  CHECK(admitted() && !ended() && in_flight_ == 0);
  blocks_.Release();
  admitted_ = false;
  computed_ = emitted_ = 0;
  remembered_ = 0;
  std::fill(pooled_.begin(), pooled_.end(), 0.0);
}

void Sequence::Emit(int num_rows, Batch& batch) {
  const int ready_rows = size_to_come() - emitted_;
  CHECK(admitted() && ready() && in_flight_ == 0 && !needs_last_token());
  const std::span<const int32_t> guesses = decodes() ? Guesses() : std::span<const int32_t>();
  CHECK(num_rows >= 1 && num_rows <= ready_rows + static_cast<int>(guesses.size()))
      << "got " << num_rows << ", ready " << ready_rows << " and " << guesses.size() << " guesses";
  in_flight_ = std::max(0, num_rows - ready_rows);
  tokens_.insert(tokens_.end(), guesses.begin(), guesses.begin() + in_flight_);
  drafted_ += in_flight_;
  batch.spans.push_back({.sequence = id_,
                         .adapter = adapter_,
                         .kind = decodes() ? SpanKind::kDecode : SpanKind::kPrefill,
                         .first_row = batch.num_rows(),
                         .num_rows = num_rows,
                         .first_position = emitted_,
                         .blocks = blocks_.blocks()});
  for (int position = emitted_; position < emitted_ + num_rows; ++position) {
    batch.token_ids.push_back(position < static_cast<int>(tokens_.size()) ? tokens_[position] : ~last_sample_);
  }
  emitted_ += num_rows - in_flight_;
  batch.labels.insert(batch.labels.end(), num_rows, kIgnoredLabel);
  EmitPromptRequests(batch.spans.back(), batch);
  if (request_.pooling.has_value()) return EmitPool(batch.spans.back(), batch);
  if (num_rows < ready_rows) return;
  awaited_ += 1 + in_flight_;
  for (int i = 0; i <= in_flight_; ++i) EmitSample(batch.num_rows() - 1 - in_flight_ + i, emitted_ + i, batch);
}

// Of the token behind the first num_tokens.
void Sequence::EmitSample(int row, int num_tokens, Batch& batch) {
  const int index = num_tokens - prompt_size_;
  SampleRequest sample{.sequence = id_, .row = row, .params = request_.sampling, .index = index};
  sample.history = std::span(tokens_).first(std::min<size_t>(num_tokens, tokens_.size()));
  sample.num_prompt_tokens = prompt_size_;
  if (index < request_.stop.min_tokens) sample.banned = request_.stop.stop_token_ids;
  if (structure_.has_value()) sample.mask = structure_->mask();
  last_sample_ = static_cast<int>(batch.samples.size());
  batch.samples.push_back(std::move(sample));
}

void Sequence::EmitPool(const Span& span, Batch& batch) {
  const int end = span.first_position + span.num_rows;
  if (request_.pooling == Pooling::kMean) {
    batch.pools.push_back(
        {.sequence = id_, .first_row = span.first_row, .num_rows = span.num_rows, .sum = std::span(pooled_)});
  } else if (end == prompt_size_) {
    batch.pools.push_back(
        {.sequence = id_, .first_row = batch.num_rows() - 1, .num_rows = 1, .sum = std::span(pooled_)});
  }
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

int Sequence::Advance(int num_rows) {
  if (!admitted()) return 0;  // preempted since: they are computed again
  const int prompt_rows = Compute(num_rows - in_flight_);
  if (request_.pooling.has_value() && computed_ == prompt_size_) EndEmbedding();
  return prompt_rows;
}

void Sequence::EndEmbedding() {
  const double count = request_.pooling == Pooling::kMean ? prompt_size_ : 1;
  for (const double sum : pooled_) embedding_.push_back(static_cast<float>(sum / count));
  if (std::all_of(embedding_.begin(), embedding_.end(), [](float x) { return std::isfinite(x); })) {
    return End(absl::OkStatus(), FinishReason::kStop);
  }
  Abort(absl::InternalError("the hidden states are not finite: the model or the adapter is broken"));
}

// num_rows more rows lie in the KV pool.
int Sequence::Compute(int num_rows) {
  computed_ += num_rows;
  emitted_ = std::max(emitted_, computed_);  // a guess that was right
  CHECK_LE(computed_, size());
  if (!prefix_root_.empty()) {
    const int block_size = pool_->block_size();
    for (; (remembered_ + 1) * block_size <= computed_; ++remembered_) {
      const auto tokens = std::span(tokens_).subspan(size_t{1} * remembered_ * block_size, block_size);
      prefix_ = pool_->Remember(blocks_.blocks()[remembered_], prefix_, tokens);
    }
  }
  const int before = std::exchange(ran_, std::max(ran_, computed_));
  return std::min(ran_, prompt_size_) - std::min(before, prompt_size_);
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

// Where the structure is complete and nothing can follow, not even an end token (the model may have none, or min_tokens
// forbids it), the text has just ended.
void Sequence::EndWithoutToken() {
  if (structure_.has_value()) {
    structure_->mask()->Wait();
    const absl::Status& status = structure_->mask()->status();
    if (!status.ok()) return Abort(Annotate(status, "structured output"));
    if (structure_->mask()->complete()) return End(absl::OkStatus(), FinishReason::kStop);
  }
  Abort(absl::InvalidArgumentError(absl::StrCat(
      "no token is left for position ", usage().completion_tokens,
      " of the completion: allowed_token_ids, bad words, logit_bias, min_tokens or the structure asked for "
      "rule out all of them")));
}

void Sequence::DropGuesses() {
  tokens_.resize(size());
  in_flight_ = awaited_ = 0;
}

bool Sequence::Accept(int32_t token, absl::Time now, TokenLogprobs logprobs) {
  if (awaited_ == 0) return false;
  --awaited_;
  if (token < 0) {
    if (token == kNoTokenAllowed) {
      EndWithoutToken();
    } else {
      Abort(absl::InternalError(absl::StrCat("the logits of token ", usage().completion_tokens,
                                             " are not finite: the model or the adapter is broken")));
    }
    return false;
  }
  if (in_flight_ > 0 && tokens_[size()] == token) {
    --in_flight_;
    ++accepted_;
    Compute(1);
  } else {
    if (in_flight_ > 0) DropGuesses();
    tokens_.push_back(token);
  }
  drafter_.Observe(token);
  last_token_ = now;
  if (usage().completion_tokens == 1) first_token_ = now;
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
  } else if (structure_.has_value()) {
    structure_->Advance(token);
  }
  return true;
}

void Sequence::Abort(const absl::Status& status) {
  CHECK(!status.ok());
  End(status, FinishReason::kCancelled);
}

Usage Sequence::usage() const {
  return {.prompt_tokens = prompt_size_,
          .completion_tokens = size() - prompt_size_,
          .cached_tokens = cached_tokens_,
          .drafted_tokens = drafted_,
          .accepted_tokens = accepted_};
}

// Everything it held is free again before the sink hears of it.
void Sequence::End(const absl::Status& status, FinishReason reason) {
  CHECK(!ended());
  DropGuesses();
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
               .stop_token = stop_string ? std::nullopt : stop_token_,
               .embedding = std::move(embedding_)});
}

}  // namespace tandem
