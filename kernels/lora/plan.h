// Segmented LoRA (Hu et al. 2021; segments as in Punica, Chen et al. 2023): what the kernels of this folder share.
//
// Rows that share an adapter are a segment. Segments are cut into items of up to RowsOfItem rows, which lie in one
// table on the device; a launch has a block for each item and part of the width, so that adapters of any rank stand
// beside each other and the grid does not depend on what the table holds: items without rows fill it up.
//
// u = x A^T comes in slices of the width, added up by whoever reads them: [slices, rows, rank_stride]. How a width is
// sliced depends on the width alone and sums run in fixed order, so that a row's bits do not depend on its batch.
#pragma once

#include <cuda_runtime.h>

#include "../activation.h"
#include "../common/types.h"

namespace tandem::kernels {

struct LoraSegment {
  const void* a = nullptr;  // [rank, in], of the activations' type
  const void* b = nullptr;  // [out, rank]
  float scale = 0;
  int rank = 0;
  bool activated = false;  // u goes through the activation (activate.h)
  Activation activation = Activation::kSilu;
};

struct LoraItem {
  int segment = 0;
  int first_row = 0, num_rows = 0;  // 0 rows: nothing to do
};

// Where tables and u lie.
struct LoraWork {
  Type type = Type::kF32;                 // of activations
  const LoraSegment* segments = nullptr;  // device
  const LoraItem* items = nullptr;        // [num_items] device
  int num_items = 0;
  int max_rank = 0;    // of all segments
  int64_t rows = 0;    // of the batch
  float* u = nullptr;  // [slices, rows, RankStride(max_rank)]
  int slices = 1;      // LoraSlices of the width that was summed over
};

enum class LoraPair { kA, kB };  // which of a segment's two matrices

__host__ __device__ constexpr int RankStride(int rank) {
  return (rank + 15) / 16 * 16;
}

// What a block's registers hold.
__host__ __device__ constexpr int RowsOfItem(int max_rank) {
  return max_rank <= 32 ? 64 : 32;
}
__host__ __device__ constexpr int NumItems(int num_rows, int max_rank) {
  return (num_rows + RowsOfItem(max_rank) - 1) / RowsOfItem(max_rank);
}

// Tensor cores take bf16 rows of whole vectors; other rows are summed thread by thread.
__host__ __device__ constexpr bool LoraUsesMma(Type type, int64_t width) {
  return type == Type::kBf16 && width % 8 == 0;
}
// Eight warps share a slice, 32 columns at a time.
inline constexpr int64_t kSliceGrain = 8 * 32;
__host__ __device__ constexpr int64_t LoraSliceWidth(Type type, int64_t width) {
  if (!LoraUsesMma(type, width)) return width;
  constexpr int64_t kMaxSlices = 8;
  return (width + kMaxSlices * kSliceGrain - 1) / (kMaxSlices * kSliceGrain) * kSliceGrain;
}
__host__ __device__ constexpr int LoraSlices(Type type, int64_t width) {
  return static_cast<int>((width + LoraSliceWidth(type, width) - 1) / LoraSliceWidth(type, width));
}

}  // namespace tandem::kernels
