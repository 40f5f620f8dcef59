#include "ops/moe.h"

#include <algorithm>

#include "ops/op_test.h"
#include "tensor/dtype.h"

namespace tandem::optest {
namespace {

class MoeTest : public OpTest {};

struct RoutingTensors {
  RoutingTensors(Backend& backend, int64_t rows, int64_t num_experts, int64_t top_k)
      : experts(backend, {rows, top_k}, DType::kI32),
        weights(backend, {rows, top_k}),
        order(backend, {rows * top_k}, DType::kI32),
        places(backend, {rows, top_k}, DType::kI32),
        ends(backend, {num_experts}, DType::kI32) {}
  Routing view() const { return {experts.view(), weights.view(), order.view(), places.view(), ends.view()}; }
  GuardedTensor experts, weights, order, places, ends;
};

TEST_P(MoeTest, RouteMatchesReference) {
  CheckAgainstReference(Op::kRoute);
}

TEST_P(MoeTest, RouteBackwardMatchesReference) {
  CheckAgainstReference(Op::kRouteBackward);
}

TEST_P(MoeTest, MovingAndWeighingChoicesMatchesReference) {
  for (const Op op : {Op::kGatherChoices, Op::kCombineChoices, Op::kWeighChoicesBackward}) CheckAgainstReference(op);
}

TEST_P(MoeTest, ExpertLinearMatchesReference) {
  CheckAgainstReference(Op::kExpertLinear);
}

TEST_P(MoeTest, ExpertLinearBackwardInputMatchesReference) {
  CheckAgainstReference(Op::kExpertLinearBackwardInput);
}

// Rows of one expert in tiles of any size, next to any others: the same bits.
TEST_P(MoeTest, ExpertLinearRowsDoNotDependOnTheirBatch) {
  for (const DType dtype : {DType::kF32, DType::kBf16}) {
    const DType type = Rows(dtype);
    constexpr int64_t kRows = 70, kIn = 40, kOut = 72, kExperts = 2;
    std::vector<std::unique_ptr<Matrix>> w;
    for (uint64_t i = 0; i < kExperts; ++i) {
      std::vector<float> values = RandomFloats(i + 1, kOut * kIn);
      std::vector<uint16_t> narrow(values.size());
      std::transform(values.begin(), values.end(), narrow.begin(), F32ToBf16);
      void* data = dtype == DType::kBf16 ? static_cast<void*>(narrow.data()) : values.data();
      w.push_back(backend().CreateMatrix({data, dtype, {kOut, kIn}}));
    }
    GuardedTensor x(backend(), {kRows, kIn}, type), logits(backend(), {kRows, kExperts});
    x.Write(RandomFloats(9, kRows * kIn));
    logits.Write(RandomFloats(10, kRows * kExperts));
    ExpectRowsIndependentOfBatch(kRows, [&](int64_t first, int64_t count) {
      RoutingTensors routing(backend(), count, kExperts, 1);
      GuardedTensor in(backend(), {count, kIn}, type), out(backend(), {count, kOut}, type);
      GuardedTensor y(backend(), {count, kOut}, type);
      y.Write(std::vector<float>(count * kOut, 0.0f));
      ops::Route(backend(), logits.view().Rows(first, count), {.top_k = 1}, routing.view());
      ops::GatherChoices(backend(), x.view().Rows(first, count), routing.view(), in.view());
      ops::ExpertLinear(backend(), in.view(), w, routing.view(), out.view());
      ops::CombineChoices(backend(), out.view(), routing.view(), {}, y.view());
      return y.Read();
    });
  }
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
  RoutingTensors routing(backend(), 1, 5, 2);
  ops::Route(backend(), logits.view(), {.top_k = 2}, routing.view());
  EXPECT_EQ(routing.experts.Read(), (std::vector<float>{1, 2}));
  EXPECT_EQ(routing.weights.Read(), (std::vector<float>{0.5f, 0.5f}));
}

TANDEM_ON_EVERY_BACKEND(MoeTest);

TEST(MoeBits, SameForAnyThreadCount) {
  for (const Op op : {Op::kRoute, Op::kRouteBackward, Op::kCombineChoices, Op::kWeighChoicesBackward, Op::kExpertLinear,
                      Op::kExpertLinearBackwardInput}) {
    ExpectSameBitsForAnyThreadCount(op);
  }
}

}  // namespace
}  // namespace tandem::optest
