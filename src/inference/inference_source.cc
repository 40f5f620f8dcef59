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
// The same of further completions of prompts that have been computed: as long as they have not looked, they wait.
constexpr int kSiblingLookups = 128;
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

absl::Status InferenceSource::CheckRequest(const GenerateRequest& request, absl::Time now) const {
  if (request.prompt.empty()) return absl::InvalidArgumentError("prompt has 0 tokens, want at least 1");
  const int max_tokens = request.stop.max_tokens;
  if (max_tokens < 1 && !request.pooling.has_value())
    return absl::InvalidArgumentError(absl::StrCat("max_tokens is ", max_tokens, ", want at least 1"));
  if (request.num_completions < 1 || request.num_completions > kMaxCompletions) {
    return absl::InvalidArgumentError(absl::StrCat("n is ", request.num_completions, ", want 1 to ", kMaxCompletions));
  }
  const int64_t blocks = pool_->BlocksFor(static_cast<int64_t>(request.prompt.size()) + max_tokens);
  if (blocks > pool_->num_blocks()) {
    return absl::InvalidArgumentError(
        absl::StrCat("prompt of ", request.prompt.size(), " tokens + max_tokens ", max_tokens, ", want at most ",
                     int64_t{pool_->num_blocks()} * pool_->block_size(), " together (the KV pool)"));
  }
  if (requests_.contains(request.request_id)) {
    return absl::AlreadyExistsError(absl::StrCat("request '", request.request_id, "' is running already"));
  }
  if (request.deadline <= now) return absl::DeadlineExceededError("the deadline had passed when the request arrived");
  if (const int waiting = counts().waiting; waiting >= options_.max_waiting) {
    return absl::ResourceExhaustedError(
        absl::StrCat(waiting, " requests are waiting, want at most ", options_.max_waiting));
  }
  return absl::OkStatus();
}

absl::Status InferenceSource::Submit(GenerateRequest request, AdapterRef adapter,
                                     std::shared_ptr<const void> adapter_lease, std::shared_ptr<GenerationSink> sink,
                                     absl::Time now) {
  CHECK(!in_step_);
  if (absl::Status status = CheckRequest(request, now); !status.ok()) return status;
  SequenceInit init{.id = ids_->Next(), .adapter = adapter, .adapter_lease = std::move(adapter_lease), .arrival = now};
  Request& state = requests_[request.request_id];
  state.to_come = request.num_completions - 1;
  if (state.to_come > 0) {
    state.completions = std::make_shared<Completions>(request.num_completions, std::move(sink));
    init.sink = state.completions->Sink(0);
  } else {
    init.sink = std::move(sink);
  }
  if (options_.prefix_cache && !request.needs_all_prompt_rows()) {
    init.prefix_root = PrefixRoot(adapter, request.cache_salt);
  } else if (state.to_come > 0) {
    // Its completions find their prompt, and nobody else finds anything: no client's salt begins like this one.
    init.prefix_root = PrefixRoot(adapter, absl::StrCat("\xFF", init.id));
  }
  init.request = std::move(request);
  Begin(std::move(init));
  return absl::OkStatus();
}

void InferenceSource::Begin(SequenceInit init) {
  const SequenceId id = init.id;
  requests_.at(init.request.request_id).sequences.push_back(id);
  tenants_.Enter(init.request.tenant);
  if (init.request.structure != nullptr) init.structure.emplace(init.request.structure, &mask_thread_);
  init.speculation = options_.speculation;
  init.speculation.max_tokens = init.request.max_drafts.value_or(options_.speculation.max_tokens);
  init.embedding_width = options_.embedding_width;
  sequences_.try_emplace(id, std::move(init), pool_, tokenizer_);
}

// The prompt of `first` has been computed: where more completions of it are to come, they find its full blocks in the
// prefix cache, compute the rows that are left and draw their own. They are made no earlier, so that a request that
// waits costs no more than one completion's memory.
void InferenceSource::BeginSiblings(const Sequence& first) {
  Request& state = requests_.at(first.request_id());
  for (int index = 1; state.to_come > 0; ++index, --state.to_come) {
    Begin({.id = ids_->Next(),
           .request = first.SiblingRequest(index),
           .adapter = first.adapter(),
           .adapter_lease = first.adapter_lease(),
           .sink = state.completions->Sink(index),
           .arrival = first.arrival(),
           .prefix_root = first.prefix_root(),
           .sibling = true});
  }
}

