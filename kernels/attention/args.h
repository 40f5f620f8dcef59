// What the forward kernels of attention share: operands, and what they do with a score.
#pragma once

#include "kv_layout.h"

namespace tandem::kernels {

struct AttentionArgs {
  const void* q = nullptr;  // [rows, num_heads * head_dim]
  void* out = nullptr;      // as q
  float* lse = nullptr;     // [rows, num_heads] log-sum-exp of the scores; null: not wanted
  Type type = Type::kF32;   // of q and out. bf16 wants a bf16 pool
  KvPool kv;
  int group = 1;  // query heads per KV head
  // score = soft_cap * tanh(scale * q.k / soft_cap); soft_cap 0: scale * q.k
  float scale = 1;                       // > 0
  float soft_cap = 0;                    // >= 0
  int window = 0;                        // row at position p sees (p - window, p]; 0: [0, p]
  const AttentionSpan* spans = nullptr;  // on the device; only LaunchScalarAttention reads them
  const int32_t* blocks = nullptr;       // on the device: the block tables of the spans, one behind the other
};

}  // namespace tandem::kernels
