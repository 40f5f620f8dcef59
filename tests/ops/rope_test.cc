#include "ops/rope.h"

#include "ops/op_test.h"
#include "ops/reference.h"

namespace tandem::optest {
namespace {

class RopeTest : public OpTest {};

TEST_P(RopeTest, MatchesReference) {
  CheckAgainstReference(Op::kRope);
}

TEST_P(RopeTest, BackwardMatchesReference) {
  CheckAgainstReference(Op::kRopeBackward);
}

TEST_P(RopeTest, BackwardIsTheGradientByFiniteDifferences) {
  const Case forward{.op = Op::kRope, .m = 4, .num_kv_heads = 2, .head_dim = 6, .sequences = {{3, 2}, {0, 2}}};
  Case backward = forward;
  backward.op = Op::kRopeBackward;
  PreparedOp prepared(backward, backend());
  prepared.Run();
  Tensors in = prepared.inputs();
  in["x"] = RandomValues(1, static_cast<int64_t>(in.at("dx").size()));
  ExpectClose(FiniteDifferences(forward, in, "x", {{"x", in.at("dx")}}), prepared.Outputs().at("dx"),
              ToleranceOf(backward, DType::kF32), "dx");
}

TEST_P(RopeTest, RowsOfNoSequenceStayUntouched) {
  GuardedTensor x(backend(), {3, 4}), table(backend(), {8, 4});
  const std::vector<float> before = RandomFloats(1, 12);
  x.Write(before);
  table.Write(RandomFloats(2, 32));
  const SequenceRows rows{.first_row = 1, .num_rows = 1, .first_position = 7, .blocks = {}};
  ops::Rope(backend(), {&rows, 1}, table.view(), x.view());
  const std::vector<float> after = x.Read();
  for (int i = 0; i < 12; ++i) EXPECT_EQ(after[i] != before[i], i / 4 == 1) << i;
}

TANDEM_ON_EVERY_BACKEND(RopeTest);

TEST(RopeBits, SameForAnyThreadCount) {
  ExpectSameBitsForAnyThreadCount(Op::kRope);
  ExpectSameBitsForAnyThreadCount(Op::kRopeBackward);
}

}  // namespace
}  // namespace tandem::optest
