// Rotary position embeddings and their scalings, as tables of cos and sin.
//
// Two scalings depend on the length of a sequence. Here the row at position p is rotated as in a sequence of p + 1
// tokens: a function of the position alone, so chunks and windows change nothing and keys never go stale. That is what
// transformers computes token by token; a prompt that it takes in one piece it rotates as a whole by its final length.
#pragma once

#include <vector>

#include "tensor/tensor.h"

namespace tandem {

enum class RopeScaling { kNone, kLinear, kDynamic, kLlama3, kYarn, kLong };

struct RopeDesc {
  RopeScaling scaling = RopeScaling::kNone;
  double theta = 10000.0;
  double factor = 1;                                 // by which the context is stretched
  double original_context = 0;                       // positions the model was made for, before stretching
  double attention_factor = 1;                       // multiplies cos and sin (yarn, longrope)
  double low_freq_factor = 1, high_freq_factor = 4;  // llama3
  double beta_fast = 32, beta_slow = 1;              // yarn
  bool truncate = true;                              // yarn: whole dimensions bound the ramp
  std::vector<double> short_factors, long_factors;   // longrope, [head_dim / 2]
};

// [positions, head_dim]: cos in the first half of a row, sin in the second. Frequencies in f32, as transformers has
// them.
Tensor MakeRopeTable(const RopeDesc& rope, int positions, int head_dim);

}  // namespace tandem
