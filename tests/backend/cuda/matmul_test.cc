#include "backend/cuda/matmul.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "tensor/dtype.h"

namespace tandem::cuda {
namespace {

// Small integers, exact in bf16: products and sums are exact in f32, in any order.
std::vector<float> Integers(int64_t count, int seed) {
  std::vector<float> values(count);
  for (int64_t i = 0; i < count; ++i) values[i] = static_cast<float>((i * 7 + seed) % 9 - 4);
  return values;
}

class MatmulTest : public ::testing::TestWithParam<std::tuple<DType, DType, bool, bool, bool>> {
 protected:
  void* Put(const std::vector<float>& values, DType type) {
    std::vector<uint16_t> halves;
    for (const float value : values) halves.push_back(F32ToBf16(value));
    const void* from = type == DType::kF32 ? static_cast<const void*>(values.data()) : halves.data();
    void* to = runtime_->Allocate(values.size() * ByteSize(type));
    runtime_->UploadBytes(from, to, values.size() * ByteSize(type));
    return to;
  }
  std::vector<float> Get(const void* from, int64_t count, DType type) {
    std::vector<float> values(count);
    if (type == DType::kF32) {
      runtime_->FetchBytes(from, values.data(), count * sizeof(float));
      return values;
    }
    std::vector<uint16_t> halves(count);
    runtime_->FetchBytes(from, halves.data(), count * sizeof(uint16_t));
    for (int64_t i = 0; i < count; ++i) values[i] = Bf16ToF32(halves[i]);
    return values;
  }

  const std::unique_ptr<Runtime> runtime_ = *Runtime::Create(0);
};

TEST_P(MatmulTest, EqualsTheProduct) {
  const auto [type, out_type, transposed, accumulate, deterministic] = GetParam();
  Matmul matmul(*runtime_, deterministic);
  struct Dims {
    int64_t m, n, k;
  };
  for (const Dims d : {Dims{1, 8, 16}, Dims{5, 24, 8}, Dims{17, 3, 40}}) {
    const std::vector<float> a = Integers(d.m * d.k, 1), b = Integers(d.n * d.k, 2), old = Integers(d.m * d.n, 3);
    MatmulArgs args{.type = type, .out_type = out_type, .m = d.m, .n = d.n, .k = d.k};
    args.transposed = transposed;
    args.accumulate = accumulate;
    args.a = Put(a, type);
    args.b = Put(b, type);
    args.out = Put(accumulate ? old : std::vector<float>(d.m * d.n, NAN), out_type);
    {
      const Runtime::Op op(*runtime_, "test");
      matmul.Run(args);
    }
    const std::vector<float> got = Get(args.out, d.m * d.n, out_type);
    ASSERT_TRUE(runtime_->Finish().ok());
    for (int64_t row = 0; row < d.m; ++row) {
      for (int64_t column = 0; column < d.n; ++column) {
        float want = accumulate ? old[row * d.n + column] : 0;
        for (int64_t i = 0; i < d.k; ++i) {
          want += a[row * d.k + i] * (transposed ? b[column * d.k + i] : b[i * d.n + column]);
        }
        if (out_type == DType::kBf16) want = Bf16ToF32(F32ToBf16(want));
        ASSERT_EQ(got[row * d.n + column], want) << row << ", " << column;
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Types, MatmulTest,
                         testing::Values(std::tuple(DType::kF32, DType::kF32, true, false, false),
                                         std::tuple(DType::kF32, DType::kF32, false, true, false),
                                         std::tuple(DType::kBf16, DType::kBf16, true, true, false),
                                         std::tuple(DType::kBf16, DType::kBf16, false, false, true),
                                         std::tuple(DType::kBf16, DType::kF32, true, false, true)));

TEST(MatmulBucket, RowsAreRoundedUpToFewSizes) {
  const std::pair<int64_t, int64_t> want[] = {{1, 1},   {2, 2},   {3, 4},     {9, 16},    {17, 24},
                                              {25, 32}, {33, 48}, {100, 128}, {129, 192}, {2048, 2048}};
  for (const auto& [m, bucket] : want) EXPECT_EQ(MatmulBucket(m), bucket) << m;
}

}  // namespace
}  // namespace tandem::cuda
