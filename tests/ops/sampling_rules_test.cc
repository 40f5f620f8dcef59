// Bias, penalties, forbidden tokens, truncation and log probabilities, against the definitions written down plainly:
// one step after the other over the whole vocabulary, in double, sorted where Tandem selects.
#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>
#include <random>
#include <set>

#include "ops/op_test.h"
#include "ops/sampling.h"

namespace tandem::optest {
namespace {

class FixedMask : public TokenMaskSource {
 public:
  FixedMask(int vocab, const std::set<int32_t>& allowed) : words_((vocab + 31) / 32) {
    for (const int32_t id : allowed) words_[id / 32] |= uint32_t{1} << (id % 32);
  }
  std::span<const uint32_t> Wait() override { return words_; }

 private:
  std::vector<uint32_t> words_;
};

// Probabilities by id; 0: left out.
using Distribution = std::vector<double>;

std::vector<int> ByProbability(const Distribution& p) {
  std::vector<int> order(p.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int a, int b) { return p[a] > p[b]; });
  return order;
}

void Normalize(Distribution& p) {
  const double sum = std::accumulate(p.begin(), p.end(), 0.0);
  for (double& value : p) value /= sum;
}

// Keeps the first of `order` until they hold `share`; then everything adds up to 1 again.
void KeepShare(Distribution& p, const std::vector<int>& order, double share) {
  double sum = 0;
  for (const int id : order) {
    const bool keep = sum < share;
    sum += p[id];
    if (!keep) p[id] = 0;
  }
  Normalize(p);
}

std::vector<double> WantLogits(const std::vector<float>& row, const SampleRequest& request) {
  std::vector<double> x(row.begin(), row.end());
  const SamplingParams& params = request.params;
  if (params.rules != nullptr) {
    for (const TokenBias& bias : params.rules->logit_bias) x[bias.token] += bias.bias;
  }
  const std::set<int32_t> seen(request.history.begin(), request.history.end());
  for (const int32_t id : seen) {
    x[id] = x[id] < 0 ? x[id] * params.repetition_penalty : x[id] / params.repetition_penalty;
  }
  std::map<int32_t, int> uses;
  for (size_t i = request.num_prompt_tokens; i < request.history.size(); ++i) ++uses[request.history[i]];
  for (const auto& [id, count] : uses) x[id] -= params.frequency_penalty * count + params.presence_penalty;
  return x;
}

Distribution Want(const std::vector<float>& row, const SampleRequest& request) {
  const SamplingParams& params = request.params;
  std::vector<double> x = WantLogits(row, request);
  const double max = *std::max_element(x.begin(), x.end());
  Distribution p(x.size());
  for (size_t i = 0; i < x.size(); ++i) p[i] = std::exp((x[i] - max) / params.temperature);
  Normalize(p);
  if (params.top_k > 0) {
    const std::vector<int> order = ByProbability(p);
    for (size_t i = params.top_k; i < order.size(); ++i) p[order[i]] = 0;
    Normalize(p);
  }
  if (params.top_p < 1) KeepShare(p, ByProbability(p), params.top_p);
  const double best = *std::max_element(p.begin(), p.end());
  for (double& value : p) value = value < params.min_p * best ? 0 : value;
  Normalize(p);
  if (params.typical_p < 1) {
    double entropy = 0;
    std::vector<int> order;
    for (size_t i = 0; i < p.size(); ++i) {
      if (p[i] == 0) continue;
      entropy -= p[i] * std::log(p[i]);
      order.push_back(static_cast<int>(i));
    }
    std::stable_sort(order.begin(), order.end(), [&](int a, int b) {
      return std::abs(-std::log(p[a]) - entropy) < std::abs(-std::log(p[b]) - entropy);
    });
    KeepShare(p, order, params.typical_p);
  }
  return p;
}

std::vector<float> RandomLogits(int vocab, uint64_t seed, float width = 3) {
  std::mt19937_64 random(seed);
  std::normal_distribution<float> normal(0, width);
  std::vector<float> row(vocab);
  for (float& value : row) value = normal(random);
  return row;
}

class SamplingRulesTest : public OpTest {
 protected:
  std::vector<int32_t> Draw(const std::vector<float>& row, const SampleRequest& request, int draws) {
    std::vector<float> all;
    std::vector<SampleRequest> requests(draws, request);
    for (int i = 0; i < draws; ++i) {
      all.insert(all.end(), row.begin(), row.end());
      requests[i].index = request.index + i;
    }
    GuardedTensor logits(backend(), {draws, static_cast<int64_t>(row.size())});
    logits.Write(all);
    std::vector<int32_t> ids(draws, -77);
    logprobs_.assign(draws, {});
    ops::Sample(backend(), logits.view(), requests, ids, logprobs_);
    Finish();
    EXPECT_TRUE(logits.GuardsIntact());
    return ids;
  }
  int32_t Greedy(const std::vector<float>& row, SampleRequest request) {
    request.params.temperature = 0;
    return Draw(row, request, 1)[0];
  }