void InferenceSource::Abort(const std::string& request_id) {
  CHECK(!in_step_);
  const auto found = requests_.find(request_id);
  if (found == requests_.end()) return;
  const std::vector<SequenceId> sequences = found->second.sequences;
  for (const SequenceId id : sequences) {
    const auto it = sequences_.find(id);
    it->second.Abort(absl::CancelledError("the request was cancelled"));
    Erase(it);
  }
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
          .drafted_tokens = drafted_tokens_,
          .accepted_tokens = accepted_tokens_,
          .preemptions = preemptions_,
          .slo_requests = slo_requests_,
          .slo_met = slo_met_,
          .slo_recent = slo_recent_};
}

bool InferenceSource::can_run_ahead() const {
  return std::none_of(sequences_.begin(), sequences_.end(),
                      [](const auto& entry) { return entry.second.needs_last_token(); });
}

// By id, so that the longest waiting look into the cache first.
Offers InferenceSource::CollectOffers(absl::Time now) const {
  Offers offers;
  offers.spans.reserve(sequences_.size());
  int lookups = kLookups, sibling_lookups = kSiblingLookups;
  for (const auto& [id, sequence] : sequences_) {
    if (!sequence.ready()) continue;
    if (sequence.must_look() && sibling_lookups-- <= 0) continue;
    const bool looks = sequence.must_look() || (!sequence.admitted() && lookups-- > 0);
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
  CHECK(!in_step_) << "the last batch was not launched";
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
    if (sequence.Reserve(grant.num_rows)) ++running_;
    if (first_time) cached_tokens_ += sequence.usage().cached_tokens;
    const int drafted = sequence.usage().drafted_tokens;
    sequence.Emit(grant.num_rows, batch);
    drafted_tokens_ += sequence.usage().drafted_tokens - drafted;
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
    if (it->second.ended()) EraseEnded(it);
  }
  CHECK_EQ(result.scores.size(), batch.scores.size());
  for (size_t i = 0; i < batch.scores.size(); ++i) {
    const auto it = sequences_.find(batch.scores[i].sequence);
    if (it == sequences_.end()) continue;
    it->second.AcceptScore(result.scores[i]);
    if (it->second.ended()) EraseEnded(it);
  }
  for (size_t i = 0; i < batch.samples.size(); ++i) {
    const auto it = sequences_.find(batch.samples[i].sequence);
    if (it == sequences_.end()) continue;
    Sequence& sequence = it->second;
    if (batch.samples[i].index == 0) BeginSiblings(sequence);
    const int accepted = sequence.usage().accepted_tokens;
    if (sequence.Accept(result.sampled[i], now, result.logprobs.empty() ? TokenLogprobs() : result.logprobs[i])) {
      ++generated_tokens_;
      accepted_tokens_ += sequence.usage().accepted_tokens - accepted;
      tenants_.Serve(sequence.tenant(), 0, 1);
    }
    if (sequence.ended()) EraseEnded(it);
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

void InferenceSource::EraseEnded(Sequences::iterator ended) {
  const std::string request_id = ended->second.request_id();
  const std::shared_ptr<Completions> completions = requests_.at(request_id).completions;
  Erase(ended);
  if (completions == nullptr || completions->status().ok()) return;
  const auto found = requests_.find(request_id);
  if (found == requests_.end()) return;
  const std::vector<SequenceId> others = found->second.sequences;
  for (const SequenceId id : others) {
    const auto it = sequences_.find(id);
    it->second.Abort(completions->status());
    Erase(it);
  }
}

InferenceSource::Sequences::iterator InferenceSource::Erase(Sequences::iterator ended) {
  const Sequence& sequence = ended->second;
  if (sequence.admitted()) --running_;
  CountTargets(sequence);
  const auto request = requests_.find(sequence.request_id());
  std::erase(request->second.sequences, ended->first);
  if (request->second.sequences.empty()) requests_.erase(request);
  tenants_.Leave(sequence.tenant());
  return sequences_.erase(ended);
}

}  // namespace tandem
