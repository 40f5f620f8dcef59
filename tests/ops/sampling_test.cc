#include "ops/sampling.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "ops/op_test.h"

namespace tandem::optest {
namespace {

constexpr float kInfinity = INFINITY;

class SamplingTest : public OpTest {
 protected:
  std::vector<int32_t> Sample(const std::vector<std::vector<float>>& rows, const std::vector<SampleRequest>& requests) {
    const int64_t vocab = static_cast<int64_t>(rows[0].size());
    std::vector<float> all;
    for (const std::vector<float>& row : rows) all.insert(all.end(), row.begin(), row.end());
    GuardedTensor logits(backend(), {static_cast<int64_t>(rows.size()), vocab});
    logits.Write(all);
    std::vector<int32_t> ids(rows.size(), -77);
    ops::Sample(backend(), logits.view(), requests, ids);
    Finish();
    EXPECT_TRUE(logits.GuardsIntact());
    return ids;
  }
  int32_t SampleOne(const std::vector<float>& row, const SamplingParams& params, int index = 0) {
    return Sample({row}, {{.params = params, .index = index}})[0];
  }
  // How often each token comes in `draws` draws with consecutive indices.
  std::vector<int> Histogram(const std::vector<float>& row, const SamplingParams& params, int draws) {
    constexpr int kBatch = 100;
    std::vector<int> counts(row.size());
    for (int first = 0; first < draws; first += kBatch) {
      const int batch = std::min(kBatch, draws - first);
      std::vector<SampleRequest> requests;
      for (int i = 0; i < batch; ++i) requests.push_back({.row = i, .params = params, .index = first + i});
      for (const int32_t id : Sample(std::vector(batch, row), requests)) ++counts.at(id);
    }
    return counts;
  }
};

// Logits with a few ties; token i's neighbours are not its neighbours in probability.
std::vector<float> SomeLogits(int vocab) {
  std::vector<float> logits(vocab);
  for (int i = 0; i < vocab; ++i) logits[i] = 0.25f * static_cast<float>(i * 13 % (vocab - 3));
  return logits;
}

// What Sample must draw from, by the definitions: temperature, top-k, top-p of the top-k's mass; ties by id.
std::vector<double> WantDistribution(const std::vector<float>& logits, const SamplingParams& params) {
  const int vocab = static_cast<int>(logits.size());
  std::vector<int> order(vocab);
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int a, int b) { return logits[a] > logits[b]; });
  const int top_k = params.top_k > 0 ? std::min(params.top_k, vocab) : vocab;
  const auto weight = [&](int id) { return std::exp((logits[id] - logits[order[0]]) / params.temperature); };
  double mass = 0, kept = 0;
  for (int i = 0; i < top_k; ++i) mass += weight(order[i]);
  std::vector<double> p(vocab);
  for (int i = 0; i < top_k && kept < params.top_p * mass; ++i) kept += p[order[i]] = weight(order[i]);
  for (double& value : p) value /= kept;
  return p;
}

void ExpectDrawnFrom(const std::vector<double>& want, const std::vector<int>& counts) {
  const double draws = std::accumulate(counts.begin(), counts.end(), 0.0);
  double chi_square = 0, rest_want = 0, rest_count = 0;
  int cells = 0;
  for (size_t i = 0; i < want.size(); ++i) {
    if (want[i] == 0) {
      ASSERT_EQ(counts[i], 0) << "token " << i << " is outside of the support";
      continue;
    }
    if (want[i] * draws < 10) {  // too few for the statistic: one cell for all of them
      rest_want += want[i] * draws;
      rest_count += counts[i];
      continue;
    }
    chi_square += std::pow(counts[i] - want[i] * draws, 2) / (want[i] * draws);
    ++cells;
  }
  if (rest_want > 0) {
    chi_square += std::pow(rest_count - rest_want, 2) / rest_want;
    ++cells;
  }
  // Mean `freedom`, variance 2 freedom: five standard deviations above is a wrong distribution.
  const double freedom = std::max(1, cells - 1);
  EXPECT_LT(chi_square, freedom + 5 * std::sqrt(2 * freedom)) << cells << " cells";
}

TEST_P(SamplingTest, GreedyMatchesReference) {
  CheckAgainstReference(Op::kSample);
}

TEST_P(SamplingTest, GreedyTakesTheFirstMaximum) {
  EXPECT_EQ(SampleOne({1, 3, 2, 3, 3}, {.temperature = 0}), 1);
  EXPECT_EQ(SampleOne({1, 3, 2, 3, 3}, {.temperature = 1, .top_k = 1}), 1);
  EXPECT_EQ(SampleOne({-kInfinity, -2, -1, -kInfinity}, {.temperature = 0}), 2);
}

TEST_P(SamplingTest, DrawsFollowTheDistribution) {
  const std::vector<SamplingParams> all = {
      {.temperature = 1, .seed = 1},
      {.temperature = 0.5f, .seed = 2},
      {.temperature = 3, .seed = 3},
      {.temperature = 1, .top_k = 5, .seed = 4},
      {.temperature = 1, .top_p = 0.7f, .seed = 5},
      {.temperature = 2, .top_k = 12, .top_p = 0.9f, .seed = 6},
      {.temperature = 1, .top_k = 1000, .top_p = 0.999f, .seed = 7},
      {.temperature = 1, .top_p = 1e-6f, .seed = 8},
  };
  const std::vector<float> logits = SomeLogits(40);
  for (const SamplingParams& params : all) {
    SCOPED_TRACE("seed " + std::to_string(params.seed));
    ExpectDrawnFrom(WantDistribution(logits, params), Histogram(logits, params, Repetitions(20000)));
  }
}

