// Log probabilities of a known token and of a row's most probable ones, by the row as it is.
//
// A block to a row; two passes over it, 8 vocab bytes, one more for each top token where more than 1024 tokens are
// about equal. Estimate for 64 rows of 128 Ki tokens, not measured: 25 us.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

namespace tandem::kernels {

struct ScoredToken {
  int32_t token = -1;  // -1: none
  float logprob = 0;
};

struct ScoreRow {
  const float* logits = nullptr;  // [vocab]
  int token = 0;                  // an index into ids, where there are any; else the token
  int num_top = 0;                // at most 1024
};

struct ScoreArgs {
  const ScoreRow* rows = nullptr;  // [num_rows]
  int num_rows = 0;
  int vocab = 0;                  // at most kMaxVocab (block.h)
  const int32_t* ids = nullptr;   // tokens that were drawn; negative: none
  int max_top = 0;                // of all rows
  ScoredToken* scores = nullptr;  // [num_rows, 1 + max_top] the token, then the best, equals by id; none where the row
                                  // is not finite
};
cudaError_t LaunchScore(const ScoreArgs& args, cudaStream_t stream);

}  // namespace tandem::kernels
