#include "inference/inference_source.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/check.h"

namespace tandem {
namespace {

// What "recently" means for the share of requests that met their latency targets.
constexpr int64_t kRecentRequests = 100;

}  // namespace

InferenceSource::InferenceSource(BlockPool* pool, const Tokenizer* tokenizer, SequenceIds* ids,
                                 const InferenceOptions& options)
    : pool_(pool), tokenizer_(tokenizer), ids_(ids), options_(options) {
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
  sequences_.try_emplace(id,
                         SequenceInit{.id = id,
                                      .request = std::move(request),
                                      .adapter = adapter,
                                      .adapter_lease = std::move(adapter_lease),
                                      .sink = std::move(sink),
                                      .arrival = now,
                                      .blocks_needed = static_cast<int>(blocks)},
                         tokenizer_);
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
          .generated_tokens = generated_tokens_,
          .slo_requests = slo_requests_,
          .slo_met = slo_met_,
          .slo_recent = slo_recent_};
}

Offers InferenceSource::CollectOffers(absl::Time now) const {
  Offers offers;
  offers.spans.reserve(sequences_.size());
  for (const auto& [id, sequence] : sequences_) {
    offers.spans.push_back(sequence.MakeOffer());
    offers.blocks_held += sequence.blocks_held();
  }
  return offers;
}

void InferenceSource::Emit(const Grants& grants, Batch& batch) {
  CHECK(!in_step_) << "the last batch was not committed";
  CHECK(grants.backward.empty());
  in_step_ = !grants.spans.empty();
  for (const SpanGrant& grant : grants.spans) {
    const auto it = sequences_.find(grant.sequence);
    CHECK(it != sequences_.end()) << "sequence " << grant.sequence;
    Sequence& sequence = it->second;
    if (const int blocks = sequence.MakeOffer().blocks_to_reserve; blocks > 0) {
      absl::StatusOr<BlockTable> table = pool_->Allocate(blocks);
      CHECK(table.ok()) << "granted more than is free: " << table.status().ToString();
      sequence.Reserve(*std::move(table));
      ++running_;
    }
    sequence.Emit(grant.num_rows, batch);
  }
}

void InferenceSource::Commit(const Batch& batch, const StepResult& result, absl::Time now) {
  in_step_ = false;
  CHECK_EQ(result.sampled.size(), batch.samples.size());
  for (const Span& span : batch.spans) {
    const auto it = sequences_.find(span.sequence);
    if (it == sequences_.end()) continue;
    it->second.Advance(span.num_rows);
    if (span.kind == SpanKind::kPrefill) prompt_tokens_ += span.num_rows;
  }
  for (size_t i = 0; i < batch.samples.size(); ++i) {
    const auto it = sequences_.find(batch.samples[i].sequence);
    if (it == sequences_.end()) continue;
    if (result.sampled[i] >= 0) ++generated_tokens_;
    it->second.Accept(result.sampled[i], now);
    if (it->second.ended()) Erase(it);
  }
  EndExpired(now);
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
  return sequences_.erase(ended);
}

}  // namespace tandem
