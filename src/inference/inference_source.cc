#include "inference/inference_source.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/check.h"

namespace tandem {
namespace {

// Waiting requests that look into the prefix cache in one iteration: it costs a hash of the prompt, and no iteration
// admits many more.
constexpr int kLookups = 32;
// What "recently" means for the share of requests that met their latency targets.
constexpr int64_t kRecentRequests = 100;

}  // namespace

InferenceSource::InferenceSource(BlockPool* pool, const Tokenizer* tokenizer, SequenceIds* ids,
                                 const InferenceOptions& options)
    : pool_(pool), tokenizer_(tokenizer), ids_(ids), options_(options), tenants_(options.tenant_weights) {
  CHECK(pool != nullptr && tokenizer != nullptr && ids != nullptr);
  CHECK_GE(options.max_waiting, 1);
}

InferenceSource::~InferenceSource() = default;

absl::Status InferenceSource::Submit(GenerateRequest request, AdapterRef adapter,
                                     std::shared_ptr<const void> adapter_lease, std::shared_ptr<GenerationSink> sink,
                                     absl::Time now) {
  CHECK(!in_step_);
  if (request.prompt.empty()) return absl::InvalidArgumentError("prompt has 0 tokens, want at least 1");
  const int max_tokens = request.stop.max_tokens;
  if (max_tokens < 1)
    return absl::InvalidArgumentError(absl::StrCat("max_tokens is ", max_tokens, ", want at least 1"));
  const int64_t blocks = pool_->BlocksFor(static_cast<int64_t>(request.prompt.size()) + max_tokens);
  if (blocks > pool_->num_blocks()) {
    return absl::InvalidArgumentError(
        absl::StrCat("prompt of ", request.prompt.size(), " tokens + max_tokens ", max_tokens, ", want at most ",
                     int64_t{pool_->num_blocks()} * pool_->block_size(), " together (the KV pool)"));
  }
  if (by_request_id_.contains(request.request_id)) {
    return absl::AlreadyExistsError(absl::StrCat("request '", request.request_id, "' is running already"));
  }
  if (request.deadline <= now) return absl::DeadlineExceededError("the deadline had passed when the request arrived");
  if (const int waiting = counts().waiting; waiting >= options_.max_waiting) {
    return absl::ResourceExhaustedError(
        absl::StrCat(waiting, " requests are waiting, want at most ", options_.max_waiting));
  }
  const SequenceId id = ids_->Next();
  by_request_id_.emplace(request.request_id, id);
  tenants_.Enter(request.tenant);
  const bool cached = options_.prefix_cache && !request.needs_all_prompt_rows();
  PrefixId root = cached ? PrefixRoot(adapter, request.cache_salt) : PrefixId();
  std::optional<Structure> structure;
  if (request.structure != nullptr) structure.emplace(request.structure, &mask_thread_);
  sequences_.try_emplace(id,
                         SequenceInit{.id = id,
                                      .request = std::move(request),
                                      .adapter = adapter,
                                      .adapter_lease = std::move(adapter_lease),
                                      .sink = std::move(sink),
                                      .arrival = now,
                                      .structure = std::move(structure),
                                      .prefix_root = std::move(root)},
                         pool_, tokenizer_);
  return absl::OkStatus();
}

void InferenceSource::Abort(const std::string& request_id) {
  CHECK(!in_step_);
  const auto found = by_request_id_.find(request_id);
  if (found == by_request_id_.end()) return;
  const auto it = sequences_.find(found->second);
  it->second.Abort(absl::CancelledError("the request was cancelled"));
  Erase(it);
}

void InferenceSource::AbortAll(const absl::Status& status) {
  in_step_ = false;
  for (auto it = sequences_.begin(); it != sequences_.end(); it = Erase(it)) it->second.Abort(status);
}

InferenceCounts InferenceSource::counts() const {
  return {.running = running_,
          .waiting = static_cast<int>(sequences_.size()) - running_,
          .prompt_tokens = prompt_tokens_,
          .cached_tokens = cached_tokens_,
          .generated_tokens = generated_tokens_,
          .preemptions = preemptions_,
          .slo_requests = slo_requests_,
          .slo_met = slo_met_,
          .slo_recent = slo_recent_};
}

// By id, so that the longest waiting look into the cache first.
Offers InferenceSource::CollectOffers(absl::Time now) const {
  Offers offers;
  offers.spans.reserve(sequences_.size());
  int lookups = kLookups;
  for (const auto& [id, sequence] : sequences_) {
    const bool looks = !sequence.admitted() && lookups-- > 0;
    offers.spans.push_back(sequence.MakeOffer(looks ? Sequence::Lookup::kYes : Sequence::Lookup::kNo));
  }
  if (tenants_.active() > 1) TakeTurns(offers);
  return offers;
}

// Those that were preempted have had their turn: theirs stays 0.
void InferenceSource::TakeTurns(Offers& offers) const {
  std::vector<WaitingRequest> waiting;
  std::vector<Offer*> waiting_offers;
  for (Offer& offer : offers.spans) {
    const Sequence& sequence = sequences_.at(offer.sequence);
    if (sequence.admitted() || sequence.preempted()) continue;
    waiting.push_back({.sequence = offer.sequence,
                       .priority = offer.priority,
                       .tenant = sequence.tenant(),
                       .arrival = offer.arrival,
                       .prompt_tokens = sequence.prompt_size()});
    waiting_offers.push_back(&offer);
  }
  const std::vector<int> turns = tenants_.Turns(waiting);
  for (size_t i = 0; i < turns.size(); ++i) waiting_offers[i]->turn = turns[i];
}

Sequence& InferenceSource::Find(SequenceId granted) {
  const auto it = sequences_.find(granted);
  CHECK(it != sequences_.end()) << "sequence " << granted;
  return it->second;
}

void InferenceSource::Emit(const Grants& grants, Batch& batch) {
  CHECK(!in_step_) << "the last batch was not committed";
  CHECK(grants.backward.empty());
  for (const SequenceId id : grants.preempted) {
    Find(id).Preempt();
    --running_;
    ++preemptions_;
  }
  in_step_ = !grants.spans.empty();
  for (const SpanGrant& grant : grants.spans) {
    Sequence& sequence = Find(grant.sequence);
    const bool first_time = !sequence.admitted() && !sequence.preempted();
    if (sequence.Reserve()) ++running_;
    if (first_time) cached_tokens_ += sequence.usage().cached_tokens;
    sequence.Emit(grant.num_rows, batch);
  }
}

void InferenceSource::Commit(const Batch& batch, const StepResult& result, absl::Time now) {
  in_step_ = false;
  if (!result.status.ok()) {
    EndLost(batch, result.status);
    return EndExpired(now);
  }
  CHECK_EQ(result.sampled.size(), batch.samples.size());
  for (const Span& span : batch.spans) {
    const auto it = sequences_.find(span.sequence);
    if (it == sequences_.end()) continue;
    const int prompt_rows = it->second.Advance(span.num_rows);
    prompt_tokens_ += prompt_rows;
    tenants_.Serve(it->second.tenant(), prompt_rows, 0);
  }
  CHECK_EQ(result.scores.size(), batch.scores.size());
  for (size_t i = 0; i < batch.scores.size(); ++i) {
    const auto it = sequences_.find(batch.scores[i].sequence);
    if (it == sequences_.end()) continue;
    it->second.AcceptScore(result.scores[i]);
    if (it->second.ended()) Erase(it);
  }
  for (size_t i = 0; i < batch.samples.size(); ++i) {
    const auto it = sequences_.find(batch.samples[i].sequence);
    if (it == sequences_.end()) continue;
    if (result.sampled[i] >= 0) {
      ++generated_tokens_;
      tenants_.Serve(it->second.tenant(), 0, 1);
    }
    it->second.Accept(result.sampled[i], now, result.logprobs.empty() ? TokenLogprobs() : result.logprobs[i]);
    if (it->second.ended()) Erase(it);
  }
  EndExpired(now);
}

void InferenceSource::EndLost(const Batch& batch, const absl::Status& why) {
  for (const Span& span : batch.spans) {
    const auto it = sequences_.find(span.sequence);
    if (it == sequences_.end()) continue;
    it->second.Abort(why);
    Erase(it);
  }
}

void InferenceSource::EndExpired(absl::Time now) {
  for (auto it = sequences_.begin(); it != sequences_.end();) {
    if (now < it->second.deadline()) {
      ++it;
      continue;
    }
    const int tokens = it->second.usage().completion_tokens;
    it->second.Abort(
        absl::DeadlineExceededError(absl::StrCat("the deadline passed after ", tokens, " generated tokens")));
    it = Erase(it);
  }
}

void InferenceSource::CountTargets(const Sequence& ended) {
  const std::optional<bool> met = ended.met_targets();
  if (!met.has_value()) return;
  ++slo_requests_;
  slo_met_ += *met ? 1 : 0;
  slo_recent_ += (*met - slo_recent_) / static_cast<double>(std::min<int64_t>(slo_requests_, kRecentRequests));
}

InferenceSource::Sequences::iterator InferenceSource::Erase(Sequences::iterator ended) {
  if (ended->second.admitted()) --running_;
  CountTargets(ended->second);
  by_request_id_.erase(ended->second.request_id());
  tenants_.Leave(ended->second.tenant());
  return sequences_.erase(ended);
}

}  // namespace tandem
