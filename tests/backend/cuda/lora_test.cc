// LoRA by tensor cores, several adapters of different rank in one call. All values are small integers, which bf16
// holds, so every sum is exact and the results are compared bit for bit.
#include <gtest/gtest.h>

#include <vector>

#include "backend/cuda/cuda_backend.h"
#include "lora/plan.h"
#include "tensor/dtype.h"

namespace tandem::cuda {
namespace {

std::vector<float> Integers(int64_t count, int seed, int zeros) {  // -1, 0, 1; of zeros + 3 one is not 0 or so
  std::vector<float> values(count);
  uint32_t state = static_cast<uint32_t>(seed) * 2654435761u + 1;
  for (float& value : values) {
    state = state * 1664525u + 1013904223u;
    const int drawn = static_cast<int>(state >> 16) % (zeros + 3);
    value = drawn < 3 ? static_cast<float>(drawn - 1) : 0.0f;
  }
  return values;
}

class CudaLoraTest : public testing::Test {
 protected:
  void SetUp() override {
    auto backend = CudaBackend::Create({.slab_bytes = 0});
    ASSERT_TRUE(backend.ok()) << backend.status();
    backend_ = std::move(*backend);
  }

  TensorView Put(const std::vector<float>& values, Shape shape, DType dtype) {
    std::vector<uint16_t> halves;
    for (const float value : values) halves.push_back(F32ToBf16(value));
    TensorView view = {nullptr, dtype, shape};
    view.data = backend_->Allocate(view.size_bytes());
    void* host = dtype == DType::kF32 ? static_cast<void*>(const_cast<float*>(values.data())) : halves.data();
    backend_->Upload({host, dtype, shape}, view);
    return view;
  }
  std::vector<float> Get(const TensorView& view) {
    std::vector<float> values(view.shape.num_elements());
    if (view.dtype == DType::kF32) {
      backend_->Download(view, {values.data(), view.dtype, view.shape});
      return values;
    }
    std::vector<uint16_t> halves(values.size());
    backend_->Download(view, {halves.data(), view.dtype, view.shape});
    for (size_t i = 0; i < values.size(); ++i) values[i] = Bf16ToF32(halves[i]);
    return values;
  }

  struct Adapter {
    int rank;
    std::vector<float> a, b;
    std::unique_ptr<Matrix> a_matrix, b_matrix;
  };
  Adapter MakeAdapter(int rank, int in, int out, int seed) {
    Adapter adapter = {rank, Integers(rank * in, seed, 20), Integers(out * rank, seed + 1, 2), nullptr, nullptr};
    adapter.a_matrix = backend_->CreateMatrix(View(adapter.a.data(), {rank, in}));
    adapter.b_matrix = backend_->CreateMatrix(View(adapter.b.data(), {out, rank}));
    return adapter;
  }

