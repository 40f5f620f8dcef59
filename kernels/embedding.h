// Copies of rows chosen by number: token embeddings, rows on their way to an expert, labelled rows of a loss.
//
// Bytes moved: rows * columns * (BytesOf(from) + BytesOf(to)). Estimate, not measured: 80 % of the copy rate for rows
// of 2 KiB and more.
#pragma once

#include <cuda_runtime.h>

#include "common/types.h"

namespace tandem::kernels {

struct RowCopyArgs {
  Type from_type = Type::kF32, to_type = Type::kF32;
  const void* from = nullptr;
  const int32_t* numbers = nullptr;     // [rows]
  const int32_t* below_zero = nullptr;  // number ~k stands for below_zero[k], or for 0 where that is negative too
  int share = 1;                        // as many neighbouring numbers mean one row: numbers[i] / share
  void* to = nullptr;
  int64_t rows = 0, columns = 0;
};
// to[i] = from[numbers[i] / share]
cudaError_t LaunchGatherRows(const RowCopyArgs& args, cudaStream_t stream);
// to[numbers[i]] = from[i]; numbers are distinct, share is 1.
cudaError_t LaunchScatterRows(const RowCopyArgs& args, cudaStream_t stream);

}  // namespace tandem::kernels
