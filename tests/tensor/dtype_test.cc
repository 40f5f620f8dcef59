#include "tensor/dtype.h"

#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "gtest/gtest.h"

namespace tandem {
namespace {

float FromBits(uint32_t bits) {
  return std::bit_cast<float>(bits);
}

TEST(Bf16, EveryValueSurvivesTheWayThere_AndBack) {
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    const float value = Bf16ToF32(static_cast<uint16_t>(bits));
    if (std::isnan(value)) {
      EXPECT_TRUE(std::isnan(Bf16ToF32(F32ToBf16(value)))) << bits;
    } else {
      EXPECT_EQ(F32ToBf16(value), bits);
    }
  }
}

TEST(Bf16, RoundsToNearestAndTiesToEven) {
  EXPECT_EQ(F32ToBf16(FromBits(0x3f807fff)), 0x3f80);  // just below half
  EXPECT_EQ(F32ToBf16(FromBits(0x3f808000)), 0x3f80);  // half, even below
  EXPECT_EQ(F32ToBf16(FromBits(0x3f808001)), 0x3f81);  // just above half
  EXPECT_EQ(F32ToBf16(FromBits(0x3f818000)), 0x3f82);  // half, even above
  EXPECT_EQ(F32ToBf16(FromBits(0x00008000)), 0x0000);  // subnormal half
  EXPECT_EQ(F32ToBf16(FromBits(0x00018000)), 0x0002);
}

TEST(Bf16, OverflowsToInfinityAndKeepsNan) {
  EXPECT_EQ(F32ToBf16(std::numeric_limits<float>::max()), 0x7f80);
  EXPECT_EQ(F32ToBf16(-std::numeric_limits<float>::infinity()), 0xff80);
  EXPECT_TRUE(std::isnan(Bf16ToF32(F32ToBf16(FromBits(0x7f800001)))));  // payload only in the half that is cut off
  EXPECT_TRUE(std::signbit(Bf16ToF32(F32ToBf16(FromBits(0xff800001)))));
}

// The definition of the format, in double.
double F16Value(uint16_t half) {
  const int exponent = (half >> 10) & 0x1f;
  const int mantissa = half & 0x3ff;
  const double magnitude = exponent == 0 ? std::ldexp(mantissa, -24) : std::ldexp(1024 + mantissa, exponent - 25);
  return half & 0x8000 ? -magnitude : magnitude;
}

TEST(F16, EveryFiniteValueIsExactBothWays) {
  for (uint32_t half = 0; half < 0x10000; ++half) {
    if (((half >> 10) & 0x1f) == 0x1f) continue;
    const float value = F16ToF32(static_cast<uint16_t>(half));
    ASSERT_EQ(static_cast<double>(value), F16Value(static_cast<uint16_t>(half))) << half;
    ASSERT_EQ(std::signbit(value), half >= 0x8000) << half;
    ASSERT_EQ(F32ToF16(value), half);
  }
}

TEST(F16, MidpointsGoToTheEvenNeighbourAndTheirNeighboursToTheNearest) {
  for (uint16_t half = 0; half < 0x7bff; ++half) {
    const float midpoint = static_cast<float>((F16Value(half) + F16Value(half + 1)) / 2);  // exact in f32
    const float infinity = std::numeric_limits<float>::infinity();
    ASSERT_EQ(F32ToF16(midpoint), half + (half & 1)) << half;
    ASSERT_EQ(F32ToF16(std::nextafter(midpoint, -infinity)), half) << half;
    ASSERT_EQ(F32ToF16(std::nextafter(midpoint, infinity)), half + 1) << half;
    ASSERT_EQ(F32ToF16(-midpoint), 0x8000 | (half + (half & 1))) << half;
  }
}

TEST(F16, OverflowsToInfinityAndKeepsInfinityAndNan) {
  EXPECT_EQ(F32ToF16(65519.996f), 0x7bff);
  EXPECT_EQ(F32ToF16(65520.0f), 0x7c00);
  EXPECT_EQ(F32ToF16(-1e30f), 0xfc00);
  EXPECT_EQ(F16ToF32(0x7c00), std::numeric_limits<float>::infinity());
  EXPECT_EQ(F16ToF32(0xfc00), -std::numeric_limits<float>::infinity());
  EXPECT_TRUE(std::isnan(F16ToF32(0x7e00)));
  EXPECT_TRUE(std::isnan(F16ToF32(0x7c01)));
  EXPECT_TRUE(std::isnan(F16ToF32(F32ToF16(FromBits(0x7f800001)))));
}

TEST(ConvertToF32, ReadsEveryFloatingDtypeAtAnyAlignment) {
  const std::vector<uint16_t> bf16 = {F32ToBf16(1.5f), F32ToBf16(-2.0f), F32ToBf16(0.25f)};
  const std::vector<uint16_t> f16 = {F32ToF16(1.5f), F32ToF16(-2.0f), F32ToF16(0.25f)};
  const std::vector<float> f32 = {1.5f, -2.0f, 0.25f};
  const auto convert = [](DType dtype, const void* data) {
    std::vector<char> unaligned(3 * ByteSize(dtype) + 1);
    std::memcpy(unaligned.data() + 1, data, 3 * ByteSize(dtype));
    std::vector<float> out(3);
    ConvertToF32({unaligned.data() + 1, dtype, Shape{3}}, out.data());
    return out;
  };
  EXPECT_EQ(convert(DType::kBf16, bf16.data()), f32);
  EXPECT_EQ(convert(DType::kF16, f16.data()), f32);
  EXPECT_EQ(convert(DType::kF32, f32.data()), f32);
}

TEST(ConvertToF32DeathTest, RefusesIntegers) {
  int32_t value = 1;
  float out;
  EXPECT_DEATH(ConvertToF32({&value, DType::kI32, Shape{1}}, &out), "cannot convert i32");
}

}  // namespace
}  // namespace tandem
