// The angles of RoPE, tabulated once: row p is cos(p f_i) then sin(p f_i) with f_i = theta^(-2i / head_dim).
#pragma once

#include "tensor/tensor.h"

namespace tandem {

// [positions, head_dim] f32. Angles are rounded to f32 before the cosine, as transformers does.
Tensor MakeRopeTable(int positions, int head_dim, double theta);

}  // namespace tandem
