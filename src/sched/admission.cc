#include "sched/admission.h"

#include <algorithm>
#include <tuple>

#include "sched/drafts.h"

namespace tandem {
namespace {

bool ComesBefore(const Offer* a, const Offer* b) {
  return std::tie(a->priority, a->turn, a->due, a->arrival, a->sequence) <
         std::tie(b->priority, b->turn, b->due, b->arrival, b->sequence);
}

// Whoever came last gives way first. Turns are those of waiting sequences.
bool IsPreemptedAfter(const Offer* a, const Offer* b) {
  return std::tie(a->priority, a->arrival, a->sequence) < std::tie(b->priority, b->arrival, b->sequence);
}

// Takes sequences that run out of `order` until the decodes that remain can have their blocks.
void Preempt(std::vector<const Offer*>& order, RemainingBudget& left, Grants& grants) {
  int needed = 0;
  for (const Offer* offer : order) {
    if (!offer->waits()) needed += offer->blocks_to_reserve;
  }
  while (needed > left.blocks) {
    auto last = order.end();
    for (auto it = order.begin(); it != order.end(); ++it) {
      if (!(*it)->waits() && (last == order.end() || IsPreemptedAfter(*last, *it))) last = it;
    }
    needed -= (*last)->blocks_to_reserve;
    left.blocks += (*last)->blocks_if_preempted;
    grants.preempted.push_back((*last)->sequence);
    order.erase(last);
  }
}

// Blocks that are free when this iteration's decodes have theirs, and how many of them are spoken for.
struct Blocks {
  int free = 0;
  int soon = 0;    // by sequences that run: their next
  int to_end = 0;  // by sequences that run: all they may ever take
};

// Training's blocks, which inference gets where it needs them.
class TrainingBlocksHeld {
 public:
  explicit TrainingBlocksHeld(const Offers& training) : training_(training), held_(training.blocks_held) {}

  // Whether a sequence that takes `needed` blocks now and `life` up to its end is admitted; what that takes from
  // training is added to blocks.free.
  bool Admits(int needed, int life, Blocks& blocks) {
    const auto fits = [&] {
      return held_ > 0 ? blocks.to_end + life <= blocks.free : blocks.soon + needed <= blocks.free;
    };
    if (fits()) return true;
    int all = 0;
    for (size_t i = preempted_.size(); i < training_.held.size(); ++i) all += training_.held[i].blocks;
    if (all == 0 || blocks.soon + needed > blocks.free + all) return false;
    while (!fits() && preempted_.size() < training_.held.size()) {
      const HeldBlocks& next = training_.held[preempted_.size()];
      blocks.free += next.blocks;
      held_ -= next.blocks;
      preempted_.push_back(next.sequence);
    }
    return fits();
  }
  const std::vector<SequenceId>& preempted() const { return preempted_; }

 private:
  const Offers& training_;
  int held_;
  std::vector<SequenceId> preempted_;
};

std::vector<SequenceId> PlanPrefill(const SchedulerOptions& options, const std::vector<const Offer*>& order,
                                    const InferenceInput& input, Blocks& blocks, RemainingBudget& left,
                                    Grants& grants) {
  const auto running = [](const Offer* offer) { return !offer->waits(); };
  int slots = options.max_running_requests - static_cast<int>(std::count_if(order.begin(), order.end(), running));
  int rows = std::min(options.max_prefill_rows, left.rows);
  bool queue_stopped = !grants.preempted.empty();
  bool head = true;
  TrainingBlocksHeld training(input.training);
  int later = 0;  // blocks that those who wait will need up to their ends
  for (const Offer* offer : order) {
    if (offer->kind == SpanKind::kDecode) continue;
    if (offer->waits()) {
      const int needed = offer->blocks_to_reserve, life = needed + offer->blocks_to_end;
      const bool has_slot = slots-- > 0;
      queue_stopped = queue_stopped || rows == 0 || !has_slot || !training.Admits(needed, life, blocks);
      if (queue_stopped && (head || has_slot)) later += life;
      head = head && !queue_stopped;
      if (queue_stopped) continue;
      blocks.free -= needed;
      blocks.soon += std::min(1, offer->blocks_to_end);
      blocks.to_end += offer->blocks_to_end;
    }
    const int granted = GrantRows(*offer, rows, grants);
    rows -= granted;
    left.rows -= granted;
  }
  left.blocks = std::max(0, blocks.free - blocks.to_end - later);
  return training.preempted();
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

SchedulerInput WithoutPreempted(const SchedulerInput& input, const std::vector<SequenceId>& preempted) {
  const auto gone = [&](const auto& of) {
    return std::find(preempted.begin(), preempted.end(), of.sequence) != preempted.end();
  };
  SchedulerInput rest = input;
  for (const HeldBlocks& held : input.training.held) {
    if (gone(held)) rest.training.blocks_held -= held.blocks;
  }
  std::erase_if(rest.training.held, gone);
  std::erase_if(rest.training.spans, gone);
  std::erase_if(rest.training.backward, gone);
  return rest;
}

std::vector<SequenceId> PlanInference(const SchedulerOptions& options, const InferenceInput& input,
                                      RemainingBudget& left, Grants& grants) {
  std::vector<const Offer*> order = OfferPointers(input.offers.spans);
  std::sort(order.begin(), order.end(), ComesBefore);
  Preempt(order, left, grants);
  Blocks blocks{.free = left.blocks};
  for (const Offer* offer : order) {
    if (offer->waits()) continue;
    blocks.free -= offer->blocks_to_reserve;
    blocks.soon += std::min(1, offer->blocks_to_end);
    blocks.to_end += offer->blocks_to_end;
    if (offer->kind == SpanKind::kDecode) {
      left.rows -= GrantRows(*offer, std::min(left.rows, offer->ready_rows - offer->drafts), grants);
    }
  }
  std::vector<SequenceId> preempted = PlanPrefill(options, order, input, blocks, left, grants);
  // A block for guesses is one that the sequence would soon have asked for: training's share is the same.
  RemainingBudget for_drafts{left.rows, blocks.free - blocks.soon};
  PlanDrafts(order, options.weigh_drafts ? input.cost : nullptr, for_drafts, grants);
  left.rows = for_drafts.rows;
  return preempted;
}

}  // namespace tandem
