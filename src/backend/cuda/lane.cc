#include "backend/cuda/lane.h"

#include <algorithm>

namespace tandem::cuda {
namespace {

bool Same(const SequenceRows& a, const SequenceRows& b) {
  return a.first_row == b.first_row && a.num_rows == b.num_rows && a.first_position == b.first_position &&
         a.blocks.data() == b.blocks.data() && a.blocks.size() == b.blocks.size();
}

}  // namespace

std::shared_ptr<const void>& PlanCache::Find(std::span<const SequenceRows> sequences, uint64_t variant,
                                             const void* type) {
  for (const auto& plan : plans_) {
    if (plan->variant == variant && plan->type == type && std::ranges::equal(plan->sequences, sequences, Same)) {
      return plan->value;
    }
  }
  plans_.push_back(std::make_unique<Plan>(
      Plan{.sequences = {sequences.begin(), sequences.end()}, .variant = variant, .type = type, .value = nullptr}));
  return plans_.back()->value;
}

}  // namespace tandem::cuda
