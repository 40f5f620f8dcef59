// The products of routed experts: rows in the order of their experts, each by its own expert's matrix. Where an
// expert's rows end is read on the device: the grid is made for whatever the router chooses, and blocks without rows
// leave.
//
// Of n choices the weights of at most min(n, num_experts) experts are read, each once for every 16 rows (few rows to an
// expert) or 128 (many; bf16). Bytes: s (rows (k + n) + experts chosen * k * n); flops: 2 rows k n, by mma.sync.
// Estimates, not measured: 75 % of the read rate where rows are few, 55 to 60 % of the dense peak where they are many
// (no wgmma here). A row's sum runs over k in one order, whatever the tile: its bits do not depend on its batch.
#pragma once

#include <cuda_runtime.h>

#include "common/types.h"

namespace tandem::kernels {

struct ExpertProductArgs {
  Type type = Type::kF32;                // of everything
  const void* x = nullptr;               // [rows, k]
  const void* const* weights = nullptr;  // [num_experts] device addresses of device matrices
  const int32_t* ends = nullptr;         // [num_experts]: where an expert's rows end; the next one's begin there
  void* y = nullptr;                     // [rows, n]
  int rows = 0, n = 0, k = 0, num_experts = 0;
  bool transposed = false;  // the matrices are [k, n]: y = x W; else [n, k]: y = x W^T
  bool accumulate = false;  // y += the product
};
cudaError_t LaunchExpertProduct(const ExpertProductArgs& args, cudaStream_t stream);

// How rows are cut into tiles: each has rows of one expert.
__host__ __device__ constexpr int NumExpertTiles(int rows, int num_experts, int tile_rows) {
  const int most = rows / tile_rows + num_experts;  // every expert's last tile may be part of one
  return most < rows ? most : rows;
}

}  // namespace tandem::kernels
