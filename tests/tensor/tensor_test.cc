#include "tensor/tensor.h"

#include <cstdint>
#include <utility>

#include "gtest/gtest.h"

namespace tandem {
namespace {

TEST(Tensor, ZerosAreZeroAndAligned) {
  for (const DType dtype : {DType::kF32, DType::kBf16, DType::kF16, DType::kI32}) {
    const Tensor tensor = Tensor::Zeros(dtype, {3, 5});
    ASSERT_EQ(tensor.size_bytes(), 15 * ByteSize(dtype));
    EXPECT_EQ(reinterpret_cast<uintptr_t>(tensor.data()) % Tensor::kAlignment, 0u);
    for (size_t i = 0; i < tensor.size_bytes(); ++i) ASSERT_EQ(static_cast<const char*>(tensor.data())[i], 0);
  }
}

TEST(Tensor, ViewSeesTheOwnersMemoryDtypeAndShape) {
  const Tensor tensor = Tensor::Zeros(DType::kF32, {2, 3});
  tensor.view().f32()[4] = 7.0f;
  EXPECT_EQ(tensor.f32()[4], 7.0f);
  EXPECT_EQ(tensor.view().shape, (Shape{2, 3}));
  EXPECT_EQ(tensor.view().dtype, DType::kF32);
}

TEST(Tensor, MoveLeavesTheSourceEmpty) {
  Tensor first = Tensor::Zeros(DType::kF32, {4});
  const void* memory = first.data();
  Tensor second = std::move(first);
  EXPECT_TRUE(first.empty());
  EXPECT_EQ(first.size_bytes(), 0u);
  EXPECT_EQ(second.data(), memory);
  first = std::move(second);
  EXPECT_EQ(first.data(), memory);
  EXPECT_EQ(first.shape(), Shape{4});
  EXPECT_TRUE(second.empty());
}

TEST(Tensor, CopyOfOwnsItsOwnElements) {
  const Tensor source = Tensor::Zeros(DType::kF32, {2});
  source.f32()[1] = 3.0f;
  const Tensor copy = Tensor::CopyOf(source.view());
  source.f32()[1] = 4.0f;
  EXPECT_EQ(copy.f32()[1], 3.0f);
  EXPECT_EQ(copy.shape(), Shape{2});
}

TEST(Tensor, WithoutElementsStillHasMemory) {
  const Tensor tensor = Tensor::Zeros(DType::kF32, {0, 8});
  EXPECT_NE(tensor.data(), nullptr);
  EXPECT_FALSE(tensor.empty());
  EXPECT_EQ(tensor.num_elements(), 0);
}

TEST(Tensor, AScalarHasOneElement) {
  EXPECT_EQ(Tensor::Zeros(DType::kF32, Shape{}).num_elements(), 1);
}

TEST(TensorDeathTest, RefusesShapesThatOverflowAndReadsOfTheWrongDtype) {
  EXPECT_DEATH(Tensor::Empty(DType::kF32, {INT64_MAX, 3}), "CHECK failed");
  EXPECT_DEATH(Tensor::Empty(DType::kF32, {-1}), "want at least 0");
  EXPECT_DEATH(Tensor::Zeros(DType::kBf16, {1}).f32(), "got bf16");
}

}  // namespace
}  // namespace tandem
