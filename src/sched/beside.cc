#include "sched/beside.h"

#include <algorithm>
#include <cmath>

#include "sched/admission.h"

namespace tandem {
namespace {

constexpr int kMostUnits = 64;  // granted at once: more of them would only be copied

// Forward rows are given to the spans in their order.
class ForwardRows {
 public:
  ForwardRows(const CostModel& cost, const StepFeatures& inference, const std::vector<const Offer*>& spans)
      : cost_(cost), inference_(inference), spans_(spans) {
    for (const Offer* offer : spans) {
      ready_ += offer->ready_rows;
      to_end_ += std::max(offer->ready_rows, offer->rows_to_end);
    }
  }

  int ready() const { return ready_; }
  int to_end() const { return to_end_; }

  double Seconds(int rows) const {
    StepFeatures features = inference_;
    ForEach(rows, [&](const Offer& offer, int taken) {
      features.AddSpan(offer.kind, taken, offer.first_position);
      features.AddLoss(taken);
    });
    return features.empty() ? 0 : cost_.Seconds(features);
  }

  // The most of `rows` that fit into `limit`, which none at all do.
  int MostWithin(double limit, int rows) const {
    int fits = 0, fails = rows + 1;
    while (fails - fits > 1) {
      const int middle = (fits + fails) / 2;
      (Seconds(middle) <= limit ? fits : fails) = middle;
    }
    return fits;
  }

  void Grant(int rows, Grants& grants) const {
    ForEach(rows, [&](const Offer& offer, int taken) { GrantRows(offer, taken, grants); });
  }

 private:
  template <typename Fn>
  void ForEach(int rows, Fn&& fn) const {
    for (const Offer* offer : spans_) {
      const int taken = std::min(rows, offer->ready_rows);
      if (taken > 0) fn(*offer, taken);
      rows -= taken;
    }
  }

  const CostModel& cost_;
  const StepFeatures& inference_;
  const std::vector<const Offer*>& spans_;
  int ready_ = 0, to_end_ = 0;
};

// What the lane needs for all that is on offer.
double BackwardSeconds(const SchedulerInput& input) {
  StepFeatures features;
  for (const BackwardOffer& offer : input.training.backward) {
    for (const TokenWindow& unit : offer.units) features.AddBackward(unit.num_rows(), unit.begin);
  }
  return input.cost->Seconds(features) / input.lane_speed;
}

void GrantUnits(const std::vector<BackwardOffer>& offers, Grants& grants) {
  int left = kMostUnits;
  for (const BackwardOffer& offer : offers) {
    const int units = std::min(left, static_cast<int>(offer.units.size()));
    if (units > 0) grants.backward.push_back({offer.sequence, units});
    left -= units;
  }
}

}  // namespace

bool PlanTrainingBeside(const SchedulerInput& input, const StepFeatures& inference, double time,
                        const std::vector<const Offer*>& spans, int rows, Plan& plan) {
  if (input.beside == nullptr || input.training.backward.empty()) return false;
  const ForwardRows forward(*input.beside, inference, spans);
  const double limit = time / (1 + input.beside->headroom()), alone = forward.Seconds(0);
  if (alone > limit) return false;
  int wanted = std::min(rows, forward.ready());
  if (!inference.empty() && wanted > 0) {
    const double pace = forward.to_end() / BackwardSeconds(input);  // rows a second
    // An iteration with those rows is longer, which asks for more of them: one round is near enough.
    const double with = forward.Seconds(std::min(wanted, static_cast<int>(std::ceil(alone * pace))));
    wanted = static_cast<int>(std::min<double>(wanted, std::ceil(with * pace)));
  }
  wanted = forward.MostWithin(limit, wanted);
  if (inference.empty() && wanted == 0) return false;
  forward.Grant(wanted, plan.training);
  GrantUnits(input.training.backward, plan.training);
  plan.backward_beside = true;
  return true;
}

}  // namespace tandem
