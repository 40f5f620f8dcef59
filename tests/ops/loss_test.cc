#include "ops/loss.h"

#include <cmath>

#include "ops/op_test.h"

namespace tandem::optest {
namespace {

constexpr int64_t kVocab = 130, kHidden = 33;

class LossTest : public OpTest {
 protected:
  std::unique_ptr<Matrix> Head() {
    std::vector<float> values = RandomFloats(3, kVocab * kHidden);
    return backend().CreateMatrix(View(values.data(), {kVocab, kHidden}));
  }
};

TEST_P(LossTest, MatchesReference) {
  CheckAgainstReference(Op::kLinearCrossEntropy);
}

TEST_P(LossTest, GradientMatchesFiniteDifferences) {
  for (const float soft_cap : {0.0f, 2.0f}) {
    const Case c{.op = Op::kLinearCrossEntropy, .m = 4, .n = 19, .k = 9, .soft_cap = soft_cap};
    ExpectGradientsOfFiniteDifferences(backend(), {c, c, {{"losses", ""}}, {"x"}});
  }
}

TEST_P(LossTest, RowsDoNotDependOnTheirBatch) {
  const auto head = Head();
  GuardedTensor x(backend(), {130, kHidden});
  x.Write(RandomFloats(1, 130 * kHidden));
  std::vector<int32_t> labels;
  for (int i = 0; i < 130; ++i) labels.push_back(i % 5 == 4 ? kIgnoredLabel : i * 31 % kVocab);
  std::vector<double> whole(130);
  ops::LinearCrossEntropy(backend(), x.view(), {*head}, labels, whole, {});
  Finish();
  ExpectRowsIndependentOfBatch(130, [&](int64_t first, int64_t count) {
    GuardedTensor dx(backend(), {count, kHidden});
    std::vector<double> losses(count);
    ops::LinearCrossEntropy(backend(), x.view().Rows(first, count), {*head}, std::span(labels).subspan(first, count),
                            losses, dx.view());
    Finish();
    EXPECT_EQ(losses, std::vector<double>(whole.begin() + first, whole.begin() + first + count));
    return dx.Read();
  });
}

TEST_P(LossTest, IgnoredRowsHaveNoLossAndNoGradientEvenWhenTheyAreNotFinite) {
  const auto head = Head();
  GuardedTensor x(backend(), {3, kHidden}), dx(backend(), {3, kHidden});
  std::vector<float> values = RandomFloats(1, 3 * kHidden);
  values[kHidden + 2] = NAN;
  x.Write(values);
  const std::vector<int32_t> labels = {7, kIgnoredLabel, 9};
  std::vector<double> losses(3, -1);
  ops::LinearCrossEntropy(backend(), x.view(), {*head}, labels, losses, dx.view());
  Finish();
  EXPECT_GT(losses[0], 0);
  EXPECT_EQ(losses[1], 0);
  EXPECT_GT(losses[2], 0);
  const std::vector<float> got = dx.Read();
  for (int64_t i = 0; i < 3 * kHidden; ++i) {
    ASSERT_EQ(got[i] == 0.0f, i / kHidden == 1) << "dx[" << i << "] is " << got[i];
  }
}

TEST_P(LossTest, NotFiniteRowGivesNotFiniteLoss) {
  const auto head = Head();
  GuardedTensor x(backend(), {1, kHidden});
  std::vector<float> values = RandomFloats(1, kHidden);
  values[5] = NAN;
  x.Write(values);
  const int32_t label = 3;
  double loss = 0;
  ops::LinearCrossEntropy(backend(), x.view(), {*head}, {&label, 1}, {&loss, 1}, {});
  Finish();
  EXPECT_TRUE(std::isnan(loss)) << loss;
}

// exp of such logits overflows unless their maximum is taken off first.
TEST_P(LossTest, LargeLogitsDoNotOverflow) {
  std::vector<float> values = {1.0f, 0.0f};
  const auto head = backend().CreateMatrix(View(values.data(), {2, 1}));
  GuardedTensor x(backend(), {2, 1}), dx(backend(), {2, 1});
  x.Write(std::vector<float>{1000.0f, 1000.0f});
  const std::vector<int32_t> labels = {0, 1};
  std::vector<double> losses(2, -1);
  ops::LinearCrossEntropy(backend(), x.view(), {*head}, labels, losses, dx.view());
  Finish();
  EXPECT_EQ(losses, (std::vector<double>{0.0, 1000.0}));
  EXPECT_EQ(dx.Read(), (std::vector<float>{0.0f, 1.0f}));
}

TANDEM_ON_EVERY_BACKEND(LossTest);

TEST(LossBits, SameForAnyThreadCount) {
  ExpectSameBitsForAnyThreadCount(Op::kLinearCrossEntropy);
}

}  // namespace
}  // namespace tandem::optest
