#include "cli/bench/stats.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/check.h"
#include "cli/format.h"

namespace tandem::bench {
namespace {

constexpr int kMaxBar = 50;  // columns

// The least of 1, 2, 5, 10, 20, ... times a power of ten that is at least `width`.
double RoundUp(double width) {
  const double power = std::pow(10, std::floor(std::log10(width)));
  for (const double factor : {1.0, 2.0, 5.0}) {
    if (factor * power >= width * (1 - 1e-9)) return factor * power;
  }
  return 10 * power;
}

// Without digits that all edges of a histogram of this bin width share as zeros.
std::string FormatEdge(double edge, double width) {
  const int decimals = std::clamp(static_cast<int>(-std::floor(std::log10(width) + 1e-9)), 0, 9);
  return absl::StrFormat("%.*f", decimals, edge);
}

std::string PadLeft(const std::string& text, size_t width) {
  return std::string(width > text.size() ? width - text.size() : 0, ' ') + text;
}

}  // namespace

double Percentile(const std::vector<double>& sorted, double p) {
  CHECK(!sorted.empty());
  const double rank = std::clamp(p, 0.0, 100.0) / 100 * static_cast<double>(sorted.size() - 1);
  const size_t below = static_cast<size_t>(rank);
  const size_t above = std::min(below + 1, sorted.size() - 1);
  return sorted[below] + (rank - static_cast<double>(below)) * (sorted[above] - sorted[below]);
}

Summary Summarize(std::vector<double> samples) {
  if (samples.empty()) return {};
  std::sort(samples.begin(), samples.end());
  Summary summary;
  summary.count = samples.size();
  summary.mean = std::accumulate(samples.begin(), samples.end(), 0.0) / static_cast<double>(samples.size());
  summary.min = samples.front();
  summary.p50 = Percentile(samples, 50);
  summary.p90 = Percentile(samples, 90);
  summary.p99 = Percentile(samples, 99);
  summary.max = samples.back();
  return summary;
}

nlohmann::ordered_json ToJson(const Summary& summary) {
  return {{"count", summary.count}, {"mean", summary.mean}, {"min", summary.min}, {"p50", summary.p50},
          {"p90", summary.p90},     {"p99", summary.p99},   {"max", summary.max}};
}

std::vector<Bin> MakeHistogram(std::vector<double> samples, int bins) {
  CHECK_GE(bins, 1);
  if (samples.empty()) return {};
  std::sort(samples.begin(), samples.end());
  const double bulk = Percentile(samples, 99);
  const double spread = bulk - samples.front();
  const double width = spread > 0 ? RoundUp(spread / bins) : RoundUp(std::max(1e-3, std::abs(bulk) / 10));
  std::vector<Bin> histogram;
  size_t next = 0;
  const auto add = [&](double low, double high, bool last) {
    Bin bin{low, high};
    while (next < samples.size() && (last || samples[next] < high)) {
      ++bin.count;
      ++next;
    }
    histogram.push_back(bin);
  };
  const double first = std::floor(samples.front() / width);
  for (double i = first; i * width <= bulk; ++i) add(i * width, (i + 1) * width, false);
  if (next < samples.size()) add(histogram.back().high, samples.back(), true);
  return histogram;
}

std::string RenderHistogram(const Terminal& terminal, const std::string& title, const std::vector<Bin>& bins) {
  std::string text = absl::StrCat(Paint(terminal, Style::kDim, title), "\n");
  if (bins.empty()) return text + "  no samples\n";
  const double width = bins[0].high - bins[0].low;
  size_t most = 1, edge_width = 0, count_width = 0;
  for (const Bin& bin : bins) {
    most = std::max(most, bin.count);
    edge_width = std::max(edge_width, FormatEdge(bin.high, width).size());
    count_width = std::max(count_width, absl::StrCat(bin.count).size());
  }
  const int room = terminal.width - static_cast<int>(2 * edge_width + count_width) - 10;
  const int columns = std::clamp(room, 4, kMaxBar);
  for (const Bin& bin : bins) {
    const double share = static_cast<double>(bin.count) / static_cast<double>(most);
    absl::StrAppend(&text, "  ", PadLeft(FormatEdge(bin.low, width), edge_width), " .. ",
                    PadLeft(FormatEdge(bin.high, width), edge_width), "  ",
                    Paint(terminal, Style::kCyan, Bar(share, columns)), "  ",
                    PadLeft(absl::StrCat(bin.count), count_width), "\n");
  }
  return text;
}

}  // namespace tandem::bench
