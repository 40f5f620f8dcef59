#include "sched/profile.h"

#include <algorithm>
#include <initializer_list>

namespace tandem {
namespace {

constexpr int kSpanRows = 16;  // of a probe of rows: attention within them costs next to nothing
constexpr int kMixed = 40;     // probes as they come, at the end

class ProbeList {
 public:
  explicit ProbeList(const ProbeLimits& limits) : limits_(limits) {}

  void Rows(std::initializer_list<int> sizes) {
    for (const int size : sizes) {
      if (size > limits_.max_rows) continue;
      Probe probe;
      for (int left = size; left > 0; left -= kSpanRows) {
        probe.spans.push_back({SpanKind::kPrefill, std::min(left, kSpanRows), 0});
      }
      probes_.push_back(std::move(probe));
    }
  }

  void Decodes(std::initializer_list<int> sizes, int context) {
    for (const int size : sizes) {
      if (size > limits_.max_rows || context + 1 > limits_.max_context) continue;
      Probe probe{.samples = size};
      probe.spans.assign(static_cast<size_t>(size), {SpanKind::kDecode, 1, context});
      probes_.push_back(std::move(probe));
    }
  }

  void Prefill(int rows, int context) {
    if (rows > limits_.max_rows || rows + context > limits_.max_context) return;
    probes_.push_back({.spans = {{SpanKind::kPrefill, rows, context}}, .samples = 1});
  }

  void Training(std::initializer_list<int> sizes) {
    for (const int size : sizes) {
      if (size > limits_.max_rows || size > limits_.max_trained) continue;
      probes_.push_back({.spans = {{SpanKind::kTrainForward, size, 0}}});
    }
  }

  void Backward(std::initializer_list<int> sizes, int begin) {
    for (const int size : sizes) {
      if (size > limits_.max_backward_rows || begin + size > limits_.max_trained) continue;
      probes_.push_back({.units = {TokenWindow{begin, begin + size}}});
    }
  }

  void Mixed(int count) {
    std::mt19937_64 random(0);
    for (int i = 0; i < count; ++i) probes_.push_back(DrawProbe(limits_, random));
  }

  std::vector<Probe> Take() { return std::move(probes_); }

 private:
  const ProbeLimits limits_;
  std::vector<Probe> probes_;
};

}  // namespace

StepFeatures FeaturesOf(const Probe& probe) {
  StepFeatures features;
  for (const Probe::Rows& span : probe.spans) {
    features.AddSpan(span.kind, span.num_rows, span.first_position);
    if (span.kind == SpanKind::kTrainForward) features.AddLoss(span.num_rows);
  }
  features.samples = probe.samples;
  for (const TokenWindow& unit : probe.units) features.AddBackward(unit.num_rows(), unit.begin);
  return features;
}

std::vector<Probe> ProfileProbes(const ProbeLimits& limits) {
  const int far = std::min(limits.max_context, 512) - 64;
  ProbeList list(limits);
  list.Decodes({1, 4}, 64);
  list.Backward({32, 128}, 0);
  list.Training({32});
  list.Rows({2, 8, 16, 32});
  list.Decodes({8, 16}, 64);
  list.Rows({64, 128, 3, 6, 12, 24, 48});
  list.Training({8, 128});
  list.Backward({64, 16, 8, 256}, 0);
  list.Decodes({1, 16}, far);
  list.Prefill(32, far);
  list.Backward({32}, limits.max_trained - 32);
  list.Rows({4, 5, 7, 10, 96, 192, 256, 384, 512});
  list.Decodes({2, 32, 64}, 64);
  list.Training({16, 64});
  list.Mixed(kMixed);
  return list.Take();
}

std::vector<Probe> BesideProbes(const ProbeLimits& limits) {
  ProbeList list(limits);
  list.Decodes({1, 4, 16, 8, 2}, 64);
  list.Training({8, 32});
  list.Rows({2, 4, 6, 8, 12, 16, 24, 32, 48, 64, 7, 10, 96, 128});
  list.Decodes({32}, 64);
  list.Training({16, 64});
  std::mt19937_64 random(0);
  std::vector<Probe> probes = list.Take();
  for (int i = 0; i < kMixed; ++i) {
    probes.push_back(DrawProbe(limits, random));
    probes.back().units.clear();
  }
  for (Probe& probe : probes) probe.beside = true;
  return probes;
}

Probe DrawProbe(const ProbeLimits& limits, std::mt19937_64& random) {
  const auto from = [&](int low, int high) { return low + static_cast<int>(random() % std::max(1, high - low + 1)); };
  const int context = std::min(limits.max_context, 512);
  Probe probe;
  const int decodes = random() % 2 == 0 ? 1 : from(1, std::min(16, limits.max_rows / 4));
  for (int i = 0; i < decodes; ++i) probe.spans.push_back({SpanKind::kDecode, 1, from(0, context - 1)});
  probe.samples = decodes;
  if (random() % 4 == 0) {
    const int rows = from(1, std::min(64, limits.max_rows / 4));
    probe.spans.push_back({SpanKind::kPrefill, rows, from(0, context - rows)});
  }
  if (random() % 2 == 0) {
    const int rows = from(1, std::min({64, limits.max_rows / 4, limits.max_trained}));
    probe.spans.push_back({SpanKind::kTrainForward, rows, from(0, limits.max_trained - rows)});
  }
  if (random() % 2 == 0) {
    const int rows = std::min(limits.max_backward_rows, 8 << (random() % 5));
    const int begin = rows * from(0, limits.max_trained / rows - 1);
    for (int i = from(1, 4); i > 0; --i) probe.units.push_back({begin, begin + rows});
  }
  return probe;
}

}  // namespace tandem
