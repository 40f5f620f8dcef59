#include "sim/sources.h"

#include <algorithm>
#include <utility>

#include "base/check.h"

namespace tandem::sim {
namespace {

absl::Time AtTrace(absl::Duration since_start) {
  return absl::UnixEpoch() + since_start;
}

void Reserve(BlockPool* pool, int tokens, BlockTable& blocks) {
  if (!blocks.empty()) return;
  absl::StatusOr<BlockTable> table = pool->Allocate(static_cast<int>(pool->BlocksFor(tokens)));
  CHECK(table.ok()) << "granted more than is free: " << table.status().ToString();
  blocks = *std::move(table);
}

void EmitSpan(const Span& span, int32_t label, Batch& batch) {
  batch.spans.push_back(span);
  batch.token_ids.insert(batch.token_ids.end(), static_cast<size_t>(span.num_rows), 0);
  batch.labels.insert(batch.labels.end(), static_cast<size_t>(span.num_rows), label);
}

}  // namespace

SimulatedInference::SimulatedInference(const std::vector<TraceRequest>& trace, const SloTargets& slo, BlockPool* pool,
                                       SequenceIds* ids)
    : trace_(trace), slo_(slo), pool_(pool), ids_(ids) {}

void SimulatedInference::Arrive(absl::Time now) {
  for (; next_ < trace_.size() && AtTrace(trace_[next_].arrival) <= now; ++next_) {
    Request& request = running_[ids_->Next()];
    request.trace = &trace_[next_];
    request.outcome.arrival = AtTrace(trace_[next_].arrival);
    request.outcome.output_tokens = trace_[next_].output_tokens;
  }
}

absl::Time SimulatedInference::next_arrival() const {
  return next_ < trace_.size() ? AtTrace(trace_[next_].arrival) : absl::InfiniteFuture();
}

Offer SimulatedInference::OfferOf(SequenceId id, const Request& request) const {
  const int tokens = request.trace->prompt_tokens + request.trace->output_tokens;
  const RequestOutcome& outcome = request.outcome;
  return {
      .sequence = id,
      .kind = request.generated == 0 ? SpanKind::kPrefill : SpanKind::kDecode,
      .ready_rows = request.ready_rows(),
      .first_position = request.computed,
      .blocks_to_reserve = request.blocks.empty() ? static_cast<int>(pool_->BlocksFor(tokens)) : 0,
      .arrival = outcome.arrival,
      .due = request.generated == 0 ? outcome.arrival + slo_.ttft : outcome.first_token + request.generated * slo_.tpot,
      .tpot = slo_.tpot};
}

Offers SimulatedInference::CollectOffers(absl::Time now) const {
  Offers offers;
  for (const auto& [id, request] : running_) {
    offers.spans.push_back(OfferOf(id, request));
    offers.blocks_held += request.blocks.size();
  }
  return offers;
}

void SimulatedInference::Emit(const Grants& grants, Batch& batch) {
  for (const SpanGrant& grant : grants.spans) {
    Request& request = running_.at(grant.sequence);
    Reserve(pool_, request.trace->prompt_tokens + request.trace->output_tokens, request.blocks);
    EmitSpan({.sequence = grant.sequence,
              .kind = request.generated == 0 ? SpanKind::kPrefill : SpanKind::kDecode,
              .first_row = batch.num_rows(),
              .num_rows = grant.num_rows,
              .first_position = request.computed},
             kIgnoredLabel, batch);
    if (grant.num_rows == request.ready_rows()) {
      batch.samples.push_back({.sequence = grant.sequence, .row = batch.num_rows() - 1});
    }
  }
}

void SimulatedInference::Commit(const Batch& batch, const StepResult& result, absl::Time now) {
  for (const Span& span : batch.spans) {
    const auto it = running_.find(span.sequence);
    if (it != running_.end()) it->second.computed += span.num_rows;
  }
  for (const SampleRequest& sample : batch.samples) {
    Request& request = running_.at(sample.sequence);
    if (++request.generated == 1) request.outcome.first_token = now;
    request.outcome.last_token = now;
    if (request.generated < request.trace->output_tokens) continue;
    outcomes_.push_back(request.outcome);
    running_.erase(sample.sequence);
  }
}

SimulatedTraining::SimulatedTraining(const JobShape& shape, BlockPool* pool, SequenceIds* ids)
    : shape_(shape), pool_(pool), ids_(ids) {
  forward_.id = ids_->Next();
}

TokenWindow SimulatedTraining::WindowOf(int unit) const {
  const int begin = (windows() - 1 - unit % windows()) * shape_.window;
  return {.begin = begin, .end = std::min(begin + shape_.window, shape_.sample_tokens)};
}

Offers SimulatedTraining::CollectOffers(absl::Time now) const {
  Offers offers;
  offers.blocks_held = forward_.blocks.size() + backward_.blocks.size();
  if (forward_.done < shape_.sample_tokens) {
    const int blocks = forward_.blocks.empty() ? static_cast<int>(pool_->BlocksFor(shape_.sample_tokens)) : 0;
    offers.spans.push_back({.sequence = forward_.id,
                            .kind = SpanKind::kTrainForward,
                            .ready_rows = shape_.sample_tokens - forward_.done,
                            .first_position = forward_.done,
                            .blocks_to_reserve = blocks,
                            .arrival = {}});
  }
  if (backward_.id == 0) return offers;
  BackwardOffer offer{.job = 1, .sequence = backward_.id, .units = {}};
  for (int unit = backward_.done; unit < units(); ++unit) offer.units.push_back(WindowOf(unit));
  offers.backward.push_back(std::move(offer));
  return offers;
}

void SimulatedTraining::Emit(const Grants& grants, Batch& batch) {
  for (const SpanGrant& grant : grants.spans) {
    CHECK_EQ(grant.sequence, forward_.id);
    Reserve(pool_, shape_.sample_tokens, forward_.blocks);
    EmitSpan({.sequence = grant.sequence,
              .kind = SpanKind::kTrainForward,
              .first_row = batch.num_rows(),
              .num_rows = grant.num_rows,
              .first_position = forward_.done},
             0, batch);
  }
  for (const BackwardGrant& grant : grants.backward) {
    for (int unit = backward_.done; unit < backward_.done + grant.num_units; ++unit) {
      batch.backward.push_back({.job = 1,
                                .sequence = backward_.id,
                                .layer = shape_.num_layers - 1 - unit / windows(),
                                .window = WindowOf(unit)});
    }
  }
}

void SimulatedTraining::Commit(const Batch& batch, const StepResult& result, absl::Time now) {
  for (const Span& span : batch.spans) {
    if (span.sequence == forward_.id) forward_.done += span.num_rows;
  }
  backward_.done += static_cast<int>(batch.backward.size()) - result.backward_skipped;
  if (backward_.id != 0 && backward_.done == units()) {
    trained_tokens_ += shape_.sample_tokens;
    backward_ = {};
  }
  if (backward_.id != 0 || forward_.done < shape_.sample_tokens) return;
  backward_ = std::exchange(forward_, {});
  backward_.done = 0;
  forward_.id = ids_->Next();
}

}  // namespace tandem::sim
