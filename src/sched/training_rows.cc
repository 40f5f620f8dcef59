#include "sched/training_rows.h"

#include <algorithm>
#include <cstdint>

#include "sched/admission.h"

namespace tandem {
namespace {

// Even shares; what a sequence cannot use goes to the others, an odd row to the first.
void GrantForward(const std::vector<const Offer*>& offers, int rows, Grants& grants) {
  std::vector<int> granted(offers.size(), 0);
  std::vector<size_t> hungry;
  for (size_t i = 0; i < offers.size(); ++i) {
    if (offers[i]->ready_rows > 0) hungry.push_back(i);
  }
  while (rows > 0 && !hungry.empty()) {
    const int share = std::max(1, rows / static_cast<int>(hungry.size()));
    for (const size_t i : hungry) {
      const int take = std::min({share, offers[i]->ready_rows - granted[i], rows});
      granted[i] += take;
      rows -= take;
    }
    std::erase_if(hungry, [&](size_t i) { return granted[i] == offers[i]->ready_rows; });
  }
  for (size_t i = 0; i < offers.size(); ++i) GrantRows(*offers[i], granted[i], grants);
}

// One unit each in turn while they fit into `budget` layer-rows, the very first in any case. Returns their cost.
int64_t GrantBackward(const std::vector<BackwardOffer>& offers, int64_t budget, Grants& grants) {
  std::vector<int> units(offers.size(), 0);
  int64_t spent = 0;
  bool any = false;
  for (bool progress = true; progress;) {
    progress = false;
    for (size_t i = 0; i < offers.size(); ++i) {
      if (units[i] == static_cast<int>(offers[i].units.size())) continue;
      const int64_t cost = offers[i].units[units[i]].num_rows();
      if (any && spent + cost > budget) continue;
      spent += cost;
      ++units[i];
      any = progress = true;
    }
  }
  for (size_t i = 0; i < offers.size(); ++i) {
    if (units[i] > 0) grants.backward.push_back({offers[i].sequence, units[i]});
  }
  return spent;
}

}  // namespace

// The training spans that may run: those that hold their blocks, and the first of the others that `blocks` suffices
// for.
std::vector<const Offer*> AdmitTraining(const std::vector<Offer>& offers, int blocks) {
  std::vector<const Offer*> order = OfferPointers(offers);
  std::stable_sort(order.begin(), order.end(),
                   [](const Offer* a, const Offer* b) { return a->priority < b->priority; });
  bool queue_stopped = false;
  std::erase_if(order, [&](const Offer* offer) {
    if (offer->blocks_to_reserve == 0) return false;
    queue_stopped = queue_stopped || offer->blocks_to_reserve > blocks;
    if (!queue_stopped) blocks -= offer->blocks_to_reserve;
    return queue_stopped;
  });
  return order;
}

int TrainingBlocks(const SchedulerOptions& options, const SchedulerInput& input, int left_blocks) {
  return std::min(left_blocks, TrainingBlocksLimit(options, input.num_blocks) - input.training.blocks_held);
}

void PlanTrainingRows(const std::vector<const Offer*>& spans, const std::vector<BackwardOffer>& backward, int rows,
                      int num_layers, Grants& grants) {
  if (rows <= 0) return;
  const int64_t budget = int64_t{rows} * num_layers;
  int64_t forward_demand = 0;
  for (const Offer* offer : spans) forward_demand += int64_t{offer->ready_rows} * num_layers;
  const int64_t spent = GrantBackward(backward, std::max(budget - forward_demand, budget / 2), grants);
  GrantForward(spans, static_cast<int>(std::max<int64_t>(budget - spent, 0) / num_layers), grants);
}

}  // namespace tandem
