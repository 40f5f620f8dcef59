#include "ops/activation.h"

#include "ops/op_test.h"

namespace tandem::optest {
namespace {

class ActivationTest : public OpTest {};

TEST_P(ActivationTest, ActivateMatchesReference) {
  CheckAgainstReference(Op::kActivate);
}

TEST_P(ActivationTest, ActivateBackwardMatchesReference) {
  CheckAgainstReference(Op::kActivateBackward);
}

TEST_P(ActivationTest, ActivateMulMatchesReference) {
  CheckAgainstReference(Op::kActivateMul);
}

TEST_P(ActivationTest, ActivateMulBackwardMatchesReference) {
  CheckAgainstReference(Op::kActivateMulBackward);
}

TEST_P(ActivationTest, SumsAndScalingsMatchReference) {
  for (const Op op : {Op::kAdd, Op::kAddBias, Op::kScale, Op::kSoftCap}) CheckAgainstReference(op);
}

TEST_P(ActivationTest, BackwardMatchesFiniteDifferences) {
  for (const Activation activation : {Activation::kSilu, Activation::kGeluTanh, Activation::kGelu, Activation::kRelu}) {
    Case forward{.op = Op::kActivateMul, .m = 3, .k = 21, .activation = activation};
    Case backward = forward;
    backward.op = Op::kActivateMulBackward;
    ExpectGradientsOfFiniteDifferences(backend(), {forward, backward, {{"y", "dy"}}, {"gate", "up"}});
    forward.op = Op::kActivate;
    backward.op = Op::kActivateBackward;
    ExpectGradientsOfFiniteDifferences(backend(), {forward, backward, {{"y", "dy"}}, {"x"}});
  }
}

TEST_P(ActivationTest, RowsDoNotDependOnTheirBatch) {
  constexpr int64_t kWidth = 333;  // rows start at every offset within a vector
  GuardedTensor gate(backend(), {130, kWidth}), up(backend(), {130, kWidth});
  gate.Write(RandomFloats(1, 130 * kWidth));
  up.Write(RandomFloats(2, 130 * kWidth));
  ExpectRowsIndependentOfBatch(130, [&](int64_t first, int64_t count) {
    GuardedTensor y(backend(), {count, kWidth});
    ops::ActivateMul(backend(), Activation::kSilu, gate.view().Rows(first, count), up.view().Rows(first, count),
                     y.view());
    return y.Read();
  });
  ExpectRowsIndependentOfBatch(130, [&](int64_t first, int64_t count) {
    GuardedTensor dgate(backend(), {count, kWidth}), dup(backend(), {count, kWidth});
    ops::ActivateMulBackward(backend(), Activation::kGeluTanh, gate.view().Rows(first, count),
                             up.view().Rows(first, count), up.view().Rows(first, count), {dgate.view(), dup.view()});
    return dgate.Read();
  });
}

TEST_P(ActivationTest, SiluOfLargeGatesSaturates) {
  GuardedTensor gate(backend(), {1, 4}), up(backend(), {1, 4}), y(backend(), {1, 4});
  gate.Write(std::vector<float>{-1000.0f, -100.0f, 100.0f, 1000.0f});
  up.Write(std::vector<float>(4, 1.0f));
  ops::ActivateMul(backend(), Activation::kSilu, gate.view(), up.view(), y.view());
  const std::vector<float> got = y.Read();
  EXPECT_NEAR(got[0], 0.0f, 1e-30f);
  EXPECT_NEAR(got[1], 0.0f, 1e-30f);
  EXPECT_EQ(got[2], 100.0f);
  EXPECT_EQ(got[3], 1000.0f);
}

TANDEM_ON_EVERY_BACKEND(ActivationTest);

TEST(ActivationBits, SameForAnyThreadCount) {
  for (const Op op : {Op::kActivate, Op::kActivateMul, Op::kActivateMulBackward, Op::kAdd, Op::kAddBias, Op::kSoftCap})
    ExpectSameBitsForAnyThreadCount(op);
}

}  // namespace
}  // namespace tandem::optest
