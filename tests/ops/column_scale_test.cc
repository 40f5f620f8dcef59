#include "ops/column_scale.h"

#include "ops/op_test.h"

namespace tandem::optest {
namespace {

constexpr int kColumns = 77;

class ColumnScaleTest : public OpTest {
 protected:
  TensorView Vector(uint64_t seed) {
    const std::vector<float> values = RandomFloats(seed, kColumns);
    vectors_.push_back(std::make_unique<GuardedTensor>(backend(), Shape{kColumns}));
    vectors_.back()->Write(values);
    return vectors_.back()->view();
  }
  ScaleSegment Segment(int first_row, int num_rows, uint64_t seed) {
    return {first_row, num_rows, Vector(seed), Vector(seed + 1), Vector(seed + 2)};
  }

 private:
  std::vector<std::unique_ptr<GuardedTensor>> vectors_;
};

TEST_P(ColumnScaleTest, MatchesReference) {
  CheckAgainstReference(Op::kScaleColumns);
}

TEST_P(ColumnScaleTest, BackwardMatchesReference) {
  CheckAgainstReference(Op::kScaleColumnsBackward);
}

TEST_P(ColumnScaleTest, RowSquaresMatchReference) {
  CheckAgainstReference(Op::kRowSquares);
}

TEST_P(ColumnScaleTest, InverseRowNormsMatchReference) {
  CheckAgainstReference(Op::kInverseRowNorms);
}

// Checkpoints have such rows; peft divides zero by zero there.
TEST_P(ColumnScaleTest, ARowOfZerosHasNoInverse) {
  GuardedTensor squares(backend(), {2}), b(backend(), {2, 1}), projected(backend(), {1, 2}), gram(backend(), {1, 1});
  GuardedTensor inverse(backend(), {2});
  squares.Write(std::vector<float>{0, 4});
  b.Write(std::vector<float>{0, 0});
  projected.Write(std::vector<float>{0, 1});
  gram.Write(std::vector<float>{3});
  ops::InverseRowNorms(backend(), {squares.view(), b.view(), projected.view(), gram.view(), 0.5f}, inverse.view());
  ExpectSameBits({0, 0.5f}, inverse.Read(), "inverse");
}

TEST_P(ColumnScaleTest, RowsDoNotDependOnTheirBatch) {
  const ScaleSegment segment = Segment(0, 130, 10);
  ExpectRowsIndependentOfBatch(130, [&](int64_t first, int64_t count) {
    GuardedTensor y(backend(), {130, kColumns});
    y.Write(RandomFloats(5, 130 * kColumns));
    ScaleSegment part = segment;
    part.first_row = static_cast<int>(first);
    part.num_rows = static_cast<int>(count);
    ops::ScaleColumns(backend(), {&part, 1}, y.view());
    const std::vector<float> all = y.Read();
    return std::vector<float>(all.begin() + first * kColumns, all.begin() + (first + count) * kColumns);
  });
}

TEST_P(ColumnScaleTest, EachSegmentHasItsOwnScalesAndTheOthersRowsStayUntouched) {
  const std::vector<float> before = RandomFloats(5, 10 * kColumns);
  const std::vector<ScaleSegment> segments = {Segment(0, 3, 10), Segment(5, 1, 20), Segment(6, 4, 30)};
  GuardedTensor y(backend(), {10, kColumns}), one(backend(), {10, kColumns});
  y.Write(before);
  ops::ScaleColumns(backend(), segments, y.view());
  one.Write(before);  // rows 3 and 4 have no adapter
  for (const ScaleSegment& segment : segments) ops::ScaleColumns(backend(), {&segment, 1}, one.view());
  ExpectSameBits(one.Read(), y.Read(), "y");
  const std::vector<float> after = y.Read();
  for (int i = 0; i < 10 * kColumns; ++i) {
    const bool has_adapter = i / kColumns < 3 || i / kColumns >= 5;
    ASSERT_EQ(after[i] != before[i], has_adapter) << "row " << i / kColumns;
  }
}

struct Gradients {
  std::vector<float> dfactor, dx;
};

// Backward of 131 rows in the parts between boundaries, last part first, dx in the place of dy.
Gradients BackwardInParts(Backend& backend, ScaleSegment segment, const std::vector<int>& boundaries) {
  const int rows = boundaries.back();
  GuardedTensor x(backend, {rows, kColumns}), dy(backend, {rows, kColumns}), dfactor(backend, {kColumns});
  x.Write(RandomFloats(4, rows * kColumns));
  dy.Write(RandomFloats(5, rows * kColumns));
  dfactor.Write(RandomFloats(6, kColumns));
  for (size_t i = boundaries.size() - 1; i > 0; --i) {
    const int first = boundaries[i - 1], count = boundaries[i] - first;
    segment.num_rows = count;
    const TensorView part = dy.view().Rows(first, count);
    ops::ScaleColumnsBackward(backend, x.view().Rows(first, count), part, segment, dfactor.view(), part);
  }
  EXPECT_TRUE(dfactor.GuardsIntact() && dy.GuardsIntact());
  return {dfactor.Read(), dy.Read()};
}

TEST_P(ColumnScaleTest, BackwardInPartsFromTheLastIsTheWholeBackward) {
  const ScaleSegment segment = Segment(0, 0, 10);
  const Gradients whole = BackwardInParts(backend(), segment, {0, 131});
  for (const std::vector<int>& split : RandomSplits(131, Repetitions(20))) {
    const Gradients parts = BackwardInParts(backend(), segment, split);
    ExpectSameBits(whole.dfactor, parts.dfactor, "dfactor");  // one chain a column on every backend
    ExpectSameBits(whole.dx, parts.dx, "dx");
  }
}

TEST_P(ColumnScaleTest, BackwardMatchesFiniteDifferences) {
  for (const int64_t k : {16, 17}) {
    const Case forward{.op = Op::kScaleColumns, .m = 4, .k = k};
    Case backward = forward;
    backward.op = Op::kScaleColumnsBackward;
    ExpectGradientsOfFiniteDifferences(backend(), {forward, backward, {{"y", "dy"}}, {"factor"}});
  }
}

TANDEM_ON_EVERY_BACKEND(ColumnScaleTest);

TEST(ColumnScaleBits, SameForAnyThreadCount) {
  for (const Op op : {Op::kScaleColumns, Op::kScaleColumnsBackward, Op::kRowSquares, Op::kInverseRowNorms}) {
    ExpectSameBitsForAnyThreadCount(op);
  }
}

}  // namespace
}  // namespace tandem::optest
