#include "ops/lora.h"

#include "ops/op_test.h"

namespace tandem::optest {
namespace {

constexpr int kIn = 77, kOut = 90, kRank = 9;

class LoraTest : public OpTest {
 protected:
  LoraSegment Adapter(uint64_t seed, int rank = kRank) {
    std::vector<float> a = RandomFloats(seed, rank * kIn), b = RandomFloats(seed + 1, kOut * rank);
    matrices_.push_back(backend().CreateMatrix(View(a.data(), {rank, kIn})));
    matrices_.push_back(backend().CreateMatrix(View(b.data(), {kOut, rank})));
    return {.a = matrices_[matrices_.size() - 2].get(), .b = matrices_.back().get(), .scale = 0.5f};
  }
  static LoraSegment On(LoraSegment segment, int first_row, int num_rows) {
    segment.first_row = first_row;
    segment.num_rows = num_rows;
    return segment;
  }

 private:
  std::vector<std::unique_ptr<Matrix>> matrices_;
};

TEST_P(LoraTest, MatchesReference) {
  CheckAgainstReference(Op::kLora);
}

TEST_P(LoraTest, BackwardMatchesReference) {
  CheckAgainstReference(Op::kLoraBackward);
}

TEST_P(LoraTest, BackwardMatchesFiniteDifferences) {
  for (const int64_t rank : {1, 5, 16}) {
    const Case forward{.op = Op::kLora, .m = 4, .n = 18, .k = 17, .rank = rank};
    Case backward = forward;
    backward.op = Op::kLoraBackward;
    ExpectGradientsOfFiniteDifferences(backend(), {forward, backward, {{"y", "dy"}}, {"x", "a", "b"}});
  }
}

TEST_P(LoraTest, BackwardThroughAnActivationMatchesFiniteDifferences) {
  for (const Activation activation : {Activation::kSilu, Activation::kGeluTanh, Activation::kGelu}) {
    Case forward{.op = Op::kLora, .m = 4, .n = 16, .k = 16, .rank = 5, .activation = activation};
    forward.bottleneck = true;
    Case backward = forward;
    backward.op = Op::kLoraBackward;
    ExpectGradientsOfFiniteDifferences(backend(), {forward, backward, {{"y", "dy"}}, {"x", "a", "b"}});
  }
}

TEST_P(LoraTest, MayReadWhatItAddsTo) {
  constexpr int kRows = 9;
  std::vector<float> a = RandomFloats(1, kRank * kIn), b = RandomFloats(2, kIn * kRank);
  const auto down = backend().CreateMatrix(View(a.data(), {kRank, kIn}));
  const auto up = backend().CreateMatrix(View(b.data(), {kIn, kRank}));
  const LoraSegment segment{0, kRows, down.get(), up.get(), 1.0f, Activation::kGelu};
  GuardedTensor x(backend(), {kRows, kIn}), y(backend(), {kRows, kIn}), both(backend(), {kRows, kIn});
  for (GuardedTensor* tensor : {&x, &y, &both}) tensor->Write(RandomFloats(4, kRows * kIn));
  ops::Lora(backend(), x.view(), {&segment, 1}, y.view());
  ops::Lora(backend(), both.view(), {&segment, 1}, both.view());
  ExpectSameBits(y.Read(), both.Read(), "y");
}

TEST_P(LoraTest, RowsDoNotDependOnTheirBatch) {
  const LoraSegment adapter = Adapter(10);
  ExpectRowsIndependentOfBatch(130, [&](int64_t first, int64_t count) {
    GuardedTensor x(backend(), {130, kIn}), y(backend(), {130, kOut});
    x.Write(RandomFloats(4, 130 * kIn));
    y.Write(RandomFloats(5, 130 * kOut));
    const LoraSegment segment = On(adapter, static_cast<int>(first), static_cast<int>(count));
    ops::Lora(backend(), x.view(), {&segment, 1}, y.view());
    const std::vector<float> all = y.Read();
    return std::vector<float>(all.begin() + first * kOut, all.begin() + (first + count) * kOut);
  });
}

TEST_P(LoraTest, EachSegmentUsesItsOwnAdapterAndTheOthersRowsStayUntouched) {
  GuardedTensor x(backend(), {10, kIn}), y(backend(), {10, kOut}), one(backend(), {10, kOut});
  const std::vector<float> before = RandomFloats(5, 10 * kOut);
  x.Write(RandomFloats(4, 10 * kIn));
  const std::vector<LoraSegment> segments = {On(Adapter(10), 0, 3), On(Adapter(20, 4), 5, 1),
                                             On(Adapter(30, 17), 6, 4)};
  y.Write(before);
  ops::Lora(backend(), x.view(), segments, y.view());

  one.Write(before);  // rows 3 and 4 have no adapter
  for (const LoraSegment& segment : segments) ops::Lora(backend(), x.view(), {&segment, 1}, one.view());
  ExpectSameBits(one.Read(), y.Read(), "y");
  const std::vector<float> after = y.Read();
  for (int i = 0; i < 10 * kOut; ++i) {
    const bool has_adapter = i / kOut < 3 || i / kOut >= 5;
    ASSERT_EQ(after[i] != before[i], has_adapter) << "row " << i / kOut;
  }
}

TEST_P(LoraTest, NoSegmentsLeaveTheOutputAsItWas) {
  GuardedTensor x(backend(), {2, kIn}), y(backend(), {2, kOut});
  x.Write(RandomFloats(4, 2 * kIn));
  y.Write(RandomFloats(5, 2 * kOut));
  ops::Lora(backend(), x.view(), {}, y.view());
  ExpectSameBits(RandomFloats(5, 2 * kOut), y.Read(), "y");
}

struct Gradients {
  std::vector<float> da, db, dx;
};

// Backward of 131 rows in the parts between boundaries, last part first.
Gradients BackwardInParts(Backend& backend, LoraSegment segment, const std::vector<int>& boundaries) {
  const int rows = boundaries.back();
  GuardedTensor x(backend, {rows, kIn}), dy(backend, {rows, kOut}), dx(backend, {rows, kIn});
  GuardedTensor da(backend, {kRank, kIn}), db(backend, {kOut, kRank});
  x.Write(RandomFloats(4, rows * kIn));
  dy.Write(RandomFloats(5, rows * kOut));
  dx.Write(RandomFloats(6, rows * kIn));
  da.Write(RandomFloats(7, kRank * kIn));
  db.Write(RandomFloats(8, kOut * kRank));
  for (size_t i = boundaries.size() - 1; i > 0; --i) {
    const int first = boundaries[i - 1], count = boundaries[i] - first;
    segment.num_rows = count;
    ops::LoraBackward(backend, x.view().Rows(first, count), dy.view().Rows(first, count), segment,
                      {.da = da.view(), .db = db.view()}, dx.view().Rows(first, count));
  }
  EXPECT_TRUE(da.GuardsIntact() && db.GuardsIntact() && dx.GuardsIntact());
  return {da.Read(), db.Read(), dx.Read()};
}

TEST_P(LoraTest, BackwardInPartsFromTheLastIsTheWholeBackward) {
  const LoraSegment adapter = Adapter(10);
  const Gradients whole = BackwardInParts(backend(), adapter, {0, 131});
  for (const std::vector<int>& split : RandomSplits(131, Repetitions(20))) {
    const Gradients parts = BackwardInParts(backend(), adapter, split);
    ExpectSame(whole.da, parts.da, "da");
    ExpectSame(whole.db, parts.db, "db");
    ExpectSame(whole.dx, parts.dx, "dx");
  }
}

TANDEM_ON_EVERY_BACKEND(LoraTest);

TEST(LoraBits, SameForAnyThreadCount) {
  ExpectSameBitsForAnyThreadCount(Op::kLora);
  ExpectSameBitsForAnyThreadCount(Op::kLoraBackward);
}

}  // namespace
}  // namespace tandem::optest