  // Draws often and compares frequencies: nothing from outside the support, chi square within five deviations.
  void ExpectDrawsFollow(const std::vector<float>& row, const SampleRequest& request) {
    const int draws = Repetitions(8000), batch = Repetitions(400);
    const Distribution want = Want(row, request);
    std::vector<int> counts(row.size());
    for (int first = 0; first < draws; first += batch) {
      SampleRequest part = request;
      part.index = first;
      for (const int32_t id : Draw(row, part, batch)) ++counts.at(id);
    }
    double chi_square = 0, rest_want = 0, rest_count = 0;
    int cells = 0;
    for (size_t i = 0; i < want.size(); ++i) {
      const double expected = want[i] * draws;
      if (want[i] == 0) {
        ASSERT_EQ(counts[i], 0) << "token " << i << " is outside of the support";
      } else if (expected < 10) {
        rest_want += expected;
        rest_count += counts[i];
      } else {
        chi_square += std::pow(counts[i] - expected, 2) / expected;
        ++cells;
      }
    }
    if (rest_want > 1) chi_square += std::pow(rest_count - rest_want, 2) / rest_want;
    const double freedom = std::max(1, cells);
    EXPECT_LT(chi_square, freedom + 5 * std::sqrt(2 * freedom));
  }

  std::vector<TokenLogprobs> logprobs_;
};

TEST_P(SamplingRulesTest, EveryTruncationFollowsItsDefinition) {
  const std::vector<SamplingParams> all = {
      {.top_k = 7, .seed = 1},
      {.top_p = 0.8f, .seed = 2},
      {.min_p = 0.05f, .seed = 3},
      {.min_p = 1.0f, .seed = 4},
      {.typical_p = 0.6f, .seed = 5},
      {.typical_p = 0.01f, .seed = 6},
      {.temperature = 1.7f, .top_k = 40, .top_p = 0.9f, .min_p = 0.02f, .typical_p = 0.9f, .seed = 7},
      {.temperature = 0.6f, .top_p = 0.999f, .min_p = 0.001f, .seed = 8},
  };
  for (const SamplingParams& params : all) {
    SCOPED_TRACE("seed " + std::to_string(params.seed));
    ExpectDrawsFollow(RandomLogits(150, params.seed), {.params = params});
  }
}

TEST_P(SamplingRulesTest, TruncationOfALargeVocabularyKeepsTheSameTokens) {
  for (const float width : {0.01f, 1.0f, 8.0f}) {
    const std::vector<float> row = RandomLogits(20011, 77, width);
    for (const SamplingParams& params : std::vector<SamplingParams>{{.top_k = 1500, .seed = 1},
                                                                    {.top_p = 0.9f, .seed = 2},
                                                                    {.top_k = 50, .top_p = 0.5f, .seed = 3},
                                                                    {.min_p = 0.3f, .seed = 4}}) {
      const Distribution want = Want(row, {.params = params});
      for (const int32_t id : Draw(row, {.params = params}, Repetitions(100))) {
        EXPECT_GT(want[id], 0) << "width " << width << ", seed " << params.seed << ", token " << id;
      }
    }
  }
}

TEST_P(SamplingRulesTest, PenaltiesAndBiasChangeTheDistribution) {
  const std::vector<int32_t> history = {3, 5, 5, 9, 20, 9, 9, 9, 21, 3};
  auto rules = std::make_shared<TokenRules>();
  rules->logit_bias = {{.token = 4, .bias = 2.5f}, {.token = 9, .bias = -1}, {.token = 30, .bias = -100}};
  for (const SamplingParams& params :
       std::vector<SamplingParams>{{.repetition_penalty = 1.8f, .seed = 1},
                                   {.repetition_penalty = 0.5f, .seed = 2},
                                   {.frequency_penalty = 0.7f, .seed = 3},
                                   {.frequency_penalty = -0.3f, .presence_penalty = 1.5f, .seed = 4},
                                   {.repetition_penalty = 1.3f,
                                   .frequency_penalty = 0.5f,
                                   .presence_penalty = -1,
                                   .seed = 5,
                                   .rules = rules}}) {
    SCOPED_TRACE("seed " + std::to_string(params.seed));
    for (const int prompt : {0, 4, 10}) {
      ExpectDrawsFollow(RandomLogits(60, 5), {.params = params, .history = history, .num_prompt_tokens = prompt});
    }
  }
}

TEST_P(SamplingRulesTest, PenaltiesOfOneRowLeaveNothingForTheNext) {
  const std::vector<int32_t> history = {1, 1, 1};
  const std::vector<float> row = {0, 1, 0.5f};
  const SampleRequest penalized{.params = {.frequency_penalty = 2}, .history = history};
  const std::vector<int32_t> none;
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(Greedy(row, penalized), 2);
    EXPECT_EQ(Greedy(row, {.params = {.frequency_penalty = 2}, .history = none}), 1);
  }
}

