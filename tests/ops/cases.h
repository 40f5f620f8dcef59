// The operations of the Backend seam with the shapes they are tested and timed at: one list that drives correctness
// (tests/ops) and speed (benchmarks/ops) on every backend.
#pragma once

#include <cmath>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "tandem/backend.h"

namespace tandem::optest {

enum class Op {
  kLinear,
  kLinearBackwardInput,
  kLora,
  kLoraBackward,
  kScaleColumns,
  kScaleColumnsBackward,
  kRowSquares,
  kInverseRowNorms,
  kEmbedding,
  kGatherRows,
  kRmsNorm,
  kRmsNormBackward,
  kLayerNorm,
  kLayerNormBackward,
  kRope,
  kRopeBackward,
  kActivate,
  kActivateBackward,
  kActivateMul,
  kActivateMulBackward,
  kAdd,
  kAddBias,
  kScale,
  kSoftCap,
  kRoute,
  kRouteBackward,
  kGatherChoices,
  kCombineChoices,
  kWeighChoicesBackward,
  kExpertLinear,
  kExpertLinearBackwardInput,
  kAttention,  // AppendKv first, which Prepare does
  kAttentionBackward,
  kLinearCrossEntropy,
  kSample,
  kClipGradients,
  kAdamW,
};

// Rows [first_position, first_position + num_rows) of one sequence, whose context ends with them.
struct SequenceShape {
  int first_position = 0, num_rows = 0;
  int context() const { return first_position + num_rows; }
};

// Which members count depends on the operation:
//   linears, cross entropy, LoRA   x [m, k], W [n, k], LoRA between them of `rank`; m of attention and RoPE is the sum
//   of embedding, gather rows         m ids, table or x [n, k]                         the sequences' rows
//   element-wise, norms            [m, k]; columns are scaled with unit and center where k is odd
//   row squares and norms          W [n, k], LoRA beside it of `rank`
//   router                         logits [m, n], top_k chosen
//   of its choices                 top_k of `experts` chosen by each of m rows; rows of k columns; W [n, k]
//   sample                         logits [m, n]
struct Case {
  Op op = Op::kLinear;
  int64_t m = 0, n = 0, k = 0, rank = 0;
  int num_kv_heads = 0, group = 1, head_dim = 0;  // group: query heads per KV head
  std::vector<SequenceShape> sequences = {};
  DType dtype = DType::kF32;  // of the weight, or of the KV pool
  Accumulate mode = Accumulate::kNo;
  SamplingParams sampling = {};
  Activation activation = Activation::kSilu;
  bool bottleneck = false;  // LoRA: with the activation
  int window = 0;           // of attention
  float soft_cap = 0;       // of attention and cross entropy
  int top_k = 0;            // of the router
  bool normalize = true;
  int experts = 0;
  bool weighted = true;  // of kCombineChoices: with factors

  int num_heads() const { return num_kv_heads * group; }
  int64_t context() const;  // positions of all sequences together
};

// What an element may differ by from the double-precision reference: relative * (|want| + rms of the output) +
// absolute.
struct Tolerance {
  double relative = 0;
  double absolute = 0;  // where terms of order 1 cancel
  std::string_view reason;
};

std::string_view Name(Op op);
std::string Name(const Case& c);  // "linear/bf16/m:1/n:2048/k:2048"
// `activations`: the type they are stored in.
Tolerance ToleranceOf(const Case& c, DType activations);
double Flops(const Case& c);  // a multiply-add counts two
double Bytes(const Case& c);  // every operand moved once

// Constants of every case.
inline constexpr float kNormEpsilon = 1e-5f;
inline constexpr float kLoraScale = 0.5f;
inline constexpr AdamWStep kAdamWStep = {
    .learning_rate = 1e-2, .beta1 = 0.9, .beta2 = 0.999, .epsilon = 1e-8, .weight_decay = 0.1, .step = 3};
inline constexpr double kGradientScale = 0.25;                                // of kAdamW
inline constexpr ClipOptions kClipOptions = {.divisor = 4, .max_norm = 1.5};  // above some cases' norms, below others'
inline constexpr float kFactor = 1.75f;                                       // of kScale
inline constexpr float kCap = 0.5f;                                           // of kSoftCap: bites on values in [-1, 1)
inline float AttentionScale(const Case& c) {
  return 1.0f / std::sqrt(static_cast<float>(c.head_dim));
}
inline AttentionOptions OptionsOf(const Case& c) {
  return {.scale = AttentionScale(c), .window = c.window, .soft_cap = c.soft_cap};
}
// The label of row `row` of a cross-entropy case; every third row has none.
int32_t LabelOf(const Case& c, int64_t row);

// Small and awkward: what is off by one in a kernel fails on one of these.
std::vector<Case> CorrectnessCases(Op op);
// The shapes of one layer of a 1.1 G parameter Llama (hidden 2048, ffn 5632, 32 / 4 heads of 64, vocabulary 32000).
std::vector<Case> SpeedCases(Op op);
// For a device with hundreds of times the throughput: one layer of Llama 3.1 8B (hidden 4096, ffn 14336, 32 / 8 heads
// of 128, vocabulary 128256) in bf16, decode to long prompts. Attention is of whole prompts and of equally long
// decodes.
std::vector<Case> DeviceSpeedCases(Op op);
std::vector<Op> AllOps();

}  // namespace tandem::optest
