#include "sched/step_features.h"

#include <algorithm>
#include <span>

namespace tandem {
namespace {

// Of rows at first_position, first_position + 1, ...: each sees itself and all before it.
double Pairs(int num_rows, int first_position) {
  return num_rows * (first_position + (num_rows + 1) / 2.0);
}

template <size_t N>
void AddAt(const KnotPosition& at, std::array<double, N>& weights) {
  weights[at.low] += at.low_weight;
  if (at.high_weight != 0) weights[at.low + 1] += at.high_weight;
}

void AddUnits(const Batch& batch, int num_units, StepFeatures& features) {
  for (const BackwardUnit& unit : std::span(batch.backward).first(static_cast<size_t>(num_units))) {
    features.AddBackward(unit.window.num_rows(), unit.window.begin);
  }
}

}  // namespace

void StepFeatures::AddSpan(SpanKind kind, int num_rows, int first_position, Bypass bypass) {
  rows += num_rows;
  spans += 1;
  if (bypass == Bypass::kYes || kind == SpanKind::kTrainForward) bypasses += 1;
  (kind == SpanKind::kDecode ? decode_context : prefill_pairs) += Pairs(num_rows, first_position);
  if (kind == SpanKind::kTrainForward) training_rows += num_rows;
}

void StepFeatures::AddLoss(int learned_rows) {
  if (learned_rows > 0) AddAt(Locate(kLossKnots, learned_rows), loss);
}

void StepFeatures::AddBackward(int num_rows, int first_position) {
  if (num_rows <= 0) return;
  AddAt(Locate(kBackwardKnots, num_rows), backward);
  backward_pairs += Pairs(num_rows, first_position);
  backward_rows += num_rows;
}

StepFeatures FeaturesOf(const Batch& batch, int num_units) {
  StepFeatures features;
  for (const Span& span : batch.spans) {
    features.AddSpan(span.kind, span.num_rows, span.first_position,
                     span.adapter.is_base() ? Bypass::kNo : Bypass::kYes);
    if (span.kind != SpanKind::kTrainForward && span.kind != SpanKind::kEvaluate) continue;
    const auto first = batch.labels.begin() + span.first_row;
    features.AddLoss(static_cast<int>(
        std::count_if(first, first + span.num_rows, [](int32_t label) { return label != kIgnoredLabel; })));
  }
  features.samples = static_cast<double>(batch.samples.size());
  AddUnits(batch, num_units, features);
  return features;
}

StepFeatures BackwardFeatures(const Batch& batch, int num_units) {
  StepFeatures features;
  AddUnits(batch, num_units, features);
  return features;
}

}  // namespace tandem
