#include "sched/slo.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <tuple>

#include "absl/container/flat_hash_map.h"
#include "base/check.h"
#include "sched/admission.h"
#include "sched/training_rows.h"

namespace tandem {
namespace {

constexpr double kTrainingShare = 0.9;  // of a TPOT that an iteration with training may take
constexpr double kReserve = 1.5;        // tokens of slack that training leaves alone
constexpr double kMostTokens = 3;       // TPOTs that one iteration may take, whatever the slack
constexpr double kTtftShare = 0.5;      // of a prefill's slack that training may take
constexpr int kLeastPrefillRows = 16;
constexpr double kFreeRide = 0.5;  // of a row's arithmetic: what it may cost to count as riding along
constexpr int kPatience = 64;      // iterations without any training before a unit is forced
constexpr double kInfinite = std::numeric_limits<double>::infinity();

double SecondsUntil(absl::Time due, absl::Time now) {
  return due == absl::InfiniteFuture() ? kInfinite : absl::ToDoubleSeconds(due - now);
}

// What a decode leaves for the iteration that brings its next token.
double DecodeBudget(const Offer& offer, absl::Time now) {
  const double slack = SecondsUntil(offer.due, now), tpot = absl::ToDoubleSeconds(offer.tpot);
  if (slack == kInfinite || !std::isfinite(tpot)) return slack;
  return std::min({slack, std::max(slack - kReserve * tpot, kTrainingShare * tpot), kMostTokens * tpot});
}

StepFeatures DecodeFeatures(const Offers& offers) {
  StepFeatures features;
  for (const Offer& offer : offers.spans) {
    if (offer.kind != SpanKind::kDecode) continue;
    features.AddSpan(offer.kind, 1, offer.first_position);
    features.samples += 1;
  }
  return features;
}

StepFeatures FeaturesOf(const SchedulerInput& input, const Grants& grants) {
  absl::flat_hash_map<SequenceId, const Offer*> offers;
  offers.reserve(input.inference.spans.size());
  for (const Offer& offer : input.inference.spans) offers.emplace(offer.sequence, &offer);
  StepFeatures features;
  for (const SpanGrant& grant : grants.spans) {
    const Offer& offer = *offers.at(grant.sequence);
    features.AddSpan(offer.kind, grant.num_rows, offer.first_position);
    if (offer.kind == SpanKind::kDecode) {
      features.samples += grant.num_rows;
    } else if (grant.num_rows == offer.ready_rows) {
      features.samples += 1;
    }
  }
  return features;
}

// The tightest of the targets, in seconds for the whole iteration; `inference` is what it takes without training.
double Budget(const SchedulerOptions& options, const SchedulerInput& input, double inference) {
  double budget = absl::ToDoubleSeconds(options.max_iteration);
  std::vector<const Offer*> prefills;
  for (const Offer& offer : input.inference.spans) {
    if (offer.due == absl::InfiniteFuture()) continue;
    if (offer.kind == SpanKind::kDecode) {
      budget = std::min(budget, DecodeBudget(offer, input.now));
    } else {
      prefills.push_back(&offer);
    }
  }
  std::sort(prefills.begin(), prefills.end(), [](const Offer* a, const Offer* b) {
    return std::tie(a->priority, a->due, a->arrival) < std::tie(b->priority, b->due, b->arrival);
  });
  double ahead = 0;
  for (const Offer* offer : prefills) {
    ahead += offer->ready_rows * input.cost->SecondsPerRow();
    const double slack = SecondsUntil(offer->due, input.now) - std::max(inference, ahead);
    budget = std::min(budget, inference + kTtftShare * std::max(slack, 0.0));
  }
  return budget;
}

// The training that is being granted, and what the iteration takes with it.
class TrainingPlan {
 public:
  TrainingPlan(const CostModel& cost, const StepFeatures& inference, double limit)
      : cost_(cost), features_(inference), limit_(limit), seconds_(inference.empty() ? 0 : cost.Seconds(inference)) {}

  double seconds() const { return seconds_; }

  // The most of `most` forward rows that fit, or ride along where `free_only`; adds them.
  int AddForward(const Offer& offer, int granted, int most, bool free_only) {
    int taken = 0;
    // Candidates are the curve's knots: between them the curve is straight, and whole windows run better than odd rows.
    for (size_t i = kRowKnots.size() + 1; i-- > 0 && taken == 0;) {
      const int rows = i == kRowKnots.size() ? most : kRowKnots[i];
      if (rows <= most && Fits(offer, granted, rows, free_only)) taken = rows;
    }
    if (taken > 0) {
      features_ = With(offer, granted, taken);
      seconds_ = cost_.Seconds(features_);
    }
    return taken;
  }

  bool AddUnit(int rows, int first_position) {
    StepFeatures with = features_;
    with.AddBackward(rows, first_position);
    const double seconds = cost_.Seconds(with);
    if (seconds > limit_) return false;
    features_ = with;
    seconds_ = seconds;
    return true;
  }

 private:
  StepFeatures With(const Offer& offer, int granted, int rows) const {
    StepFeatures with = features_;
    with.AddSpan(offer.kind, rows, offer.first_position + granted);
    with.AddLoss(rows);
    return with;
  }

