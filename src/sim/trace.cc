#include "sim/trace.h"

#include <algorithm>
#include <random>

namespace tandem::sim {

std::vector<TraceRequest> DrawTrace(const ArrivalOptions& options) {
  std::mt19937_64 random(options.seed);
  const double shape = 1 / (options.cv * options.cv);
  std::gamma_distribution<double> gap(shape, 1 / (options.rate * shape));
  const auto length = [&](int mean) {
    return std::uniform_int_distribution<int>(std::max(1, mean / 2), std::max(1, mean + mean / 2))(random);
  };
  std::vector<TraceRequest> requests;
  double at = gap(random);
  while (absl::Seconds(at) < options.duration) {
    requests.push_back({.arrival = absl::Seconds(at),
                        .prompt_tokens = length(options.prompt_tokens),
                        .output_tokens = length(options.output_tokens)});
    at += gap(random);
  }
  return requests;
}

}  // namespace tandem::sim
