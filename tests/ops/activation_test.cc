#include "ops/activation.h"

#include "ops/op_test.h"

namespace tandem::optest {
namespace {

class ActivationTest : public OpTest {};

TEST_P(ActivationTest, SiluMulMatchesReference) {
  CheckAgainstReference(Op::kSiluMul);
}

TEST_P(ActivationTest, SiluMulBackwardMatchesReference) {
  CheckAgainstReference(Op::kSiluMulBackward);
}

TEST_P(ActivationTest, AddMatchesReference) {
  CheckAgainstReference(Op::kAdd);
}

TEST_P(ActivationTest, SiluMulBackwardMatchesFiniteDifferences) {
  const Case forward{.op = Op::kSiluMul, .m = 3, .k = 21};
  Case backward = forward;
  backward.op = Op::kSiluMulBackward;
  ExpectGradientsOfFiniteDifferences(backend(), {forward, backward, {{"y", "dy"}}, {"gate", "up"}});
}

TEST_P(ActivationTest, SiluMulRowsDoNotDependOnTheirBatch) {
  constexpr int64_t kWidth = 333;  // rows start at every offset within a vector
  GuardedTensor gate(backend(), {130, kWidth}), up(backend(), {130, kWidth});
  gate.Write(RandomFloats(1, 130 * kWidth));
  up.Write(RandomFloats(2, 130 * kWidth));
  ExpectRowsIndependentOfBatch(130, [&](int64_t first, int64_t count) {
    GuardedTensor y(backend(), {count, kWidth});
    ops::SiluMul(backend(), gate.view().Rows(first, count), up.view().Rows(first, count), y.view());
    return y.Read();
  });
  ExpectRowsIndependentOfBatch(130, [&](int64_t first, int64_t count) {
    GuardedTensor dgate(backend(), {count, kWidth}), dup(backend(), {count, kWidth});
    ops::SiluMulBackward(backend(), gate.view().Rows(first, count), up.view().Rows(first, count),
                         up.view().Rows(first, count), dgate.view(), dup.view());
    return dgate.Read();
  });
}

TEST_P(ActivationTest, SiluOfLargeGatesSaturates) {
  GuardedTensor gate(backend(), {1, 4}), up(backend(), {1, 4}), y(backend(), {1, 4});
  gate.Write(std::vector<float>{-1000.0f, -100.0f, 100.0f, 1000.0f});
  up.Write(std::vector<float>(4, 1.0f));
  ops::SiluMul(backend(), gate.view(), up.view(), y.view());
  const std::vector<float> got = y.Read();
  EXPECT_NEAR(got[0], 0.0f, 1e-30f);
  EXPECT_NEAR(got[1], 0.0f, 1e-30f);
  EXPECT_EQ(got[2], 100.0f);
  EXPECT_EQ(got[3], 1000.0f);
}

TANDEM_ON_EVERY_BACKEND(ActivationTest);

TEST(ActivationBits, SameForAnyThreadCount) {
  for (const Op op : {Op::kSiluMul, Op::kSiluMulBackward, Op::kAdd}) ExpectSameBitsForAnyThreadCount(op);
}

}  // namespace
}  // namespace tandem::optest
