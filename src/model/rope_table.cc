#include "model/rope_table.h"

#include <algorithm>
#include <cmath>

namespace tandem {
namespace {

double Frequency(double theta, int i, int head_dim) {
  return 1.0 / std::pow(theta, 2.0 * i / head_dim);
}

// Llama 3.1: long wavelengths are stretched, short ones kept, between them a blend.
double Llama3(const RopeDesc& rope, double frequency) {
  const double wavelength = 2 * M_PI / frequency;
  if (wavelength > rope.original_context / rope.low_freq_factor) return frequency / rope.factor;
  if (wavelength < rope.original_context / rope.high_freq_factor) return frequency;
  const double smooth =
      (rope.original_context / wavelength - rope.low_freq_factor) / (rope.high_freq_factor - rope.low_freq_factor);
  return (1 - smooth) * frequency / rope.factor + smooth * frequency;
}

// YaRN (Peng et al. 2023): dimensions that turn more than beta_fast times over the original context are kept, those
// that turn less than beta_slow times are stretched, between them a ramp.
double Yarn(const RopeDesc& rope, int i, int head_dim) {
  const auto dimension_of = [&](double turns) {
    return head_dim * std::log(rope.original_context / (turns * 2 * M_PI)) / (2 * std::log(rope.theta));
  };
  double low = dimension_of(rope.beta_fast), high = dimension_of(rope.beta_slow);
  if (rope.truncate) {
    low = std::floor(low);
    high = std::ceil(high);
  }
  low = std::max(low, 0.0);
  high = std::min(high, head_dim - 1.0);
  if (low == high) high += 0.001;
  const double stretched = std::clamp((i - low) / (high - low), 0.0, 1.0);
  const double frequency = Frequency(rope.theta, i, head_dim);
  return frequency / rope.factor * stretched + frequency * (1 - stretched);
}

// NTK-aware, dynamic: beyond the original context the base grows with the length.
double Dynamic(const RopeDesc& rope, int i, int head_dim, int length) {
  const double stretch = std::max<double>(length, rope.original_context) / rope.original_context;
  const double base = rope.theta * std::pow(rope.factor * stretch - (rope.factor - 1), head_dim / (head_dim - 2.0));
  return Frequency(base, i, head_dim);
}

// The frequency of pair i in a sequence of `length` tokens.
double FrequencyOf(const RopeDesc& rope, int i, int head_dim, int length) {
  const double plain = Frequency(rope.theta, i, head_dim);
  switch (rope.scaling) {
    case RopeScaling::kNone:
      return plain;
    case RopeScaling::kLinear:
      return plain / rope.factor;
    case RopeScaling::kDynamic:
      return Dynamic(rope, i, head_dim, length);
    case RopeScaling::kLlama3:
      return Llama3(rope, plain);
    case RopeScaling::kYarn:
      return Yarn(rope, i, head_dim);
    case RopeScaling::kLong:
      return plain / (length > rope.original_context ? rope.long_factors : rope.short_factors)[i];
  }
  return plain;
}

}  // namespace

Tensor MakeRopeTable(const RopeDesc& rope, int positions, int head_dim) {
  Tensor table = Tensor::Empty(DType::kF32, {positions, head_dim});
  const int half = head_dim / 2;
  const bool by_length = rope.scaling == RopeScaling::kDynamic || rope.scaling == RopeScaling::kLong;
  for (int i = 0; i < half; ++i) {
    float frequency = static_cast<float>(FrequencyOf(rope, i, head_dim, 1));
    for (int p = 0; p < positions; ++p) {
      if (by_length) frequency = static_cast<float>(FrequencyOf(rope, i, head_dim, p + 1));
      const double angle = static_cast<float>(p) * frequency;
      float* row = table.f32() + static_cast<int64_t>(p) * head_dim;
      row[i] = static_cast<float>(std::cos(angle) * rope.attention_factor);
      row[half + i] = static_cast<float>(std::sin(angle) * rope.attention_factor);
    }
  }
  return table;
}

}  // namespace tandem
