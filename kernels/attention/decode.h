// Paged attention for few rows per sequence: flash decoding (Dao et al. 2023), the keys of a sequence cut into splits
// that many CTAs take, and their partial results combined in the order of the splits. The up to 16 packed rows of one
// KV head (kv_layout.h) are one MMA tile.
//
// A CTA of 4 warps takes one (item, KV head) after the other from a work list in device memory, on a fixed grid: the
// launch is the same whatever the batch, so a graph can replay it. Within a split warp w takes every fourth chunk of 16
// keys through cp.async stages of its own: no barrier between warps until the split is done.
//
//   head_dim up to    64       96       128      256
//   stages per warp   4        3        3        2        of 16 keys and values
//   shared memory     66 KiB   75 KiB   100 KiB  136 KiB
//   CTAs per SM       3        2        2        1
//   in flight / SM    >= 64 KiB: 4.8 TB/s x 1 us over 132 SMs want 36 KiB
//
// Bytes: K and V of every sequence once, plus partial results: 8 * head_dim bytes per (row, head, split), 1.6 % of K
// and V at group 4 with splits of 512. Flops do not count. Bound by memory. Estimate for H200: >= 80 % of 4.3 TB/s at
// batch >= 16 with 2k of context, >= 65 % at batch 1 with 32k (64 splits x 8 heads on 132 SMs).
#pragma once

#include "args.h"
#include "work_plan.h"

namespace tandem::kernels {

struct DecodeWork {
  const DecodeItem* items = nullptr;      // on the device
  const CombineItem* combines = nullptr;  // on the device
  const int32_t* counts = nullptr;        // on the device: how many items and combines
  void* scratch = nullptr;                // DecodeScratchBytes of the plan, at least
  int max_items = 0, max_combines = 0;    // what the grid is made for; more than counts is well
  int64_t scratch_rows = 0;               // partial rows that scratch has room for
};

inline size_t DecodeScratchBytes(int64_t partial_rows, int head_dim) {
  return static_cast<size_t>(partial_rows) * (head_dim + 2) * sizeof(float);
}

// q, out and the pool in bf16. num_sms: of the device.
cudaError_t LaunchDecodeAttention(const AttentionArgs& args, const DecodeWork& work, int num_sms, cudaStream_t stream);

}  // namespace tandem::kernels
