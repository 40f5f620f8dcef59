// What a request changes in its row of logits before a token is drawn, in the order of SamplingParams: bias;
// repetition, frequency and presence penalty; then -inf for every token that may not come.
//
// A block to a row. Bytes moved: 12 vocab (the row twice read, once written), 8 vocab more where there are penalties.
// Estimate for 64 rows of 128 Ki tokens, not measured: 25 us, 40 us with penalties.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

namespace tandem::kernels {

struct TokenBias {
  int32_t token = 0;
  float bias = 0;
};

// Lists lie on the device; a count of 0: none.
struct LogitRules {
  int row = 0;
  const TokenBias* biases = nullptr;  // each token once
  int num_biases = 0;
  const int32_t* history = nullptr;  // prompt, then completion
  int num_history = 0, num_prompt = 0;
  float repetition = 1, frequency = 0, presence = 0;
  uint32_t* uses = nullptr;          // [vocab] scratch of this row; null: no penalties
  const int32_t* allowed = nullptr;  // where there are any, all others are forbidden
  int num_allowed = 0;
  const int32_t* forbidden = nullptr;
  int num_forbidden = 0;
  const uint32_t* mask = nullptr;  // null: none. Bit id % 32 of word id / 32: may come; beyond the last word: may not
  int num_mask_words = 0;
};

struct LogitRulesArgs {
  float* logits = nullptr;            // [rows, vocab]
  int vocab = 0;                      // at most kMaxVocab (block.h)
  const LogitRules* rules = nullptr;  // [num_rules], rows distinct
  int num_rules = 0;
  int32_t* finite = nullptr;  // [rows]: written for rows with rules; 0 where a NaN or +inf stood, and nothing changed
};
cudaError_t LaunchLogitRules(const LogitRulesArgs& args, cudaStream_t stream);

}  // namespace tandem::kernels
