// Sampling against transformers: what is left of fixed rows of logits, and with which probabilities
// (tests/golden/make_sampling.py). The draws are all there is to see of a backend's sampler: nothing that transformers
// left out is ever drawn, what it kept is, as often as it should be.
#include <cmath>

#include "golden/golden.h"
#include "ops/op_test.h"
#include "ops/sampling.h"

namespace tandem::optest {
namespace {

constexpr int kBatch = 600, kBatches = 40;
// A token that is expected so often and never drawn was left out: by chance it happens once in 10^10 cases.
constexpr double kSurely = 25;

struct Case {
  std::string name;
  SampleRequest request;
  std::vector<float> logits;
  std::vector<double> probabilities;  // [vocab]; 0: left out
  std::vector<int32_t> history, banned;
};

class SamplingGoldenTest : public OpTest {
 protected:
  // As the front end would fill a request from these fields of a GenerationConfig.
  static void Fill(const Json& options, const Json& golden, Case& c) {
    SamplingParams& params = c.request.params;
    params.temperature = options.value("temperature", 1.0f);
    params.top_k = options.value("top_k", 0);
    params.top_p = options.value("top_p", 1.0f);
    params.min_p = options.value("min_p", 0.0f);
    params.typical_p = options.value("typical_p", 1.0f);
    params.repetition_penalty = options.value("repetition_penalty", 1.0f);
    auto rules = std::make_shared<TokenRules>();
    if (options.contains("bad_words_ids")) {
      rules->bad_words = options["bad_words_ids"].get<std::vector<std::vector<int32_t>>>();
    }
    for (const Json& bias : options.value("sequence_bias", Json::array())) {
      rules->logit_bias.push_back({.token = bias[0][0].get<int32_t>(), .bias = bias[1].get<float>()});
    }
    params.rules = rules;
    if (golden["completion"].size() < options.value("min_new_tokens", size_t{0})) {
      c.banned = options["eos_token_id"].get<std::vector<int32_t>>();
    }
  }

  static std::vector<Case> Cases() {
    const Json golden = GoldenJson("sampling.json");
    std::vector<Case> cases;
    for (const Json& entry : golden["cases"]) {
      Case& c = cases.emplace_back();
      c.name = entry["name"].get<std::string>();
      c.logits = entry["logits"].get<std::vector<float>>();
      c.probabilities.resize(golden["vocab"].get<size_t>());
      for (size_t i = 0; i < entry["kept"].size(); ++i) {
        c.probabilities[entry["kept"][i].get<size_t>()] = entry["probabilities"][i].get<double>();
      }
      c.history = golden["prompt"].get<std::vector<int32_t>>();
      c.request.num_prompt_tokens = static_cast<int>(c.history.size());
      for (const Json& token : golden["completion"]) c.history.push_back(token.get<int32_t>());
      Fill(entry["options"], golden, c);
    }
    return cases;
  }

  int draws() const { return kBatch * Repetitions(kBatches); }

  std::vector<int> CountDraws(const Case& c) {
    std::vector<int> counts(c.logits.size());
    std::vector<float> rows;
    for (int i = 0; i < kBatch; ++i) rows.insert(rows.end(), c.logits.begin(), c.logits.end());
    std::vector<SampleRequest> requests(kBatch, c.request);
    for (SampleRequest& request : requests) {
      request.history = c.history;
      request.banned = c.banned;
      request.params.seed = 12;
    }
    for (int first = 0; first < draws(); first += kBatch) {
      for (int i = 0; i < kBatch; ++i) requests[i].index = first + i;
      GuardedTensor logits(backend(), {kBatch, static_cast<int64_t>(c.logits.size())});
      logits.Write(rows);
      std::vector<int32_t> ids(kBatch, -77);
      ops::Sample(backend(), logits.view(), requests, ids, {});
      Finish();
      for (const int32_t id : ids) ++counts.at(id);
    }
    return counts;
  }
};

TEST_P(SamplingGoldenTest, TheSameTokensAreLeftWithTheSameProbabilities) {
  for (const Case& c : Cases()) {
    SCOPED_TRACE(c.name);
    const std::vector<int> counts = CountDraws(c);
    double chi_square = 0, rest_want = 0, rest_count = 0;
    int cells = 0;
    for (size_t id = 0; id < counts.size(); ++id) {
      const double expected = c.probabilities[id] * draws();
      if (c.probabilities[id] == 0) {
        EXPECT_EQ(counts[id], 0) << "transformers leaves token " << id << " out";
      } else if (expected < kSurely) {
        rest_want += expected;
        rest_count += counts[id];
      } else {
        EXPECT_GT(counts[id], 0) << "transformers keeps token " << id;
        chi_square += std::pow(counts[id] - expected, 2) / expected;
        ++cells;
      }
    }
    if (rest_want > 1) chi_square += std::pow(rest_count - rest_want, 2) / rest_want;
    const double freedom = std::max(1, cells);
    EXPECT_LT(chi_square, freedom + 5 * std::sqrt(2 * freedom));
  }
}

TANDEM_ON_EVERY_BACKEND(SamplingGoldenTest);

}  // namespace
}  // namespace tandem::optest
