#include "sched/drafts.h"

#include <algorithm>

#include "absl/container/flat_hash_map.h"
#include "sched/cost_model.h"

namespace tandem {
namespace {

constexpr double kLikely = 0.5;

int LikelyDrafts(const Offer& offer, int most) {
  int drafts = 0;
  for (double right = offer.draft_acceptance; drafts < most && right > kLikely; right *= offer.draft_acceptance) {
    ++drafts;
  }
  return drafts;
}

StepFeatures WithDrafts(StepFeatures features, const Offer& offer, int drafts) {
  // One span still: what AddSpan counts as a second one is taken off again.
  features.AddSpan(SpanKind::kDecode, drafts, offer.first_position + 1);
  features.spans -= 1;
  features.samples += drafts;
  return features;
}

// The number of guesses that brings the most; `seconds` is the iteration without them, token_value what a token is
// worth. Both are then those of the iteration with them.
int BestDrafts(const CostModel& cost, const Offer& offer, int most, double token_value, StepFeatures& features,
               double& seconds) {
  int best = 0;
  double gain = 0, best_gain = 0, best_seconds = seconds, right = 1;
  for (int drafts = 1; drafts <= most; ++drafts) {
    right *= offer.draft_acceptance;
    gain += right * token_value;
    const double with = cost.Seconds(WithDrafts(features, offer, drafts));
    if (gain - (with - seconds) <= best_gain) continue;
    best_gain = gain - (with - seconds);
    best_seconds = with;
    best = drafts;
  }
  if (best > 0) features = WithDrafts(features, offer, best);
  seconds = best_seconds;
  return best;
}

}  // namespace

void PlanDrafts(const std::vector<const Offer*>& offers, const CostModel* cost, RemainingBudget& left, Grants& grants) {
  if (std::none_of(offers.begin(), offers.end(), [](const Offer* offer) { return offer->drafts > 0; })) return;
  absl::flat_hash_map<SequenceId, SpanGrant*> granted;
  for (SpanGrant& grant : grants.spans) granted.emplace(grant.sequence, &grant);
  StepFeatures features;
  int decodes = 0;
  for (const Offer* offer : offers) {
    const auto grant = granted.find(offer->sequence);
    if (grant == granted.end()) continue;
    features.AddSpan(offer->kind, grant->second->num_rows, offer->first_position);
    if (offer->kind != SpanKind::kDecode && grant->second->num_rows < offer->ready_rows) continue;
    features.samples += 1;
    decodes += offer->kind == SpanKind::kDecode ? 1 : 0;
  }
  if (decodes == 0) return;
  double seconds = cost == nullptr ? 0 : cost->Seconds(features);
  const double token_value = seconds / decodes;
  for (const Offer* offer : offers) {
    const auto grant = granted.find(offer->sequence);
    if (grant == granted.end() || offer->drafts == 0 || offer->blocks_for_drafts > std::max(0, left.blocks)) {
      continue;
    }
    const int most = std::min(offer->drafts, left.rows);
    const int drafts =
        cost == nullptr ? LikelyDrafts(*offer, most) : BestDrafts(*cost, *offer, most, token_value, features, seconds);
    grant->second->num_rows += drafts;
    left.rows -= drafts;
    if (drafts > 0) left.blocks -= offer->blocks_for_drafts;
  }
}

}  // namespace tandem
