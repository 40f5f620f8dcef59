#include "sched/slo.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <tuple>

#include "absl/container/flat_hash_map.h"
#include "base/check.h"
#include "sched/admission.h"
#include "sched/beside.h"
#include "sched/training_rows.h"

namespace tandem {
namespace {

constexpr double kTrainingShare = 0.9;  // of a TPOT that an iteration with training may take
constexpr double kReserve = 1.5;        // tokens of slack that training leaves alone
// Where tokens take nearly their TPOT by themselves, somebody's prefill could not be made up for: then slack comes
// first.
constexpr double kTight = 0.75, kTightReserve = 3;
constexpr double kMostTokens = 3;   // TPOTs that one iteration may take, whatever the slack
constexpr double kTtftShare = 0.5;  // of a prefill's slack that training may take
constexpr int kLeastPrefillRows = 16;
constexpr int kPatience = 16;  // iterations without any training before some is forced
constexpr int kForcedRows = 16;
constexpr double kPressed = 0.7;  // of the budget: inference that takes more by itself leaves nothing to force
constexpr double kInfinite = std::numeric_limits<double>::infinity();

double SecondsUntil(absl::Time due, absl::Time now) {
  return due == absl::InfiniteFuture() ? kInfinite : absl::ToDoubleSeconds(due - now);
}

// What a decode leaves for the iteration that brings its next token; `alone` is what it takes without training.
double DecodeBudget(const Offer& offer, absl::Time now, double alone) {
  const double slack = SecondsUntil(offer.due, now), tpot = absl::ToDoubleSeconds(offer.tpot);
  if (slack == kInfinite || !std::isfinite(tpot)) return slack;
  const bool tight = alone > kTight * tpot;
  const double share = tight ? 0 : kTrainingShare, reserve = tight ? kTightReserve : kReserve;
  return std::min({slack, std::max(slack - reserve * tpot, share * tpot), kMostTokens * tpot});
}

Bypass BypassOf(const Offer& offer) {
  return offer.bypass ? Bypass::kYes : Bypass::kNo;
}

StepFeatures DecodeFeatures(const Offers& offers) {
  StepFeatures features;
  for (const Offer& offer : offers.spans) {
    if (offer.kind != SpanKind::kDecode) continue;
    features.AddSpan(offer.kind, 1, offer.first_position, BypassOf(offer));
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
    features.AddSpan(offer.kind, grant.num_rows, offer.first_position, BypassOf(offer));
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
      budget = std::min(budget, DecodeBudget(offer, input.now, inference));
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

  // Adds the forward rows, `most` at most, that fit at the least cost a row, where that is at most `dearest`.
  int AddForward(const Offer& offer, int granted, int most, double dearest) {
    int taken = 0;
    double least = dearest;
    // Candidates are the curve's knots: between them it is straight. The largest of equals: whole windows run better.
    for (size_t i = 0; i <= kRowKnots.size(); ++i) {
      const int rows = i == kRowKnots.size() ? most : kRowKnots[i];
      if (rows > most) continue;
      const double seconds = cost_.Seconds(With(offer, granted, rows));
      const double row = (seconds - seconds_) / rows;
      if (seconds > limit_ || row > least) continue;
      taken = rows;
      least = row;
    }
    if (taken > 0) Take(With(offer, granted, taken));
    return taken;
  }

  bool AddUnit(const TokenWindow& window) {
    StepFeatures with = features_;
    with.AddBackward(window.num_rows(), window.begin);
    if (cost_.Seconds(with) > limit_) return false;
    Take(with);
    return true;
  }

 private:
  StepFeatures With(const Offer& offer, int granted, int rows) const {
    StepFeatures with = features_;
    with.AddSpan(offer.kind, rows, offer.first_position + granted);
    with.AddLoss(rows);
    return with;
  }
  void Take(const StepFeatures& features) {
    features_ = features;
    seconds_ = cost_.Seconds(features);
  }

  const CostModel& cost_;
  StepFeatures features_;
  const double limit_;
  double seconds_;
};

// Whether every unit on offer was granted.
bool GrantUnits(const std::vector<BackwardOffer>& offers, TrainingPlan& plan, Grants& grants) {
  bool all = true;
  for (const BackwardOffer& offer : offers) {
    size_t units = 0;
    while (units < offer.units.size() && plan.AddUnit(offer.units[units])) ++units;
    if (units > 0) grants.backward.push_back({offer.sequence, static_cast<int>(units)});
    all = all && units == offer.units.size();
  }
  return all;
}

// The least there is to grant: a unit, or where there is none a few rows.
void ForceTraining(const std::vector<const Offer*>& spans, const std::vector<BackwardOffer>& backward, int rows,
                   Plan& plan) {
  if (!backward.empty()) {
    plan.training.backward.push_back({backward[0].sequence, 1});
    plan.forced_unit = true;
  } else if (!spans.empty() && rows > 0) {
    GrantRows(*spans[0], std::min(rows, kForcedRows), plan.training);
    plan.forced_unit = true;
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
    features.AddSpan(SpanKind::kPrefill, prefill_rows, prefill->first_position, BypassOf(*prefill));
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

  const double time = budget - absl::ToDoubleSeconds(input.outside);
  if (PlanTrainingBeside(input, inference, time, spans, rows, plan)) return;
  TrainingPlan training(*input.cost, inference, time / (1 + input.cost->headroom()));
  std::vector<int> forward(spans.size(), 0);
  const auto add_forward = [&](double dearest) {
    for (size_t i = 0; i < spans.size() && rows > 0; ++i) {
      const int most = std::min(rows, spans[i]->ready_rows - forward[i]);
      const int taken = most > 0 ? training.AddForward(*spans[i], forward[i], most, dearest) : 0;
      forward[i] += taken;
      rows -= taken;
    }
  };
  const double usual = input.cost->SecondsPerTrainedRow();
  if (!inference.empty()) add_forward(usual);
  const bool ran_dry = GrantUnits(backward, training, plan.training);
  if (ran_dry) {
    add_forward(kInfinite);
  } else if (plan.training.backward.empty()) {
    add_forward(usual);
  }
  for (size_t i = 0; i < spans.size(); ++i) GrantRows(*spans[i], forward[i], plan.training);
  if (!plan.training.spans.empty() || !plan.training.backward.empty()) return;

  const bool pressed = alone > kPressed * budget;
  if (input.starved_iterations >= kPatience && !pressed) {
    ForceTraining(spans, backward, rows, plan);
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
