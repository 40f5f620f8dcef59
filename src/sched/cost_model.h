// How long an iteration takes on this machine with this model: a curve for each kind of work (step_features.h),
// measured once by a short profile (profile.h) and corrected with every iteration that runs.
//
// Correction is a Kalman filter over all heights and rates: T = sum of theta_i * feature_i. Its process noise has a
// part that all of theta share, so that a machine that slows down as a whole (a neighbour, a clock that was lowered) is
// followed within some tens of iterations, also where only one kind of work is seen; and a small part of each its own.
// Measurements far from the prediction count less (Huber), those beyond kOutlier times it not at all: they only widen
// the headroom. Pure arithmetic: no clock, no device.
#pragma once

#include <array>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "sched/step_features.h"

namespace tandem {

// What the profile found, in seconds. Curves are points (size, seconds), by size; at least one each.
struct CostProfile {
  std::vector<std::pair<double, double>> rows, samples, loss, backward;
  double overhead = 0;          // of an iteration
  double per_span = 0;          // beyond its rows
  double per_decode_token = 0;  // of context, a decode row
  double per_prefill_pair = 0;  // row and token it attends to
  double per_training_row = 0;  // saving it
  double per_backward_pair = 0;
};

class CostModel {
 public:
  // A measured time beyond this many times its prediction says nothing of the work: the process was stopped.
  static constexpr double kOutlier = 8;
  enum class Observed { kTaken, kOutlier, kIgnored };  // kIgnored: not a time at all (a clock that jumped)

  explicit CostModel(const CostProfile& profile);

  double Seconds(const StepFeatures& features) const;
  absl::Duration Predict(const StepFeatures& features) const { return absl::Seconds(Seconds(features)); }

  // What one more iteration took that had these features.
  Observed Observe(const StepFeatures& features, absl::Duration measured);

  // Share of a prediction that is to be kept free for its error: the 80th percentile of how much longer than predicted
  // iterations took lately, at least kLeastHeadroom, at most 1.
  double headroom() const;
  // Mean of |measured - predicted| / predicted, exponentially weighted over some 200 iterations.
  double mean_error() const { return mean_error_; }
  int64_t observations() const { return observations_; }
  int64_t outliers() const { return outliers_; }

  // Seconds that one more forward row costs where arithmetic bounds the pass, and one row of backward through one
  // layer.
  double SecondsPerRow() const;
  double SecondsPerBackwardRow() const;

  // One line of JSON with all of it but the filter's uncertainty. INVALID_ARGUMENT where the text is not from ToJson of
  // this version.
  std::string ToJson() const;
  static absl::StatusOr<CostModel> FromJson(const std::string& text);

 private:
  static constexpr double kLeastHeadroom = 0.02;
  // Offsets into theta.
  static constexpr size_t kRows = 0;
  static constexpr size_t kSamples = kRows + kRowKnots.size();
  static constexpr size_t kLoss = kSamples + kSampleKnots.size();
  static constexpr size_t kBackward = kLoss + kLossKnots.size();
  static constexpr size_t kRates = kBackward + kBackwardKnots.size();
  static constexpr size_t kSize =
      kRates + 6;  // overhead, span, decode token, prefill pair, training row, backward pair
  using Theta = std::array<double, kSize>;

  explicit CostModel(const Theta& theta);
  Theta Features(const StepFeatures& features) const;
  void Correct(const Theta& features, double predicted, double error);
  void TrackError(double relative);

  Theta theta_;
  std::array<Theta, kSize> covariance_;
  double late_quantile_ = 0.1;  // of measured / predicted - 1
  double mean_error_ = 0.1;
  int64_t observations_ = 0, outliers_ = 0;
};

}  // namespace tandem
