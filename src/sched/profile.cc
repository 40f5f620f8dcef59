#include "sched/profile.h"

#include <algorithm>
#include <optional>
#include <vector>

namespace tandem {
namespace {

constexpr int kSpanRows = 16;  // of the row curve's probes: attention within them costs next to nothing

class Profiler {
 public:
  Profiler(const ProfileOptions& options, const std::function<absl::Duration(const Probe&)>& run)
      : options_(options), run_(run) {}

  CostProfile Measure() {
    Rows(1);  // warms caches and page tables; measured again
    profile_.rows.clear();
    for (const int rows : {1, 2, 4, 8, 16, 32}) Rows(rows);
    Backward(32);
    Samples(1);
    Loss(32);
    for (const int rows : {3, 6, 12, 24, 48, 64}) Rows(rows);
    Samples(8);
    for (const int rows : {64, 128}) Backward(rows);
    Attention();
    for (const int rows : {96, 128, 5, 7, 10, 192}) Rows(rows);
    for (const int rows : {8, 128}) Loss(rows);
    for (const int samples : {2, 4, 16, 64}) Samples(samples);
    for (const int rows : {16, 256}) Backward(rows);
    for (const int rows : {256, 384, 512}) Rows(rows);
    Finish();
    return profile_;
  }

 private:
  // Seconds of the probe, the least of up to three; nothing where the time left is too short for one that is guessed to
  // take `guess` seconds.
  std::optional<double> Time(const Probe& probe, double guess) {
    std::optional<double> best;
    for (int i = 0; i < 3; ++i) {
      if (spent_ + std::max(guess, best.value_or(0)) > absl::ToDoubleSeconds(options_.limit)) break;
      const double seconds = absl::ToDoubleSeconds(run_(probe));
      spent_ += seconds;
      best = std::min(best.value_or(seconds), seconds);
    }
    return best;
  }

  static Probe RowsProbe(int rows) {
    if (rows <= kSpanRows) return {.spans = 1, .span_rows = rows};
    return {.spans = rows / kSpanRows, .span_rows = kSpanRows};
  }

  // Of the curve so far, in proportion beyond it: what a probe of that size will take.
  static double Guess(const std::vector<std::pair<double, double>>& curve, double size) {
    if (curve.empty()) return 0;
    const auto least = std::min_element(curve.begin(), curve.end(), [&](const auto& a, const auto& b) {
      return std::abs(a.first - size) < std::abs(b.first - size);
    });
    return least->second * std::max(1.0, size / least->first);
  }

  void Rows(int rows) {
    // Span rows below 16 only where they make a whole probe.
    if (rows > options_.max_rows || (rows > kSpanRows && rows % kSpanRows != 0 && rows != 24)) return;
    const Probe probe = rows == 24 ? Probe{.spans = 2, .span_rows = 12} : RowsProbe(rows);
    Put(profile_.rows, rows, Time(probe, Guess(profile_.rows, rows)));
  }

  void Samples(int samples) {
    if (samples > options_.max_rows) return;
    const Probe with{.spans = samples, .span_rows = 1, .samples = samples};
    Probe without = with;
    without.samples = 0;
    Put(profile_.samples, samples, Difference(with, without));
  }

  void Loss(int rows) {
    if (rows > options_.max_rows || rows > options_.max_context) return;
    Put(profile_.loss, rows,
        Difference({.spans = 1, .span_rows = rows, .training = true}, {.spans = 1, .span_rows = rows}));
  }

  void Backward(int rows) {
    if (rows > options_.max_backward_rows || rows > options_.max_context) return;
    Put(profile_.backward, rows, Time({.backward_rows = rows}, Guess(profile_.backward, rows)));
  }

  void Attention() {
    const int context = std::min(options_.max_context, 1024) - 33;
    if (context < 64 || options_.max_rows < 32) return;
    // Many rows: at one row the context's share is lost in the noise of reading the weights.
    const std::optional<double> decode =
        Difference({.spans = 16, .span_rows = 1, .context = context}, {.spans = 16, .span_rows = 1, .context = 0});
    if (decode.has_value()) profile_.per_decode_token = *decode / (16.0 * context);
    const std::optional<double> prefill =
        Difference({.spans = 1, .span_rows = 32, .context = context}, {.spans = 1, .span_rows = 32, .context = 0});
    if (prefill.has_value()) profile_.per_prefill_pair = *prefill / (32.0 * context);
    const std::optional<double> spans =
        Difference({.spans = 16, .span_rows = 1, .context = 0}, {.spans = 1, .span_rows = 16, .context = 0});
    if (spans.has_value()) profile_.per_span = *spans / 15;
  }

  std::optional<double> Difference(const Probe& with, const Probe& without) {
    const double guess = Guess(profile_.rows, with.spans * with.span_rows);
    const std::optional<double> a = Time(with, 1.5 * guess), b = Time(without, guess);
    if (!a.has_value() || !b.has_value()) return std::nullopt;
    return std::max(0.0, *a - *b);
  }

  static void Put(std::vector<std::pair<double, double>>& curve, double size, std::optional<double> seconds) {
    if (!seconds.has_value()) return;
    std::erase_if(curve, [&](const auto& point) { return point.first == size; });
    curve.emplace_back(size, *seconds);
    std::sort(curve.begin(), curve.end());
  }

  void Finish() {
    if (profile_.rows.empty()) profile_.rows = {{1, 1e-3}};
    const double row = profile_.rows.back().second / profile_.rows.back().first;
    // Where there was no time for one: a guess from the forward that the first iterations correct.
    if (profile_.samples.empty()) profile_.samples = {{1, 0.05 * profile_.rows[0].second}};
    if (profile_.loss.empty()) profile_.loss = {{1, 0.1 * row}};
    if (profile_.backward.empty()) profile_.backward = {{8, 0.1 * 8 * row}};
    // Small and known by their order of magnitude only: given a value, so that measurements can correct them.
    profile_.overhead = 0.002 * profile_.rows[0].second;
    profile_.per_span = std::max(profile_.per_span, 1e-4 * profile_.rows[0].second);
    profile_.per_training_row = 0.01 * row;
    profile_.per_decode_token = std::max(profile_.per_decode_token, 1e-6 * row);
    profile_.per_prefill_pair = std::max(profile_.per_prefill_pair, 1e-6 * row);
    profile_.per_backward_pair = 2 * profile_.per_prefill_pair;
  }

  const ProfileOptions options_;
  const std::function<absl::Duration(const Probe&)>& run_;
  double spent_ = 0;
  CostProfile profile_;
};

}  // namespace

CostProfile MeasureProfile(const ProfileOptions& options, const std::function<absl::Duration(const Probe&)>& run) {
  return Profiler(options, run).Measure();
}

}  // namespace tandem
