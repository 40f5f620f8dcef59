#include "sched/cost_model.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "nlohmann/json.hpp"

namespace tandem {
namespace {

constexpr int kVersion = 2;

// The nominal machine that a guess is made for: two cores with AVX-512. Only ratios matter, the first measurement
// scales the rest.
constexpr double kBytesPerSecond = 35e9, kFlopsPerSecond = 350e9;
constexpr double kScalarFlopsPerSecond = 40e9;  // of attention
constexpr double kSecondsPerOperation = 2e-6;   // to start one

constexpr double kOctaves = 2;                 // along a curve: how far knots move together
constexpr double kMeasurement = 0.05;          // relative standard deviation of one measurement
constexpr double kMeasurementSeconds = 10e-6;  // and in absolute terms: what a timer and a scheduler blur
constexpr double kHuber = 3;                   // standard deviations

constexpr double kQuantile = 0.8, kQuantileStep = 0.01;
constexpr double kErrorDecay = 1.0 / 200;

template <size_t N>
void Put(const std::array<int, N>& knots, double size, double* features) {
  if (size <= 0) return;
  const KnotPosition at = Locate(knots, size);
  features[at.low] += at.low_weight;
  if (at.high_weight != 0) features[at.low + 1] += at.high_weight;
}

}  // namespace

const CostModel::Spread CostModel::kGuessed = {.machine = 0.5, .curve = 0.5, .shape = 0.3, .rate = 1};
const CostModel::Spread CostModel::kMeasured = {.machine = 0.2, .curve = 0.05, .shape = 0.05, .rate = 0.15};
const CostModel::Spread CostModel::kWalk = {.machine = 0.01, .curve = 0.001, .shape = 0.001, .rate = 0.001};

CostModel::CostModel(const ModelShape& shape) : CostModel(Guess(shape), kGuessed) {
  scaled_ = false;
}

CostModel::CostModel(const Theta& theta, const Spread& spread) : theta_(theta) {
  for (double& value : theta_) value = std::max(value, 0.0);
  Blur(spread);
}

CostModel::Theta CostModel::Guess(const ModelShape& shape) {
  // A product with `parameters` weights over m rows: reading them or computing with them, the greater, smoothly.
  const auto product = [&](double parameters, double m) {
    return std::hypot(parameters * shape.bytes_per_parameter / kBytesPerSecond, 2 * parameters * m / kFlopsPerSecond);
  };
  const double body = shape.num_layers * shape.layer_parameters;
  Theta theta = {};
  for (size_t i = 0; i < kRowKnots.size(); ++i) theta[kRows + i] = product(body, kRowKnots[i]);
  for (size_t i = 0; i < kSampleKnots.size(); ++i) {
    theta[kSamples + i] = product(shape.head_parameters, kSampleKnots[i]);
  }
  for (size_t i = 0; i < kLossKnots.size(); ++i) theta[kLoss + i] = 2 * product(shape.head_parameters, kLossKnots[i]);
  for (size_t i = 0; i < kBackwardKnots.size(); ++i) {
    theta[kBackward + i] = 1.3 * product(shape.layer_parameters, kBackwardKnots[i]);
  }
  const double row = product(body, 256) / 256;
  const double pair = 4 * shape.query_width / kScalarFlopsPerSecond;
  const double rates[] = {10 * shape.num_layers * kSecondsPerOperation,
                          shape.num_layers * kSecondsPerOperation,
                          0.03 * product(body, 1),
                          shape.num_layers * pair,
                          shape.num_layers * pair,
                          0.1 * row,
                          2 * pair};
  std::copy(std::begin(rates), std::end(rates), &theta[kRates]);
  return theta;
}

void CostModel::Blur(const Spread& spread) {
  const Matrix& together = KnotsTogether();
  const double machine = spread.machine * spread.machine, curve = spread.curve * spread.curve,
               shape = spread.shape * spread.shape;
  for (size_t i = 0; i < kSize; ++i) {
    for (size_t j = 0; j < kSize; ++j) {
      const double relative = machine + (together[i][j] > 0 ? curve + shape * together[i][j] : 0);
      covariance_[i][j] += relative * theta_[i] * theta_[j];
    }
  }
  for (size_t i = kRates; i < kSize; ++i) covariance_[i][i] += spread.rate * spread.rate * theta_[i] * theta_[i];
}

const CostModel::Matrix& CostModel::KnotsTogether() {
  static const Matrix kTogether = [] {
    Matrix together = {};
    const auto put = [&](size_t offset, const auto& knots) {
      for (size_t i = 0; i < knots.size(); ++i) {
        for (size_t j = 0; j < knots.size(); ++j) {
          const double octaves = std::abs(std::log2(static_cast<double>(knots[i]) / knots[j]));
          together[offset + i][offset + j] = std::exp(-octaves / kOctaves);
        }
      }
    };
    put(kRows, kRowKnots);
    put(kSamples, kSampleKnots);
    put(kLoss, kLossKnots);
    put(kBackward, kBackwardKnots);
    return together;
  }();
  return kTogether;
}

CostModel::Theta CostModel::Features(const StepFeatures& f) {
  Theta features = {};
  Put(kRowKnots, f.rows, &features[kRows]);
  Put(kSampleKnots, f.samples, &features[kSamples]);
  std::copy(f.loss.begin(), f.loss.end(), &features[kLoss]);
  std::copy(f.backward.begin(), f.backward.end(), &features[kBackward]);
  const double rates[] = {
      1.0, f.spans, f.bypasses, f.decode_context, f.prefill_pairs, f.training_rows, f.backward_pairs};
  std::copy(std::begin(rates), std::end(rates), &features[kRates]);
  return features;
}

CostModel CostModel::Unscaled() const {
  CostModel model(theta_, kGuessed);
  model.scaled_ = false;
  return model;
}

double CostModel::Seconds(const StepFeatures& features) const {
  const Theta f = Features(features);
  double seconds = 0;
  for (size_t i = 0; i < kSize; ++i) seconds += theta_[i] * f[i];
  return std::max(seconds, 1e-9);
}

CostModel::Observed CostModel::Observe(const StepFeatures& features, absl::Duration measured) {
  if (measured <= absl::ZeroDuration() || measured > absl::Hours(1)) return Observed::kIgnored;
  const double predicted = Seconds(features), seconds = absl::ToDoubleSeconds(measured);
  ++observations_;
  if (!scaled_) {
    for (double& value : theta_) value *= seconds / predicted;
    covariance_ = {};
    Blur(kGuessed);
    scaled_ = true;
    return Observed::kTaken;
  }
  TrackError(seconds / predicted - 1);
  outliers_on_end_ = seconds > kOutlier * predicted ? outliers_on_end_ + 1 : 0;
  if (outliers_on_end_ > 0 && outliers_on_end_ <= kStops) {
    ++outliers_;
    return Observed::kOutlier;
  }
  Correct(Features(features), predicted, seconds - predicted);
  return Observed::kTaken;
}

void CostModel::Correct(const Theta& f, double predicted, double error) {
  // Since the last measurement; where several on end were no noise, what was learned no longer holds.
  Blur(surprises_on_end_ > kStops ? kGuessed : kWalk);
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
  surprises_on_end_ = std::abs(error) > limit ? surprises_on_end_ + 1 : 0;
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

double CostModel::SecondsPerTrainedRow() const {
  constexpr size_t last = kLossKnots.size() - 1;
  return SecondsPerRow() + theta_[kLoss + last] / kLossKnots[last] + theta_[kRates + 5];
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
  CostModel model(theta, kMeasured);
  if (const auto late = json.find("late"); late != json.end() && late->is_number()) {
    model.late_quantile_ = std::clamp(late->get<double>(), 0.0, 1.0);
  }
  return model;
}

}  // namespace tandem
