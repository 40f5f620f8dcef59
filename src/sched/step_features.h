// What an iteration's time depends on, as numbers: filled from a batch or from a plan, read by the cost model.
//
// Time is a sum of curves and rates. A curve is given by its heights at fixed sizes (knots) with straight lines between
// them, so one form holds what reads weights (flat at few rows), what computes (rising beyond) and the steps between.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "tandem/batch.h"

namespace tandem {

inline constexpr std::array kRowKnots = {1,  2,  3,  4,  5,  6,   7,   8,   10,  12, 16,
                                         24, 32, 48, 64, 96, 128, 192, 256, 384, 512};
inline constexpr std::array kSampleKnots = {1, 2, 4, 8, 16, 32, 64, 128};
inline constexpr std::array kLossKnots = {1, 8, 16, 32, 64, 128, 256};
inline constexpr std::array kBackwardKnots = {8, 16, 32, 64, 128, 256};

// Where a size lies between two knots: its value is low_weight * height[low] + high_weight * height[low + 1]. Below the
// first knot it is that knot's height, beyond the last the last line goes on.
struct KnotPosition {
  size_t low = 0;
  double low_weight = 0, high_weight = 0;
};

template <size_t N>
KnotPosition Locate(const std::array<int, N>& knots, double size) {
  if (size <= knots[0]) return {0, 1, 0};
  size_t low = 0;
  while (low + 2 < N && size > knots[low + 1]) ++low;
  const double part = (size - knots[low]) / (knots[low + 1] - knots[low]);
  return {low, 1 - part, part};
}

enum class Bypass : uint8_t { kNo, kYes };  // whether rows run through an adapter; training's always do

struct StepFeatures {
  double rows = 0;            // packed, of all spans: one pass over the weights
  double spans = 0;           // sequences that have rows
  double bypasses = 0;        // of these: through an adapter, training's included
  double decode_context = 0;  // tokens that decode rows attend to, summed
  double prefill_pairs = 0;   // (row, token it attends to), of all other spans
  double samples = 0;         // rows that need logits
  double training_rows = 0;   // rows that are saved for backward
  // Each training span's loss and each backward unit is a piece of work of its own: weights of its knots, summed.
  std::array<double, kLossKnots.size()> loss = {};
  std::array<double, kBackwardKnots.size()> backward = {};
  double backward_pairs = 0;
  double backward_rows = 0;  // rows times layers; for reports, costs are in `backward`

  void AddSpan(SpanKind kind, int num_rows, int first_position, Bypass bypass = Bypass::kNo);
  void AddLoss(int learned_rows);  // of a span that was added as training
  void AddBackward(int num_rows, int first_position);
  bool empty() const { return rows == 0 && backward_rows == 0; }
};

// Of a batch of which the first `num_units` backward units run.
StepFeatures FeaturesOf(const Batch& batch, int num_units);
StepFeatures BackwardFeatures(const Batch& batch, int num_units);  // of these units alone

}  // namespace tandem
