#include "ops/norm.h"

#include "ops/op_test.h"

namespace tandem::optest {
namespace {

class NormTest : public OpTest {};

TEST_P(NormTest, MatchesReference) {
  CheckAgainstReference(Op::kRmsNorm);
}

TEST_P(NormTest, BackwardMatchesReference) {
  CheckAgainstReference(Op::kRmsNormBackward);
}

TEST_P(NormTest, LayerNormMatchesReference) {
  CheckAgainstReference(Op::kLayerNorm);
}

TEST_P(NormTest, LayerNormBackwardMatchesReference) {
  CheckAgainstReference(Op::kLayerNormBackward);
}

TEST_P(NormTest, BackwardMatchesFiniteDifferences) {
  for (const Accumulate mode : {Accumulate::kNo, Accumulate::kYes}) {
    const Case forward{.op = Op::kRmsNorm, .m = 3, .k = 37};
    Case backward = forward;
    backward.op = Op::kRmsNormBackward;
    backward.mode = mode;
    ExpectGradientsOfFiniteDifferences(backend(), {forward, backward, {{"y", "dy"}}, {"x"}});
  }
}

TEST_P(NormTest, RowsDoNotDependOnTheirBatch) {
  constexpr int64_t kWidth = 601;
  GuardedTensor x(backend(), {130, kWidth}), dy(backend(), {130, kWidth}), weight(backend(), {kWidth});
  x.Write(RandomFloats(1, 130 * kWidth));
  dy.Write(RandomFloats(2, 130 * kWidth));
  weight.Write(RandomFloats(3, kWidth));
  ExpectRowsIndependentOfBatch(130, [&](int64_t first, int64_t count) {
    GuardedTensor y(backend(), {count, kWidth});
    ops::RmsNorm(backend(), x.view().Rows(first, count), weight.view(), kNormEpsilon, Accumulate::kNo, y.view());
    return y.Read();
  });
  ExpectRowsIndependentOfBatch(130, [&](int64_t first, int64_t count) {
    GuardedTensor dx(backend(), {count, kWidth});
    ops::RmsNormBackward(backend(), x.view().Rows(first, count), weight.view(), kNormEpsilon,
                         dy.view().Rows(first, count), Accumulate::kNo, dx.view());
    return dx.Read();
  });
}

TEST_P(NormTest, ZeroRowGivesZeros) {
  GuardedTensor x(backend(), {1, 20}), weight(backend(), {20}), y(backend(), {1, 20});
  x.Write(std::vector<float>(20, 0.0f));
  weight.Write(RandomFloats(3, 20));
  ops::RmsNorm(backend(), x.view(), weight.view(), kNormEpsilon, Accumulate::kNo, y.view());
  for (const float value : y.Read()) EXPECT_EQ(value, 0.0f);
}

TANDEM_ON_EVERY_BACKEND(NormTest);

TEST(NormBits, SameForAnyThreadCount) {
  ExpectSameBitsForAnyThreadCount(Op::kRmsNorm);
  ExpectSameBitsForAnyThreadCount(Op::kRmsNormBackward);
  ExpectSameBitsForAnyThreadCount(Op::kLayerNorm);
  ExpectSameBitsForAnyThreadCount(Op::kLayerNormBackward);
}

}  // namespace
}  // namespace tandem::optest
