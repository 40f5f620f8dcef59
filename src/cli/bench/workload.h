// What a benchmark sends: when requests arrive, how long they are, and the requests themselves. Everything is drawn
// from one seed, so that two runs send the same.
#pragma once

#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/trace.h"
#include "tandem/v1/inference.pb.h"

namespace tandem::bench {

// A length in tokens: "128", "uniform:16-256", "normal:128,32" (mean, standard deviation) or "lognormal:128,0.8"
// (median, sigma of the logarithm). What is drawn is at least 1.
class LengthDistribution {
 public:
  static absl::StatusOr<LengthDistribution> Parse(const std::string& text);

  int Draw(std::mt19937_64& random) const;
  const std::string& text() const { return text_; }

 private:
  enum class Kind { kFixed, kUniform, kNormal, kLognormal };
  LengthDistribution(std::string text, Kind kind, double a, double b)
      : text_(std::move(text)), kind_(kind), a_(a), b_(b) {}
  std::string text_;
  Kind kind_;
  double a_, b_;
};

// Requests that arrive on their own (an open loop). Gaps are drawn from a gamma distribution with mean 1 / rate and the
// coefficient of variation cv: 1 is a Poisson process, more is burstier, 0 is a metronome.
class Arrivals {
 public:
  Arrivals(double rate, double cv, uint64_t seed);  // rate > 0 a second, cv >= 0
  // When the next request arrives, from the start of the load.
  absl::Duration Next();

 private:
  const double rate_, cv_;
  std::mt19937_64 random_;
  std::gamma_distribution<double> gap_;
  double at_seconds_ = 0;
};

struct SyntheticOptions {
  int num_requests = 0;
  LengthDistribution prompt_tokens, output_tokens;
  int shared_prefix = 0;  // tokens that all prompts begin with, beside their own
  std::string adapter;
  double temperature = 0;
  uint64_t seed = 1;
};

// Prompts of random tokens, generations of exactly the drawn length (ignore_eos). The ids are those that every
// byte-level or byte-fallback vocabulary has.
std::vector<v1::GenerateRequest> SyntheticRequests(const SyntheticOptions& options);

// The same with the lengths and adapters of a trace.
std::vector<v1::GenerateRequest> TraceRequests(const std::vector<TraceRequest>& trace, double temperature,
                                               uint64_t seed);

// One request a line: {"prompt": TEXT} or {"messages": [{"role", "content"}]}, with "max_tokens" or else `max_tokens`.
// INVALID_ARGUMENT names the line.
absl::StatusOr<std::vector<v1::GenerateRequest>> ReadRequests(const std::string& path, int max_tokens);

}  // namespace tandem::bench
