#include "sched/admission.h"

#include <algorithm>
#include <tuple>

namespace tandem {
namespace {

void PlanPrefill(const SchedulerOptions& options, const std::vector<const Offer*>& order, RemainingBudget& left,
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

}  // namespace

std::vector<const Offer*> OfferPointers(const std::vector<Offer>& offers) {
  std::vector<const Offer*> pointers;
  pointers.reserve(offers.size());
  for (const Offer& offer : offers) pointers.push_back(&offer);
  return pointers;
}

int GrantRows(const Offer& offer, int rows, Grants& grants) {
  const int granted = std::min(offer.ready_rows, rows);
  if (granted > 0) grants.spans.push_back({offer.sequence, granted});
  return std::max(granted, 0);
}

void PlanInference(const SchedulerOptions& options, const Offers& offers, RemainingBudget& left, Grants& grants) {
  std::vector<const Offer*> order = OfferPointers(offers.spans);
  std::sort(order.begin(), order.end(), [](const Offer* a, const Offer* b) {
    return std::tie(a->priority, a->due, a->arrival, a->sequence) <
           std::tie(b->priority, b->due, b->arrival, b->sequence);
  });
  for (const Offer* offer : order) {
    if (offer->kind == SpanKind::kDecode) left.rows -= GrantRows(*offer, left.rows, grants);
  }
  PlanPrefill(options, order, left, grants);
}

}  // namespace tandem