  std::unique_ptr<CudaBackend> backend_;
};

constexpr float kScale = 0.5f;

TEST_F(CudaLoraTest, AdaptersOfManyRanksShareALaunch) {
  constexpr int kIn = 616, kOut = 328, kRows = 150;  // neither a multiple of what a block has
  const std::vector<float> x = Integers(kRows * kIn, 1, 1), before = Integers(kRows * kOut, 2, 0);
  for (const std::vector<int>& ranks :
       std::vector<std::vector<int>>{{8, 16, 3}, {4, 17, 32}, {64, 1, 40}, {72, 8, 130}}) {
    const int first_rows[] = {0, 1, 70}, num_rows[] = {1, 67, 78};  // rows 68 and 69, 148 and 149 have none
    std::vector<Adapter> adapters;
    std::vector<LoraSegment> segments;
    for (int i = 0; i < 3; ++i) {
      adapters.push_back(MakeAdapter(ranks[i], kIn, kOut, 10 * i + ranks[i]));
      segments.push_back({first_rows[i], num_rows[i], adapters[i].a_matrix.get(), adapters[i].b_matrix.get(), kScale});
    }
    std::vector<float> want = before;
    for (int i = 0; i < 3; ++i) {
      for (int row = first_rows[i]; row < first_rows[i] + num_rows[i]; ++row) {
        for (int r = 0; r < ranks[i]; ++r) {
          float u = 0;
          for (int k = 0; k < kIn; ++k) u += x[row * kIn + k] * adapters[i].a[r * kIn + k];
          ASSERT_EQ(u, Bf16ToF32(F32ToBf16(u)));  // or the test would not be exact
          for (int o = 0; o < kOut; ++o) want[row * kOut + o] += kScale * u * adapters[i].b[o * ranks[i] + r];
        }
      }
    }
    const TensorView device_x = Put(x, {kRows, kIn}, DType::kBf16), y = Put(before, {kRows, kOut}, DType::kBf16);
    backend_->Lora(device_x, segments, y);
    ASSERT_TRUE(backend_->Finish().ok());
    const std::vector<float> got = Get(y);
    for (size_t i = 0; i < got.size(); ++i) {
      ASSERT_EQ(got[i], Bf16ToF32(F32ToBf16(want[i]))) << "row " << i / kOut << ", column " << i % kOut;
    }
    backend_->Free(device_x.data);
    backend_->Free(y.data);
  }
}

// Beside a bf16 backbone parameters have a copy in bf16: it follows what the optimizer does.
TEST_F(CudaLoraTest, TheCopyForTensorCoresFollowsAnUpdate) {
  constexpr int kIn = 64, kOut = 72, kRows = 5, kRank = 8;
  const uint16_t backbone[1] = {F32ToBf16(1)};
  const auto matrix = backend_->CreateMatrix({const_cast<uint16_t*>(backbone), DType::kBf16, {1, 1}});
  const Adapter updated = MakeAdapter(kRank, kIn, kOut, 1), want = MakeAdapter(kRank, kIn, kOut, 77);
  ASSERT_NE(CudaMatrix::Of(*updated.a_matrix).bf16_copy().data, nullptr);
  const TensorView x = Put(Integers(kRows * kIn, 1, 1), {kRows, kIn}, DType::kBf16);
  const TensorView a = Put(want.a, {kRank, kIn}, DType::kF32), b = Put(want.b, {kOut, kRank}, DType::kF32);
  const auto run = [&](const Adapter& adapter) {
    const TensorView y = Put(std::vector<float>(kRows * kOut, 0.0f), {kRows, kOut}, DType::kBf16);
    const LoraSegment segment = {0, kRows, adapter.a_matrix.get(), adapter.b_matrix.get(), kScale};
    backend_->Lora(x, {&segment, 1}, y);
    std::vector<float> got = Get(y);
    backend_->Free(y.data);
    return got;
  };
  EXPECT_NE(run(updated), run(want));
  backend_->UpdateMatrix(*updated.a_matrix, a);
  backend_->UpdateMatrix(*updated.b_matrix, b);
  EXPECT_EQ(run(updated), run(want));
  for (const TensorView& view : {x, a, b}) backend_->Free(view.data);
}

TEST_F(CudaLoraTest, BackwardIsExactOnIntegers) {
  constexpr int kIn = 136, kOut = 328, kRows = 75;
  for (const int rank : {3, 16, 40}) {
    const Adapter adapter = MakeAdapter(rank, kIn, kOut, rank);
    const std::vector<float> x = Integers(kRows * kIn, 1, 1), dy = Integers(kRows * kOut, 2, 6);
    std::vector<float> da = Integers(rank * kIn, 3, 0), db = Integers(kOut * rank, 4, 0);
    std::vector<float> dx = Integers(kRows * kIn, 5, 0);
    const TensorView views[] = {Put(x, {kRows, kIn}, DType::kBf16), Put(dy, {kRows, kOut}, DType::kBf16),
                                Put(da, {rank, kIn}, DType::kF32), Put(db, {kOut, rank}, DType::kF32),
                                Put(dx, {kRows, kIn}, DType::kBf16)};
    for (int row = 0; row < kRows; ++row) {
      for (int r = 0; r < rank; ++r) {
        float u = 0, du = 0;
        for (int k = 0; k < kIn; ++k) u += kScale * x[row * kIn + k] * adapter.a[r * kIn + k];
        for (int o = 0; o < kOut; ++o) du += kScale * dy[row * kOut + o] * adapter.b[o * rank + r];
        ASSERT_EQ(du, Bf16ToF32(F32ToBf16(du)));
        for (int o = 0; o < kOut; ++o) db[o * rank + r] += dy[row * kOut + o] * u;
        for (int k = 0; k < kIn; ++k) {
          da[r * kIn + k] += du * x[row * kIn + k];
          dx[row * kIn + k] += du * adapter.a[r * kIn + k];
        }
      }
    }
    const LoraSegment segment = {0, kRows, adapter.a_matrix.get(), adapter.b_matrix.get(), kScale};
    backend_->LoraBackward(views[0], views[1], segment, {.da = views[2], .db = views[3]}, views[4]);
    ASSERT_TRUE(backend_->Finish().ok());
    EXPECT_EQ(Get(views[2]), da) << "rank " << rank;
    EXPECT_EQ(Get(views[3]), db) << "rank " << rank;
    for (float& value : dx) value = Bf16ToF32(F32ToBf16(value));
    EXPECT_EQ(Get(views[4]), dx) << "rank " << rank;
    for (const TensorView& view : views) backend_->Free(view.data);
  }
}

TEST(LoraPlan, SlicesCoverEveryWidthAndDependOnItAlone) {
  for (int64_t width = 8; width <= 30000; width += 8) {
    const int64_t slice = kernels::LoraSliceWidth(kernels::Type::kBf16, width);
    const int slices = kernels::LoraSlices(kernels::Type::kBf16, width);
    ASSERT_EQ(slice % kernels::kSliceGrain, 0);
    ASSERT_LE(slices, 8);
    ASSERT_GE(slices * slice, width);
    ASSERT_LT((slices - 1) * slice, width);
  }
  EXPECT_EQ(kernels::LoraSlices(kernels::Type::kBf16, 4095), 1);  // no whole vectors
  EXPECT_EQ(kernels::LoraSlices(kernels::Type::kF32, 4096), 1);
}

}  // namespace
}  // namespace tandem::cuda
