// Experts' products on the emulated device: what the operations' cases do not see.
#include <gtest/gtest.h>

#include <vector>

#include "backend/cuda/cuda_backend.h"
#include "cuda_emulation/emulation.h"
#include "tensor/dtype.h"

namespace tandem::cuda {
namespace {

class CudaExpertsTest : public testing::Test {
 protected:
  void SetUp() override {
    auto backend = CudaBackend::Create({});
    ASSERT_TRUE(backend.ok()) << backend.status();
    backend_ = std::move(*backend);
  }

  TensorView Make(DType dtype, Shape shape) {
    TensorView view = {nullptr, dtype, shape};
    view.data = backend_->Allocate(view.size_bytes());
    return view;
  }

  std::unique_ptr<CudaBackend> backend_;
};

// Tiles for few rows and for many, forward and dX. Zeros will do: what counts is where they lie.
TEST_F(CudaExpertsTest, TilesMeetNoBankTwice) {
  constexpr int kIn = 136, kOut = 200;
  std::vector<std::unique_ptr<Matrix>> w;
  const std::vector<uint16_t> zeros(kIn * kOut);
  w.push_back(backend_->CreateMatrix({const_cast<uint16_t*>(zeros.data()), DType::kBf16, {kOut, kIn}}));
  const int64_t before = cuda_emulation::BankConflicts();
  for (const int rows : {20, 150}) {
    const Routing routing = {Make(DType::kI32, {rows, 1}), Make(DType::kF32, {rows, 1}), Make(DType::kI32, {rows}),
                             Make(DType::kI32, {rows, 1}), Make(DType::kI32, {1})};
    const TensorView x = Make(DType::kBf16, {rows, kIn}), y = Make(DType::kBf16, {rows, kOut});
    backend_->Route(Make(DType::kF32, {rows, 1}), {.top_k = 1}, routing);
    backend_->ExpertLinear(x, w, routing, y);
    backend_->ExpertLinearBackwardInput(y, w, routing, Accumulate::kNo, x);
  }
  ASSERT_TRUE(backend_->Finish().ok());
  EXPECT_EQ(cuda_emulation::BankConflicts(), before);
}

}  // namespace
}  // namespace tandem::cuda