TEST_P(SamplingTest, TopKCutsTiesByTokenId) {
  const SamplingParams params{.temperature = 1, .top_k = 3, .seed = 9};
  const std::vector<int> counts = Histogram({1, 2, 2, 2, 2}, params, Repetitions(2000));
  EXPECT_GT(counts[1], 0);
  EXPECT_GT(counts[2], 0);
  EXPECT_GT(counts[3], 0);
  EXPECT_EQ(counts[0] + counts[4], 0);
}

TEST_P(SamplingTest, TopPKeepsTheTokenThatReachesTheShare) {
  // Probabilities 1/2, 1/4, 1/8, 1/8.
  const std::vector<float> logits = {0, std::log(2.0f), std::log(4.0f), 0};
  const int draws = Repetitions(1000);
  EXPECT_EQ(Histogram(logits, {.temperature = 1, .top_p = 0.49f, .seed = 1}, draws)[2], draws);
  const std::vector<int> counts = Histogram(logits, {.temperature = 1, .top_p = 0.6f, .seed = 1}, draws);
  EXPECT_GT(counts[1], 0);
  EXPECT_EQ(counts[0] + counts[3], 0);
}

TEST_P(SamplingTest, TokenDependsOnSeedAndIndexAlone) {
  const std::vector<float> logits = SomeLogits(300);
  std::vector<SampleRequest> requests;
  for (int i = 0; i < 40; ++i) {
    SamplingParams params{.temperature = 1, .seed = static_cast<uint64_t>(i % 4)};
    if (i % 8 > 3) params.top_k = 50;
    requests.push_back({.sequence = i, .row = i, .params = params, .index = i / 8});
  }
  const std::vector<int32_t> together = Sample(std::vector(40, logits), requests);
  for (int i = 0; i < 40; ++i) EXPECT_EQ(SampleOne(logits, requests[i].params, requests[i].index), together[i]) << i;
}

TEST_P(SamplingTest, DifferentIndicesAndSeedsGiveDifferentDraws) {
  const std::vector<float> logits(1000, 0.0f);
  std::vector<int32_t> ids;
  for (uint64_t seed = 0; seed < 10; ++seed) {
    for (int index = 0; index < 10; ++index) ids.push_back(SampleOne(logits, {.temperature = 1, .seed = seed}, index));
  }
  std::sort(ids.begin(), ids.end());
  const auto distinct = std::unique(ids.begin(), ids.end()) - ids.begin();
  EXPECT_GT(distinct, 85);  // 95 expected of 100 draws among 1000
}

TEST_P(SamplingTest, NotFiniteRowsGiveMinusOneAndSpareTheOthers) {
  const std::vector<float> good = {0, 5, 1};
  for (const SamplingParams& params :
       std::vector<SamplingParams>{{.temperature = 0}, {.temperature = 1}, {.temperature = 1, .top_k = 2}}) {
    const std::vector<int32_t> ids =
        Sample({good, {0, NAN, 1}, good, {kInfinity, 0, 0}, good}, std::vector(5, SampleRequest{.params = params}));
    EXPECT_EQ(ids[1], -1);
    EXPECT_EQ(ids[3], -1);
    for (const int i : {0, 2, 4}) EXPECT_EQ(ids[i], ids[0]);
    EXPECT_GE(ids[0], 0);
  }
}

TEST_P(SamplingTest, RowWithoutAnyTokenLeftSaysSo) {
  for (const SamplingParams& params :
       std::vector<SamplingParams>{{.temperature = 0}, {.temperature = 1}, {.temperature = 1, .top_k = 2}}) {
    EXPECT_EQ(SampleOne({-kInfinity, -kInfinity, -kInfinity}, params), kNoTokenAllowed);
  }
}

TEST_P(SamplingTest, MaskedTokensAreNeverDrawn) {
  std::vector<float> logits = SomeLogits(40);
  for (int i = 0; i < 40; i += 2) logits[i] = -kInfinity;
  logits[39] = -kInfinity;  // the last token, where a draw that runs past the end would land
  for (const SamplingParams& params : std::vector<SamplingParams>{{.temperature = 1, .seed = 1},
                                                                  {.temperature = 2, .top_k = 30, .seed = 2},
                                                                  {.temperature = 2, .top_p = 0.99f, .seed = 3}}) {
    const std::vector<int> counts = Histogram(logits, params, Repetitions(5000));
    for (int i = 0; i < 40; ++i) {
      if (logits[i] == -kInfinity) {
        ASSERT_EQ(counts[i], 0) << i;
      }
    }
    ExpectDrawnFrom(WantDistribution(logits, params), counts);
  }
}

TEST_P(SamplingTest, TinyTemperatureIsGreedy) {
  const std::vector<float> logits = SomeLogits(40);
  const int32_t greedy = SampleOne(logits, {.temperature = 0});
  for (const float temperature : {1e-3f, 1e-30f, 1e-40f}) {
    EXPECT_EQ(SampleOne(logits, {.temperature = temperature, .seed = 5}), greedy) << temperature;
  }
}

TANDEM_ON_EVERY_BACKEND(SamplingTest);

}  // namespace
}  // namespace tandem::optest
