// Parity with transformers on tiny random models: see tests/golden/make.py.
#include <gtest/gtest.h>

#include "model/model_fixture.h"

namespace tandem {
namespace {

// The bar of the project; the goldens' own float32 against float64 is about 1e-6 (manifest.json).
constexpr double kTolerance = 1e-4;

class LogitsTest : public testing::TestWithParam<std::string> {
 protected:
  LogitsTest() : loaded(GetParam()), golden("models/" + GetParam()) {}
  // A bf16 model keeps K and V in bf16, and on CUDA all activations, which the golden (weights widened, f32 throughout)
  // does not.
  double tolerance() const {
    if (loaded.model->activation_dtype() == DType::kBf16) return 6e-2;
    return loaded.model->weight_dtype() == DType::kBf16 ? 3e-2 : kTolerance;
  }
  std::span<const float> Row(std::span<const float> logits, size_t row) const {
    return logits.subspan(row * loaded.desc.vocab, loaded.desc.vocab);
  }
  LoadedModel loaded;
  Golden golden;
};

TEST_P(LogitsTest, ShortPromptEqualsTransformersAtEveryPosition) {
  const std::vector<int32_t> ids = golden.ints("short.ids");
  const std::vector<float> logits = loaded.Logits(ids);
  const std::span<const float> want = golden.floats("short.logits");
  for (size_t row = 0; row < ids.size(); ++row) {
    EXPECT_LT(RelativeError(Row(logits, row), Row(want, row)), tolerance()) << "position " << row;
  }
}

TEST_P(LogitsTest, LongPromptEqualsTransformersWholeAndInChunks) {
  const std::vector<int32_t> ids = golden.ints("long.ids"), positions = golden.ints("long.positions");
  const std::span<const float> want = golden.floats("long.logits");
  for (const std::vector<int>& chunks : std::vector<std::vector<int>>{{}, {64, 64}, {1, 16, 31, 1, 5}}) {
    const std::vector<float> logits = loaded.Logits(ids, chunks);
    for (size_t i = 0; i < positions.size(); ++i) {
      EXPECT_LT(RelativeError(Row(logits, positions[i]), Row(want, i)), tolerance())
          << "position " << positions[i] << ", " << chunks.size() << " chunks";
    }
  }
}

TEST_P(LogitsTest, ChunkingChangesNoBit) {
  const std::vector<int32_t> ids = golden.ints("long.ids");
  const std::vector<float> whole = loaded.Logits(ids);
  const std::vector<float> chunked = loaded.Logits(ids, {1, 2, 3, 17, 40, 1, 1});
  EXPECT_EQ(0, std::memcmp(whole.data(), chunked.data(), whole.size() * sizeof(float)));
}

TEST_P(LogitsTest, NumberOfThreadsChangesNoBit) {
  const LoadedModel single(GetParam(), 1);
  const std::vector<int32_t> ids = golden.ints("long.ids");
  const std::vector<float> one = single.Logits(ids), two = loaded.Logits(ids);
  EXPECT_EQ(0, std::memcmp(one.data(), two.data(), one.size() * sizeof(float)));
}

TEST_P(LogitsTest, SixtyFourGreedyTokensEqualTransformers) {
  std::vector<int32_t> ids = golden.ints("greedy.prompt");
  const std::vector<int32_t> want = golden.ints("greedy.ids");
  const size_t prompt = ids.size();
  int position = 0;
  while (ids.size() < prompt + want.size()) {
    Batch batch;
    const int rows = static_cast<int>(ids.size()) - position;
    loaded.Append(batch, {.sequence = 1, .num_rows = rows, .first_position = position}, ids, 0);
    batch.samples.push_back({.sequence = 1, .row = rows - 1, .params = {.temperature = 0}});
    position += rows;
    ids.push_back(loaded.model->Run(batch).sampled[0]);
  }
  EXPECT_EQ(std::vector<int32_t>(ids.begin() + prompt, ids.end()), want);
}

INSTANTIATE_TEST_SUITE_P(Golden, LogitsTest,
                         testing::Values("gqa_untied", "tied_theta", "mqa_bf16", "llama_linear", "llama_dynamic",
                                         "llama3_rope", "llama_yarn", "llama_longrope", "mistral", "qwen2", "qwen3",
                                         "mixtral", "qwen3_moe", "opt", "opt_350m", "gemma", "gemma2", "gemma3"),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace tandem
