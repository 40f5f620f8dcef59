// Writes rows of keys and values to their slots of the paged pool (kv_layout.h), converting f32 to bf16 where asked.
//
// One pass, bound by memory: reads and writes 2 * rows * num_kv_heads * head_dim elements, 16 bytes at a time. At
// decode (64 rows, 8 heads of 128: 0.5 MB) the launch is all there is. Estimate: >= 85 % of copy bandwidth on large
// batches.
#pragma once

#include "kv_layout.h"

namespace tandem::kernels {

struct AppendKvArgs {
  const void* k = nullptr;  // [num_rows, num_kv_heads * head_dim]
  const void* v = nullptr;
  Type type = Type::kF32;  // of k and v: the pool's, or f32
  KvPool kv;
  const int32_t* slots = nullptr;  // [num_rows] block * block_size + slot; negative: the row is nobody's
  int num_rows = 0;
};

cudaError_t LaunchAppendKv(const AppendKvArgs& args, cudaStream_t stream);

}  // namespace tandem::kernels
