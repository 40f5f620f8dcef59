#include "ops/embedding.h"

#include "ops/op_test.h"

namespace tandem::optest {
namespace {

class EmbeddingTest : public OpTest {};

TEST_P(EmbeddingTest, MatchesReference) {
  CheckAgainstReference(Op::kEmbedding);
}

TEST_P(EmbeddingTest, GatherRowsMatchesReference) {
  CheckAgainstReference(Op::kGatherRows);
}

TANDEM_ON_EVERY_BACKEND(EmbeddingTest);

TEST(EmbeddingDeathTest, TokenOutsideTheVocabularyIsRefused) {
  const auto backend = CreateCpuBackend(1);
  std::vector<float> values(12);
  const auto table = backend->CreateMatrix(View(values.data(), {3, 4}));
  GuardedTensor x(*backend, {1, 4});
  for (const int32_t id : {-1, 3}) {
    EXPECT_DEATH(ops::Embedding(*backend, {&id, 1}, *table, x.view()), "token (-1|3) of 3");
  }
}

}  // namespace
}  // namespace tandem::optest
