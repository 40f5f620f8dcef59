// Samples in figures: percentiles, and a histogram as text. Pure functions, shared by every benchmark.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "base/json.h"
#include "cli/terminal.h"

namespace tandem::bench {

struct Summary {
  size_t count = 0;
  double mean = 0, min = 0, p50 = 0, p90 = 0, p99 = 0, max = 0;  // all 0 where there is no sample
};

// Of `sorted`, ascending and not empty; p in [0, 100]. Between two ranks by linear interpolation, as numpy does it.
double Percentile(const std::vector<double>& sorted, double p);

Summary Summarize(std::vector<double> samples);

nlohmann::ordered_json ToJson(const Summary& summary);

// [low, high) and how many samples lie in it; the last bin holds its high end too.
struct Bin {
  double low = 0, high = 0;
  size_t count = 0;
};

// `bins` bins of a round width (1, 2 or 5 times a power of ten) that hold the samples up to their 99th percentile; what
// lies above goes to one more bin, up to the greatest. Fewer bins where fewer are enough; none without samples.
std::vector<Bin> MakeHistogram(std::vector<double> samples, int bins);

// A line for each bin, "  20 ..   25  ██████▍     31", at most terminal.width columns wide.
std::string RenderHistogram(const Terminal& terminal, const std::string& title, const std::vector<Bin>& bins);

}  // namespace tandem::bench
