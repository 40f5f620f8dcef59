#include "sched/coserving.h"

#include <algorithm>
#include <cstdint>
#include <tuple>
#include <vector>

#include "base/check.h"

namespace tandem {
namespace {

// What the iteration still has to give while it is being planned.
struct Remaining {
  int rows = 0;
  int blocks = 0;
};

std::vector<const Offer*> Pointers(const std::vector<Offer>& offers) {
  std::vector<const Offer*> pointers;
  pointers.reserve(offers.size());
  for (const Offer& offer : offers) pointers.push_back(&offer);
  return pointers;
}

// Grants up to `rows` rows to the offer; returns how many.
int GrantRows(const Offer& offer, int rows, Grants& grants) {
  const int granted = std::min(offer.ready_rows, rows);
  if (granted > 0) grants.spans.push_back({offer.sequence, granted});
  return std::max(granted, 0);
}

// Prefill chunks and admission. Takes from `left` also the blocks that sequences still waiting will need next.
void PlanPrefill(const SchedulerOptions& options, const std::vector<const Offer*>& order, Remaining& left,
                 Grants& grants) {
  const auto running = [](const Offer* offer) { return offer->blocks_to_reserve == 0; };
  int slots = options.max_running_requests - static_cast<int>(std::count_if(order.begin(), order.end(), running));
  int rows = std::min(options.max_prefill_rows, left.rows);
  int free_blocks = left.blocks;
  bool queue_stopped = false;
  for (const Offer* offer : order) {
    if (offer->kind == SpanKind::kDecode) continue;
    const int blocks = offer->blocks_to_reserve;
    if (blocks > 0) {
      const bool head = !queue_stopped;
      const bool has_slot = slots-- > 0;
      queue_stopped = queue_stopped || rows == 0 || !has_slot || blocks > free_blocks;
      if (head || has_slot) left.blocks -= blocks;
      if (queue_stopped) continue;
      free_blocks -= blocks;
    }
    const int granted = GrantRows(*offer, rows, grants);
    rows -= granted;
    left.rows -= granted;
  }
}

void PlanInference(const SchedulerOptions& options, const Offers& offers, Remaining& left, Grants& grants) {
  std::vector<const Offer*> order = Pointers(offers.spans);
  std::sort(order.begin(), order.end(), [](const Offer* a, const Offer* b) {
    return std::tie(a->priority, a->arrival, a->sequence) < std::tie(b->priority, b->arrival, b->sequence);
  });
  for (const Offer* offer : order) {
    if (offer->kind == SpanKind::kDecode) left.rows -= GrantRows(*offer, left.rows, grants);
  }
  PlanPrefill(options, order, left, grants);
}

// The training spans that may run: those that hold their blocks, and the first of the others that `blocks` suffices
// for.
std::vector<const Offer*> AdmitTraining(const std::vector<Offer>& offers, int blocks) {
  std::vector<const Offer*> order = Pointers(offers);
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
      if (units[i] == static_cast<int>(offers[i].unit_rows.size())) continue;
      const int64_t cost = offers[i].unit_rows[units[i]];
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

void PlanTraining(const std::vector<const Offer*>& spans, const std::vector<BackwardOffer>& backward, int rows,
                  int num_layers, Grants& grants) {
  if (rows <= 0) return;
  const int64_t budget = int64_t{rows} * num_layers;
  int64_t forward_demand = 0;
  for (const Offer* offer : spans) forward_demand += int64_t{offer->ready_rows} * num_layers;
  const int64_t spent = GrantBackward(backward, std::max(budget - forward_demand, budget / 2), grants);
  GrantForward(spans, static_cast<int>(std::max<int64_t>(budget - spent, 0) / num_layers), grants);
}

}  // namespace

Plan PlanCoserving(const SchedulerOptions& options, const SchedulerInput& input) {
  CHECK_GE(input.num_layers, 1);
  Plan plan;
  Remaining left{options.max_batch_rows, input.free_blocks};
  PlanInference(options, input.inference, left, plan.inference);

  const bool beside_inference = !plan.inference.spans.empty();
  const int rows = std::min(left.rows, beside_inference ? options.training_rows_beside_inference : left.rows);
  const int blocks = std::min(left.blocks, TrainingBlocksLimit(options, input.num_blocks) - input.training.blocks_held);
  PlanTraining(AdmitTraining(input.training.spans, blocks), input.training.backward, rows, input.num_layers,
               plan.training);
  return plan;
}

}  // namespace tandem
