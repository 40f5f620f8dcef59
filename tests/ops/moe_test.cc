#include "ops/moe.h"

#include "ops/op_test.h"

namespace tandem::optest {
namespace {

class MoeTest : public OpTest {};

TEST_P(MoeTest, RouteMatchesReference) {
  CheckAgainstReference(Op::kRoute);
}

TEST_P(MoeTest, RouteBackwardMatchesReference) {
  CheckAgainstReference(Op::kRouteBackward);
}

TEST_P(MoeTest, RowOperationsMatchReference) {
  for (const Op op : {Op::kGatherRows, Op::kScatterAddRows, Op::kScaleRows, Op::kRowDots}) CheckAgainstReference(op);
}

TEST_P(MoeTest, RouteBackwardMatchesFiniteDifferences) {
  for (const bool normalize : {true, false}) {
    const Case forward{.op = Op::kRoute, .m = 4, .n = 7, .top_k = 3, .normalize = normalize};
    Case backward = forward;
    backward.op = Op::kRouteBackward;
    ExpectGradientsOfFiniteDifferences(backend(), {forward, backward, {{"weights", "dweights"}}, {"logits"}});
  }
}

TEST_P(MoeTest, OfEqualLogitsTheLowerExpertIsChosen) {
  GuardedTensor logits(backend(), {1, 5});
  logits.Write(std::vector<float>{0, 1, 1, 1, 0});
  std::vector<int32_t> experts(2);
  std::vector<float> weights(2);
  ops::Route(backend(), logits.view(), {.top_k = 2}, experts, weights);
  EXPECT_EQ(experts, (std::vector<int32_t>{1, 2}));
  EXPECT_EQ(weights, (std::vector<float>{0.5f, 0.5f}));
}

TANDEM_ON_EVERY_BACKEND(MoeTest);

TEST(MoeBits, SameForAnyThreadCount) {
  for (const Op op : {Op::kRoute, Op::kRouteBackward, Op::kScatterAddRows, Op::kRowDots}) {
    ExpectSameBitsForAnyThreadCount(op);
  }
}

}  // namespace
}  // namespace tandem::optest
