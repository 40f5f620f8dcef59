// Embeddings' hidden states against transformers: see tests/golden/make_embeddings.py.
#include <gtest/gtest.h>

#include <cstring>

#include "model/model_fixture.h"

namespace tandem {
namespace {

constexpr double kTolerance = 1e-4;

class EmbeddingsTest : public testing::TestWithParam<std::string> {
 protected:
  EmbeddingsTest() : loaded(GetParam()), ids(Golden("models/" + GetParam()).ints("long.ids")) {}
  // A bf16 model keeps K and V in bf16, which the golden does not.
  double tolerance() const { return loaded.model->weight_dtype() == DType::kBf16 ? 3e-2 : kTolerance; }

  std::vector<float> Want(const std::string& pooling) const {
    return GoldenJson("embeddings.json")["models"][GetParam()][pooling].get<std::vector<float>>();
  }

  // Sums of the hidden states of rows [first, end), fed in chunks of the given sizes (the rest in one).
  std::vector<double> Sums(int first, const std::vector<int>& chunks) const {
    std::vector<double> sums(loaded.desc.embedding_width);
    const int size = static_cast<int>(ids.size());
    int position = 0;
    for (size_t c = 0; position < size; ++c) {
      const int rows = c < chunks.size() ? std::min(chunks[c], size - position) : size - position;
      Batch batch;
      // Somebody else's row before it: rows of the batch are not positions.
      loaded.Append(batch, {.sequence = 2, .num_rows = 1, .first_position = 0}, ids, 1);
      loaded.Append(batch, {.sequence = 1, .num_rows = rows, .first_position = position}, ids, 0);
      const int begin = std::max(first, position), end = position + rows;
      if (begin < end) {
        batch.pools.push_back(
            {.sequence = 1, .first_row = 1 + begin - position, .num_rows = end - begin, .sum = std::span(sums)});
      }
      loaded.model->Run(batch);
      position = end;
    }
    return sums;
  }

  LoadedModel loaded;
  const std::vector<int32_t> ids;
};

TEST_P(EmbeddingsTest, TheLastTokensEqualsTransformers) {
  const std::vector<double> sums = Sums(static_cast<int>(ids.size()) - 1, {});
  EXPECT_LT(RelativeError(std::vector<float>(sums.begin(), sums.end()), Want("last")), tolerance());
}

TEST_P(EmbeddingsTest, TheMeanEqualsTransformers) {
  std::vector<float> mean;
  for (const double sum : Sums(0, {64, 64})) mean.push_back(static_cast<float>(sum / static_cast<double>(ids.size())));
  EXPECT_LT(RelativeError(mean, Want("mean")), tolerance());
}

TEST_P(EmbeddingsTest, ChunksChangeNoBit) {
  const std::vector<double> whole = Sums(0, {}), chunked = Sums(0, {1, 2, 3, 17, 40, 1, 1});
  EXPECT_EQ(0, std::memcmp(whole.data(), chunked.data(), whole.size() * sizeof(double)));
}

INSTANTIATE_TEST_SUITE_P(Golden, EmbeddingsTest,
                         testing::Values("gqa_untied", "tied_theta", "mqa_bf16", "llama3_rope", "mistral", "qwen2",
                                         "qwen3", "mixtral", "qwen3_moe", "opt", "opt_350m", "gemma", "gemma2",
                                         "gemma3"),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace tandem
