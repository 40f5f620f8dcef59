#include "ops/linear.h"

#include "ops/op_test.h"
#include "tensor/dtype.h"

namespace tandem::optest {
namespace {

class LinearTest : public OpTest {
 protected:
  std::unique_ptr<Matrix> RandomMatrix(int64_t rows, int64_t columns, DType dtype) {
    std::vector<uint16_t> narrow;
    std::vector<float> values = RandomFloats(3, rows * columns);
    for (const float value : values) narrow.push_back(F32ToBf16(value));
    void* data = dtype == DType::kBf16 ? static_cast<void*>(narrow.data()) : values.data();
    return backend().CreateMatrix({data, dtype, {rows, columns}});
  }
};

using LinearOp = void (*)(Backend&, const TensorView&, const Matrix&, Accumulate, const TensorView&);

// Rows of op(x [512, in] by a matrix), as a function of the batch.
RowsFn ProductRows(Backend& backend, LinearOp op, const Matrix& w, int64_t in, int64_t out) {
  return [&backend, op, &w, in, out](int64_t first, int64_t count) {
    const DType dtype = backend.ActivationDType(w.dtype());
    GuardedTensor x(backend, {512, in}, dtype), y(backend, {count, out}, dtype);
    x.Write(RandomFloats(4, 512 * in));
    op(backend, x.view().Rows(first, count), w, Accumulate::kNo, y.view());
    return y.Read();
  };
}

TEST_P(LinearTest, MatchesReference) {
  CheckAgainstReference(Op::kLinear);
}

TEST_P(LinearTest, BackwardInputMatchesReference) {
  CheckAgainstReference(Op::kLinearBackwardInput);
}

TEST_P(LinearTest, BackwardInputMatchesFiniteDifferences) {
  for (const Accumulate mode : {Accumulate::kNo, Accumulate::kYes}) {
    const Case forward{.op = Op::kLinear, .m = 3, .n = 18, .k = 17};
    Case backward = forward;
    backward.op = Op::kLinearBackwardInput;
    backward.mode = mode;
    ExpectGradientsOfFiniteDifferences(backend(), {forward, backward, {{"y", "dy"}}, {"x"}});
  }
}

TEST_P(LinearTest, RowsDoNotDependOnTheirBatch) {
  for (const DType dtype : {DType::kF32, DType::kBf16}) {
    const auto w = RandomMatrix(90, 600, dtype);
    ExpectRowsIndependentOfBatch(512, ProductRows(backend(), ops::Linear, *w, 600, 90));
  }
}

TEST_P(LinearTest, BackwardInputRowsDoNotDependOnTheirBatch) {
  for (const DType dtype : {DType::kF32, DType::kBf16}) {
    const auto w = RandomMatrix(600, 90, dtype);
    ExpectRowsIndependentOfBatch(512, ProductRows(backend(), ops::LinearBackwardInput, *w, 600, 90));
  }
}

// Adding to y continues the sum that y holds; it does not round a separate one.
TEST_P(LinearTest, AccumulationContinuesTheChain) {
  if (!GetParam().splits_change_no_bit) GTEST_SKIP() << "not promised";
  GuardedTensor x(backend(), {1, 2}), y(backend(), {1, 1});
  x.Write(std::vector<float>{1.0f, 1.0f});
  y.Write(std::vector<float>{0x1p24f});
  std::vector<float> ones = {1.0f, 1.0f};
  const auto w = backend().CreateMatrix(View(ones.data(), {1, 2}));
  ops::Linear(backend(), x.view(), *w, Accumulate::kYes, y.view());
  EXPECT_EQ(y.Read()[0], 0x1p24f);  // each 1 is lost; 2 would not have been
}

// bf16 dot products round activations to the nearest bf16, ties to even; widened products do not round.
TEST_P(LinearTest, Bf16ProductsRoundActivationsToNearestEvenOrNotAtAll) {
  std::vector<uint16_t> one = {F32ToBf16(1.0f)};
  const auto w = backend().CreateMatrix({one.data(), DType::kBf16, {1, 1}});
  const std::vector<float> values = {1 + 0x1p-8f, 1 + 0x3p-8f, 1 + 0x1.8p-8f, -3.0f};
  const DType dtype = Rows(DType::kBf16);
  GuardedTensor x(backend(), {4, 1}, dtype), y(backend(), {4, 1}, dtype);
  x.Write(values);
  ops::Linear(backend(), x.view(), *w, Accumulate::kNo, y.view());
  const std::vector<float> rounded = {1.0f, 1 + 0x4p-8f, 1 + 0x2p-8f, -3.0f};
  const bool rounds = dtype == DType::kBf16 || backend().name().find("+bf16") != std::string::npos;
  EXPECT_EQ(y.Read(), rounds ? rounded : values);
}

// Logits: f32 from rows that are stored in bf16, not rounded on the way.
TEST_P(LinearTest, F32ProductsOfBf16RowsAreNotRounded) {
  const DType dtype = Rows(DType::kBf16);
  const auto w = RandomMatrix(33, 130, DType::kBf16);
  GuardedTensor x(backend(), {5, 130}, dtype), rounded(backend(), {5, 33}, dtype), y(backend(), {5, 33});
  x.Write(RandomFloats(4, 5 * 130));
  ops::Linear(backend(), x.view(), *w, Accumulate::kNo, rounded.view());
  ops::Linear(backend(), x.view(), *w, Accumulate::kNo, y.view());
  EXPECT_TRUE(y.GuardsIntact());
  std::vector<float> want = y.Read();
  if (dtype == DType::kBf16) {
    for (float& value : want) value = Bf16ToF32(F32ToBf16(value));
    EXPECT_NE(y.Read(), want);  // there was something to round
  }
  ExpectSameBits(want, rounded.Read(), "y");
}

TEST_P(LinearTest, UpdatedMatrixGivesTheNewProduct) {
  std::vector<float> values = RandomFloats(5, 18 * 20), updated = RandomFloats(6, 18 * 20);
  const auto matrix = backend().CreateMatrix(View(values.data(), {18, 20}));
  const auto want = backend().CreateMatrix(View(updated.data(), {18, 20}));
  GuardedTensor weight(backend(), {18, 20});
  weight.Write(updated);
  backend().UpdateMatrix(*matrix, weight.view());
  ExpectSameBits(ProductRows(backend(), ops::Linear, *want, 20, 18)(0, 9),
                 ProductRows(backend(), ops::Linear, *matrix, 20, 18)(0, 9), "y");
}

// Exactly where they become f32; where they become bf16, 65504 is 65536.
TEST_P(LinearTest, F16WeightsAreConverted) {
  std::vector<uint16_t> half = {0x3c00, 0xc100, 0x0001, 0x7bff};  // 1, -2.5, 2^-24, 65504
  const auto w = backend().CreateMatrix({half.data(), DType::kF16, {4, 1}});
  const DType dtype = Rows(w->dtype());
  GuardedTensor x(backend(), {1, 1}, dtype), y(backend(), {1, 4}, dtype);
  x.Write(std::vector<float>{1.0f});
  ops::Linear(backend(), x.view(), *w, Accumulate::kNo, y.view());
  EXPECT_EQ(y.Read(), (std::vector<float>{1.0f, -2.5f, 0x1p-24f, dtype == DType::kBf16 ? 65536.0f : 65504.0f}));
}

TANDEM_ON_EVERY_BACKEND(LinearTest);

TEST(LinearBits, SameForAnyThreadCount) {
  ExpectSameBitsForAnyThreadCount(Op::kLinear);
  ExpectSameBitsForAnyThreadCount(Op::kLinearBackwardInput);
}

TEST(LinearDeathTest, WrongShapeNamesTheTensor) {
  const auto backend = CreateCpuBackend(1);
  GuardedTensor x(*backend, {2, 5}), y(*backend, {2, 3});
  std::vector<float> values(12);
  const auto w = backend->CreateMatrix(View(values.data(), {3, 4}));
  EXPECT_DEATH(ops::Linear(*backend, x.view(), *w, Accumulate::kNo, y.view()), "x is \\[2, 5\\], want \\[2, 4\\]");
}

}  // namespace
}  // namespace tandem::optest
