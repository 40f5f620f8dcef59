#include "sched/cost_model.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "nlohmann/json.hpp"

namespace tandem {
namespace {

constexpr int kVersion = 1;

// Relative standard deviations. Of what a profile or a file of an earlier run says: all of it (the machine's speed
// now), and each height by itself. Of the walk from one iteration to the next, the same two. Of one measurement.
constexpr double kSharedPrior = 0.2, kOwnPrior = 0.15;
constexpr double kSharedWalk = 0.01, kOwnWalk = 0.001;
constexpr double kMeasurement = 0.05;
constexpr double kMeasurementSeconds = 10e-6;  // and in absolute terms: what a timer and a scheduler blur
constexpr double kHuber = 3;                   // standard deviations

constexpr double kQuantile = 0.8, kQuantileStep = 0.01;
constexpr double kErrorDecay = 1.0 / 200;

// Heights at the knots from points: lines between points, the first height below, the last line beyond.
template <size_t N>
void Interpolate(const std::array<int, N>& knots, const std::vector<std::pair<double, double>>& points,
                 double* heights) {
  CHECK(!points.empty());
  for (size_t i = 0; i < N; ++i) {
    const double x = knots[i];
    size_t high = 0;
    while (high < points.size() && points[high].first < x) ++high;
    if (high == 0 || points.size() == 1) {
      // One point only: in proportion beyond it, the same below.
      heights[i] = points[0].second * (points.size() == 1 ? std::max(1.0, x / points[0].first) : 1.0);
      continue;
    }
    high = std::min(high, points.size() - 1);
    const auto& [x0, y0] = points[high - 1];
    const auto& [x1, y1] = points[high];
    heights[i] = y0 + (y1 - y0) * (x - x0) / (x1 - x0);
  }
  // More work never takes less time: what says so is noise.
  for (size_t i = 1; i < N; ++i) heights[i] = std::max(heights[i], heights[i - 1]);
}

template <size_t N>
void Put(const std::array<int, N>& knots, double size, double* features) {
  if (size <= 0) return;
  const KnotPosition at = Locate(knots, size);
  features[at.low] += at.low_weight;
  if (at.high_weight != 0) features[at.low + 1] += at.high_weight;
}

}  // namespace

CostModel::CostModel(const CostProfile& profile)
    : CostModel([&] {
        Theta theta = {};
        Interpolate(kRowKnots, profile.rows, &theta[kRows]);
        Interpolate(kSampleKnots, profile.samples, &theta[kSamples]);
        Interpolate(kLossKnots, profile.loss, &theta[kLoss]);
        Interpolate(kBackwardKnots, profile.backward, &theta[kBackward]);
        const double rates[] = {profile.overhead,         profile.per_span,         profile.per_decode_token,
                                profile.per_prefill_pair, profile.per_training_row, profile.per_backward_pair};
        std::copy(std::begin(rates), std::end(rates), &theta[kRates]);
        return theta;
      }()) {}

CostModel::CostModel(const Theta& theta) : theta_(theta) {
  for (double& value : theta_) value = std::max(value, 0.0);
  for (size_t i = 0; i < kSize; ++i) {
    for (size_t j = 0; j < kSize; ++j) covariance_[i][j] = kSharedPrior * kSharedPrior * theta_[i] * theta_[j];
    covariance_[i][i] += kOwnPrior * kOwnPrior * theta_[i] * theta_[i];
  }
}

CostModel::Theta CostModel::Features(const StepFeatures& f) const {
  Theta features = {};
  Put(kRowKnots, f.rows, &features[kRows]);
  Put(kSampleKnots, f.samples, &features[kSamples]);
  std::copy(f.loss.begin(), f.loss.end(), &features[kLoss]);
  std::copy(f.backward.begin(), f.backward.end(), &features[kBackward]);
  const double rates[] = {1.0, f.spans, f.decode_context, f.prefill_pairs, f.training_rows, f.backward_pairs};
  std::copy(std::begin(rates), std::end(rates), &features[kRates]);
  return features;
}

double CostModel::Seconds(const StepFeatures& features) const {
  const Theta f = Features(features);
  double seconds = 0;
  for (size_t i = 0; i < kSize; ++i) seconds += theta_[i] * f[i];
  return std::max(seconds, 1e-9);
}

CostModel::Observed CostModel::Observe(const StepFeatures& features, absl::Duration measured) {
  if (measured <= absl::ZeroDuration() || measured > absl::Hours(1)) return Observed::kIgnored;
  const Theta f = Features(features);
  const double predicted = Seconds(features);
  const double seconds = absl::ToDoubleSeconds(measured);
  ++observations_;
  TrackError(seconds / predicted - 1);
  if (seconds > kOutlier * predicted) {
    ++outliers_;
    return Observed::kOutlier;
  }
  Correct(f, predicted, seconds - predicted);
  return Observed::kTaken;
}

void CostModel::Correct(const Theta& f, double predicted, double error) {
  // The walk since the last measurement, then f' P.
  for (size_t i = 0; i < kSize; ++i) {
    const double shared = kSharedWalk * kSharedWalk * theta_[i];
    for (size_t j = 0; j < kSize; ++j) covariance_[i][j] += shared * theta_[j];
    covariance_[i][i] += kOwnWalk * kOwnWalk * theta_[i] * theta_[i];
  }
  Theta pf = {};
  double variance = 0;
  for (size_t j = 0; j < kSize; ++j) {
    if (f[j] == 0) continue;
    for (size_t i = 0; i < kSize; ++i) pf[i] += covariance_[j][i] * f[j];
  }
  for (size_t i = 0; i < kSize; ++i) variance += f[i] * pf[i];
  const double noise = std::pow(kMeasurement * predicted, 2) + kMeasurementSeconds * kMeasurementSeconds;
  const double total = variance + noise;
  const double limit = kHuber * std::sqrt(total);
  const double taken = std::clamp(error, -limit, limit);
  for (size_t i = 0; i < kSize; ++i) {
    const double gain = pf[i] / total;
    // A height never falls to nothing, whatever one measurement says.
    theta_[i] = std::max(theta_[i] + gain * taken, 0.2 * theta_[i]);
    for (size_t j = 0; j < kSize; ++j) covariance_[i][j] -= gain * pf[j];
  }
}

void CostModel::TrackError(double relative) {
  mean_error_ += kErrorDecay * (std::min(std::abs(relative), 1.0) - mean_error_);
  // Robbins-Monro: falls as often as it rises where it is the quantile.
  late_quantile_ += kQuantileStep * (relative > late_quantile_ ? kQuantile : kQuantile - 1) * (0.1 + late_quantile_);
  // One that was stopped for long is no matter of percentiles: it may come again soon.
  if (relative > kOutlier) late_quantile_ += 0.05;
  late_quantile_ = std::clamp(late_quantile_, 0.0, 1.0);
}

double CostModel::headroom() const {
  return std::clamp(late_quantile_, kLeastHeadroom, 1.0);
}

double CostModel::SecondsPerRow() const {
  constexpr size_t last = kRowKnots.size() - 1;
  return (theta_[kRows + last] - theta_[kRows + last / 2]) / (kRowKnots[last] - kRowKnots[last / 2]);
}

double CostModel::SecondsPerBackwardRow() const {
  constexpr size_t knot = kBackwardKnots.size() - 2;
  return theta_[kBackward + knot] / kBackwardKnots[knot];
}

std::string CostModel::ToJson() const {
  return nlohmann::json{{"version", kVersion},
                        {"knots", kRowKnots},
                        {"seconds", theta_},
                        {"late", late_quantile_},
                        {"mean_error", mean_error_}}
      .dump();
}

absl::StatusOr<CostModel> CostModel::FromJson(const std::string& text) {
  const auto refuse = [](const std::string& why) {
    return absl::InvalidArgumentError(absl::StrCat("not a cost model of version ", kVersion, ": ", why));
  };
  const nlohmann::json json = nlohmann::json::parse(text, nullptr, false);
  if (!json.is_object() || json.value("version", nlohmann::json()) != kVersion) return refuse("another version");
  if (json.value("knots", nlohmann::json()) != nlohmann::json(kRowKnots)) return refuse("other knots");
  const nlohmann::json seconds = json.value("seconds", nlohmann::json());
  if (!seconds.is_array() || seconds.size() != kSize) return refuse(absl::StrCat("want ", kSize, " seconds"));
  Theta theta;
  for (size_t i = 0; i < kSize; ++i) {
    if (!seconds[i].is_number() || !(seconds[i].get<double>() >= 0)) return refuse("seconds want numbers >= 0");
    theta[i] = seconds[i].get<double>();
  }
  CostModel model(theta);
  if (const auto late = json.find("late"); late != json.end() && late->is_number()) {
    model.late_quantile_ = std::clamp(late->get<double>(), 0.0, 1.0);
  }
  return model;
}

}  // namespace tandem