  bool Fits(const Offer& offer, int granted, int rows, bool free_only) const {
    const double seconds = cost_.Seconds(With(offer, granted, rows));
    if (seconds > limit_) return false;
    return !free_only || seconds - seconds_ <= kFreeRide * rows * cost_.SecondsPerRow();
  }

  const CostModel& cost_;
  StepFeatures features_;
  const double limit_;
  double seconds_;
};

void GrantUnits(const std::vector<BackwardOffer>& offers, TrainingPlan& plan, Grants& grants) {
  for (const BackwardOffer& offer : offers) {
    int units = 0;
    // Where a unit's window lies in its sequence is not known here: it sees half of its rows on the mean.
    while (units < static_cast<int>(offer.unit_rows.size()) && plan.AddUnit(offer.unit_rows[units], 0)) ++units;
    if (units > 0) grants.backward.push_back({offer.sequence, units});
  }
}

}  // namespace

bool FollowsTargets(const SchedulerOptions& options, const SchedulerInput& input) {
  if (input.cost == nullptr) return false;
  if (options.max_iteration < absl::InfiniteDuration()) return true;
  return std::any_of(input.inference.spans.begin(), input.inference.spans.end(),
                     [](const Offer& offer) { return offer.due < absl::InfiniteFuture(); });
}

SchedulerOptions WithPrefillInTime(const SchedulerOptions& options, const SchedulerInput& input) {
  SchedulerOptions changed = options;
  double due = kInfinite;
  const Offer* prefill = nullptr;
  for (const Offer& offer : input.inference.spans) {
    if (offer.kind == SpanKind::kDecode) {
      due = std::min(due, SecondsUntil(offer.due, input.now));
    } else if (prefill == nullptr) {
      prefill = &offer;
    }
  }
  if (due == kInfinite || prefill == nullptr) return changed;
  const StepFeatures decodes = DecodeFeatures(input.inference);
  const double limit = due / (1 + input.cost->headroom());
  int rows = options.max_prefill_rows;
  const auto seconds = [&](int prefill_rows) {
    StepFeatures features = decodes;
    features.AddSpan(SpanKind::kPrefill, prefill_rows, prefill->first_position);
    return input.cost->Seconds(features);
  };
  // Whole sixteenths: the kernels' own grain.
  while (rows > kLeastPrefillRows && seconds(rows) > limit) rows = std::max(kLeastPrefillRows, rows - 16);
  changed.max_prefill_rows = std::min(rows, options.max_prefill_rows);
  return changed;
}

void PlanTrainingInTime(const SchedulerOptions& options, const SchedulerInput& input,
                        const std::vector<const Offer*>& spans, int rows, Plan& plan) {
  const StepFeatures inference = FeaturesOf(input, plan.inference);
  const double alone = inference.empty() ? 0 : input.cost->Seconds(inference);
  const double budget = Budget(options, input, alone);
  plan.budget = absl::Seconds(budget);
  const std::vector<BackwardOffer>& backward = input.training.backward;
  if (spans.empty() && backward.empty()) return;

  TrainingPlan training(*input.cost, inference, budget / (1 + input.cost->headroom()));
  std::vector<int> forward(spans.size(), 0);
  const auto add_forward = [&](bool free_only) {
    for (size_t i = 0; i < spans.size() && rows > 0; ++i) {
      const int most = std::min(rows, spans[i]->ready_rows - forward[i]);
      const int taken =
          most > 0 && (free_only || forward[i] == 0) ? training.AddForward(*spans[i], forward[i], most, free_only) : 0;
      forward[i] += taken;
      rows -= taken;
    }
  };
  if (!inference.empty()) add_forward(true);
  GrantUnits(backward, training, plan.training);
  add_forward(false);
  for (size_t i = 0; i < spans.size(); ++i) GrantRows(*spans[i], forward[i], plan.training);
  if (!plan.training.spans.empty() || !plan.training.backward.empty()) return;

  const bool pressed = alone > 0.7 * budget;
  if (input.starved_iterations >= kPatience && !pressed && !backward.empty()) {
    plan.training.backward.push_back({backward[0].sequence, 1});
    plan.forced_unit = true;
  } else if (options.training_floor_rows > 0) {
    PlanTrainingRows(spans, backward, std::min(rows, options.training_floor_rows), input.num_layers, plan.training);
  }
}

absl::Duration PredictTtft(const CostModel& cost, const SchedulerOptions& options, int prompt_tokens) {
  double seconds = 0;
  for (int done = 0; done < prompt_tokens;) {
    const int rows = std::min({prompt_tokens - done, options.max_prefill_rows, options.max_batch_rows});
    StepFeatures features;
    features.AddSpan(SpanKind::kPrefill, rows, done);
    done += rows;
    if (done == prompt_tokens) features.samples = 1;
    seconds += cost.Seconds(features);
  }
  return absl::Seconds(seconds);
}

absl::Duration PredictTpot(const CostModel& cost, int context_tokens) {
  StepFeatures features;
  features.AddSpan(SpanKind::kDecode, 1, context_tokens);
  features.samples = 1;
  return cost.Predict(features);
}

}  // namespace tandem
