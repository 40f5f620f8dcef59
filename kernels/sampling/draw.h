// Drawing a token from each row of logits: greedy, or by temperature, top_k, top_p, min_p and typical_p (in this order,
// each on what the ones before it left; where a cut falls among equals the lower ids stay) and a given uniform number.
//
// A block to a row; nothing is sorted. Passes over the row, 4 vocab bytes each, from the L2 cache after the first:
// greedy 1; untruncated 2; truncated mostly 2, and then work on some hundred candidates in shared memory (FlashInfer's
// kernels search thresholds too, Ye et al. 2025; the candidates' bound is ours); where more than 1024 tokens remain in
// play, a search by halving, about 25 passes for each cut. Estimates for 64 rows of 128 Ki tokens, not measured: greedy
// 10 us, candidates 30 us, search 150 us for each cut.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

namespace tandem::kernels {

inline constexpr int32_t kDrawNotFinite = -1, kDrawNothingLeft = -2;

struct DrawRequest {
  float temperature = 0;  // 0: the first of the most probable
  int top_k = 0;          // 0: off
  float top_p = 1, min_p = 0, typical_p = 1;
  int has_rules = 0;   // `finite` is asked for the row
  double uniform = 0;  // in [0, 1)
};

struct DrawArgs {
  const float* logits = nullptr;  // [rows, vocab]
  int64_t rows = 0;
  int vocab = 0;                          // at most kMaxVocab (block.h)
  const DrawRequest* requests = nullptr;  // [rows]
  const int32_t* finite = nullptr;        // [rows] as ApplyLogitRules left it; 0: the row was not finite
  int32_t* ids = nullptr;                 // [rows] kDrawNotFinite, kDrawNothingLeft where there is none
  int32_t* kept = nullptr;                // [rows] a copy of them; null: none
};
cudaError_t LaunchDraw(const DrawArgs& args, cudaStream_t stream);

}  // namespace tandem::kernels