TEST_P(SamplingRulesTest, ABadWordIsNotCompletedAndMayBeBegun) {
  auto rules = std::make_shared<TokenRules>();
  rules->bad_words = {{7, 8, 1}, {3}};
  const std::vector<float> row = {0, 9, 1, 10, 2, 0, 0, 0, 5};
  const std::vector<int32_t> other = {7, 7, 8, 4}, complete = {7, 7, 8}, too_short = {8};
  EXPECT_EQ(Greedy(row, {.params = {.rules = rules}, .history = other}), 1);
  EXPECT_EQ(Greedy(row, {.params = {.rules = rules}, .history = too_short}), 1);
  EXPECT_EQ(Greedy(row, {.params = {.rules = rules}, .history = complete}), 8);
}

TEST_P(SamplingRulesTest, OnlyAllowedTokensAreDrawn) {
  auto rules = std::make_shared<TokenRules>();
  rules->allowed_token_ids = {40, 2, 40, 17};
  for (const int32_t id : Draw(RandomLogits(50, 1), {.params = {.temperature = 50, .rules = rules}}, 200)) {
    EXPECT_TRUE(id == 2 || id == 17 || id == 40) << id;
  }
}

TEST_P(SamplingRulesTest, BannedTokensAreNotDrawn) {
  const std::vector<int32_t> banned = {1, 2};
  EXPECT_EQ(Greedy({0, 9, 8, 7}, {.banned = banned}), 3);
}

TEST_P(SamplingRulesTest, AMaskRulesOutTokensUpToTheLastWord) {
  const std::vector<float> row = RandomLogits(100, 3);
  const std::set<int32_t> allowed = {0, 31, 32, 63, 99};
  const auto mask = std::make_shared<FixedMask>(100, allowed);
  std::set<int32_t> drawn;
  for (const int32_t id : Draw(row, {.params = {.temperature = 50}, .mask = mask}, 300)) drawn.insert(id);
  EXPECT_EQ(drawn, allowed);
  // Shorter than the vocabulary: what lies beyond may not be drawn.
  EXPECT_LT(Greedy({0,  1,  2,  3,  4,  5,  6,  7,  8,  9,  10, 11, 12, 13, 14, 15, 16, 17,
                    18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32, 33, 34},
                   {.mask = std::make_shared<FixedMask>(32, std::set<int32_t>{5, 6})}),
            7);
}

TEST_P(SamplingRulesTest, RulesThatLeaveNoTokenSaySo) {
  auto rules = std::make_shared<TokenRules>();
  rules->allowed_token_ids = {1};
  const std::vector<int32_t> banned = {1};
  EXPECT_EQ(Greedy({0, 1, 2}, {.params = {.rules = rules}, .banned = banned}), kNoTokenAllowed);
  EXPECT_EQ(Greedy({0, 1, 2}, {.mask = std::make_shared<FixedMask>(3, std::set<int32_t>{})}), kNoTokenAllowed);
}

TEST_P(SamplingRulesTest, LogprobsAreOfTheModelsOwnDistribution) {
  const std::vector<float> row = RandomLogits(3000, 9);
  auto rules = std::make_shared<TokenRules>();
  rules->logit_bias = {{.token = 11, .bias = 100}};
  const SampleRequest request{.params = {.temperature = 0.3f, .top_k = 4, .num_logprobs = 5, .rules = rules}};
  const Distribution want = Want(row, {});
  const std::vector<int> order = ByProbability(want);
  EXPECT_EQ(Draw(row, request, 1)[0], 11);
  EXPECT_EQ(logprobs_[0].token, 11);
  EXPECT_NEAR(logprobs_[0].logprob, std::log(want[11]), 1e-5);
  ASSERT_EQ(logprobs_[0].top.size(), 5u);
  for (int i = 0; i < 5; ++i) {
    EXPECT_EQ(logprobs_[0].top[i].token, order[i]);
    EXPECT_NEAR(logprobs_[0].top[i].logprob, std::log(want[order[i]]), 1e-5);
  }
}

TEST_P(SamplingRulesTest, ScoresAreLogprobsOfGivenTokens) {
  const std::vector<float> row = RandomLogits(777, 4), broken(777, NAN);
  std::vector<float> all = row;
  all.insert(all.end(), broken.begin(), broken.end());
  GuardedTensor logits(backend(), {2, 777});
  logits.Write(all);
  const std::vector<ScoreRequest> requests = {{.row = 0, .token = 5, .num_top = 2}, {.row = 1, .token = 0}};
  std::vector<TokenLogprobs> scores(2);
  ops::Score(backend(), logits.view(), requests, scores);
  Finish();
  EXPECT_NEAR(scores[0].logprob, std::log(Want(row, {})[5]), 1e-5);
  EXPECT_EQ(scores[0].top.size(), 2u);
  EXPECT_TRUE(std::isnan(scores[1].logprob));
  EXPECT_TRUE(scores[1].top.empty());
}

TANDEM_ON_EVERY_BACKEND(SamplingRulesTest);

}  // namespace
}  // namespace tandem::optest
