// How long an iteration takes on this machine with this model: T = sum of theta_i * feature_i, a curve for each kind of
// work and some rates (step_features.h).
//
// It starts as a guess from the model's shape and a nominal machine, which the first iteration that is seen scales as a
// whole. Everything after that, probes of a profile and production alike, corrects it by a Kalman filter. What the
// filter takes for possible: the whole machine is slower or faster; a curve is higher or lower, or of another shape,
// its neighbouring knots together, so that what was not measured follows what was; a rate is anything of its order of
// magnitude. The same walk goes on from one iteration to the next in small steps, the whole machine's the largest (a
// neighbour, a clock that was lowered), which is followed within some tens of iterations also where only one kind of
// work is seen. Measurements far from the prediction count less (Huber), those beyond kOutlier times it not at all:
// they only widen the headroom. Pure arithmetic: no clock, no device.
#pragma once

#include <array>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "sched/step_features.h"

namespace tandem {

// What a first guess is made from.
struct ModelShape {
  int num_layers = 1;
  double layer_parameters = 0, head_parameters = 0;
  double bytes_per_parameter = 2;
  double query_width = 0;  // num_heads * head_dim
};

class CostModel {
 public:
  // A measured time beyond this many times its prediction says nothing of the work: the process was stopped. Unless it
  // happens more than kStops times on end: then the prediction is wrong.
  static constexpr double kOutlier = 8;
  static constexpr int kStops = 3;
  enum class Observed { kTaken, kOutlier, kIgnored };  // kIgnored: not a time at all (a clock that jumped)

  explicit CostModel(const ModelShape& shape);

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

  // Seconds that one more forward row costs where arithmetic bounds the pass, and one row of training's forward, its
  // loss included, in a window as large as they come.
  double SecondsPerRow() const;
  double SecondsPerTrainedRow() const;

  // The same shape on a machine that nobody has measured: the first iteration that is seen scales all of it again.
  CostModel Unscaled() const;

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
  // Overhead, span, bypass, decode token, prefill pair, training row, backward pair.
  static constexpr size_t kSize = kRates + 7;
  using Theta = std::array<double, kSize>;
  using Matrix = std::array<Theta, kSize>;

  // Relative standard deviations of what may be otherwise than theta says.
  struct Spread {
    double machine = 0, curve = 0, shape = 0, rate = 0;
  };
  static const Spread kGuessed, kMeasured, kWalk;

  CostModel(const Theta& theta, const Spread& spread);
  static Theta Guess(const ModelShape& shape);
  static Theta Features(const StepFeatures& features);
  // How far two knots of one curve have the same shape, 0 to 1; 0 for what is on no curve together.
  static const Matrix& KnotsTogether();
  // Adds the covariance of `spread` about theta_.
  void Blur(const Spread& spread);
  void Correct(const Theta& features, double predicted, double error);
  void TrackError(double relative);

  Theta theta_;
  Matrix covariance_ = {};
  bool scaled_ = true;          // false: a guess that has seen nothing yet
  double late_quantile_ = 0.1;  // of measured / predicted - 1
  double mean_error_ = 0.1;
  int64_t observations_ = 0, outliers_ = 0;
  int outliers_on_end_ = 0, surprises_on_end_ = 0;  // beyond kOutlier; beyond what noise explains
};

}  // namespace tandem
