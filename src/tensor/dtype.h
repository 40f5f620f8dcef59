// Conversions between the 16-bit floating formats and fp32, one element at a time and by tensor.
//
//            sign exponent mantissa
//   f32      1    8        23
//   bf16     1    8        7        the upper half of an f32
//   f16      1    5        10       largest 65504, smallest subnormal 2^-24
#pragma once

#include <bit>
#include <cstdint>

#include "tandem/tensor.h"

namespace tandem {

// Exact.
inline float Bf16ToF32(uint16_t bits) {
  return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16);
}

// Rounds to nearest, ties to even; overflow gives infinity; a NaN stays a (quiet) NaN of the same sign.
inline uint16_t F32ToBf16(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return static_cast<uint16_t>((bits >> 16) | 0x40u);
  return static_cast<uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

// Exact, subnormals included.
inline float F16ToF32(uint16_t half) {
  const uint32_t sign = static_cast<uint32_t>(half & 0x8000u) << 16;
  const uint32_t exponent = (half >> 10) & 0x1fu;
  const uint32_t mantissa = half & 0x3ffu;
  if (exponent == 0x1fu) return std::bit_cast<float>(sign | 0x7f800000u | (mantissa << 13));
  if (exponent != 0) return std::bit_cast<float>(sign | ((exponent + 112u) << 23) | (mantissa << 13));
  const float magnitude = static_cast<float>(mantissa) * 0x1p-24f;  // zero or subnormal: mantissa * 2^-24
  return sign ? -magnitude : magnitude;
}

// Rounds to nearest, ties to even; from 65520 on infinity; a NaN stays a (quiet) NaN of the same sign.
inline uint16_t F32ToF16(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  const uint32_t sign = (bits >> 16) & 0x8000u;
  const uint32_t magnitude = bits & 0x7fffffffu;
  if (magnitude > 0x7f800000u) return static_cast<uint16_t>(sign | 0x7e00u | ((magnitude >> 13) & 0x3ffu));
  if (magnitude >= 0x477ff000u) return static_cast<uint16_t>(sign | 0x7c00u);  // 65520 is a tie that rounds up
  if (magnitude < 0x38800000u) {
    // Below 2^-14: adding 0.5 lines the result's last bit (2^-24) up with the last bit of an f32 in [0.5, 1), whose own
    // addition rounds to nearest even.
    const float shifted = std::bit_cast<float>(magnitude) + 0.5f;
    return static_cast<uint16_t>(sign | (std::bit_cast<uint32_t>(shifted) - 0x3f000000u));
  }
  const uint32_t rounded = magnitude + 0xfffu + ((magnitude >> 13) & 1u);
  return static_cast<uint16_t>(sign | ((rounded - 0x38000000u) >> 13));
}

// Writes every element of `source` (f32, bf16 or f16; only read) to out[0, num_elements). CHECKs on kI32.
// `source.data` may have any alignment: tensors of a mapped file do.
void ConvertToF32(const TensorView& source, float* out);

}  // namespace tandem
