#include "ops/cases.h"

namespace tandem::optest {
namespace {

constexpr int64_t kHidden = 4096, kFfn = 14336, kVocab = 128256, kKvWidth = 1024;
constexpr int kKvHeads = 8, kGroup = 4, kHeadDim = 128;

Case AttentionOf(Op op, int sequences, SequenceShape shape) {
  return {.op = op,
          .m = static_cast<int64_t>(sequences) * shape.num_rows,
          .num_kv_heads = kKvHeads,
          .group = kGroup,
          .head_dim = kHeadDim,
          .sequences = std::vector(sequences, shape),
          .dtype = DType::kBf16};
}

std::vector<Case> Products(Op op) {
  std::vector<Case> cases;
  for (const int64_t m : {1, 16, 64, 256, 2048}) {
    if (op != Op::kLinear && m < 256) continue;  // nobody trains on fewer
    for (const auto& [n, k] : {std::pair{kHidden, kHidden}, {kKvWidth, kHidden}, {kFfn, kHidden}, {kHidden, kFfn}}) {
      cases.push_back({.op = op, .m = m, .n = n, .k = k, .dtype = DType::kBf16});
    }
  }
  return cases;
}

std::vector<Case> Attentions(Op op) {
  if (op == Op::kAttentionBackward) return {AttentionOf(op, 1, {0, 2048}), AttentionOf(op, 1, {0, 8192})};
  return {AttentionOf(op, 1, {2047, 1}),  AttentionOf(op, 1, {32767, 1}), AttentionOf(op, 16, {2047, 1}),
          AttentionOf(op, 64, {2047, 1}), AttentionOf(op, 1, {0, 2048}),  AttentionOf(op, 1, {0, 8192})};
}

}  // namespace

std::vector<Case> DeviceSpeedCases(Op op) {
  constexpr DType kType = DType::kBf16;
  switch (op) {
    case Op::kLinear:
    case Op::kLinearBackwardInput:
      return Products(op);
    case Op::kLora:
    case Op::kLoraBackward:
      return {{.op = op, .m = 64, .n = kHidden, .k = kHidden, .rank = 16, .dtype = kType},
              {.op = op, .m = 2048, .n = kHidden, .k = kHidden, .rank = 16, .dtype = kType},
              {.op = op, .m = 2048, .n = kFfn, .k = kHidden, .rank = 16, .dtype = kType}};
    case Op::kScaleColumns:
    case Op::kScaleColumnsBackward:
      return {{.op = op, .m = 64, .k = kFfn, .dtype = kType}, {.op = op, .m = 2048, .k = kFfn, .dtype = kType}};
    case Op::kRowSquares:
      return {{.op = op, .n = kFfn, .k = kHidden, .dtype = kType}};
    case Op::kInverseRowNorms:
      return {{.op = op, .n = kFfn, .k = kHidden, .rank = 16}};
    case Op::kAttention:
    case Op::kAttentionBackward:
      return Attentions(op);
    case Op::kRope:
    case Op::kRopeBackward:
      return {AttentionOf(op, 1, {0, 2048})};
    case Op::kGatherRows:
      return {{.op = op, .m = 1024, .n = 2048, .k = kHidden, .dtype = kType}};
    case Op::kEmbedding:
      return {{.op = op, .m = 2048, .n = kVocab, .k = kHidden, .dtype = kType}};
    case Op::kLinearCrossEntropy:
      return {{.op = op, .m = 2048, .n = kVocab, .k = kHidden, .dtype = kType}};
    case Op::kSample:
      return {{.op = op, .m = 64, .n = kVocab, .sampling = {.temperature = 0}},
              {.op = op, .m = 64, .n = kVocab, .sampling = {.temperature = 1}},
              {.op = op, .m = 64, .n = kVocab, .sampling = {.temperature = 1, .top_k = 50, .top_p = 0.9f}}};
    case Op::kActivate:
    case Op::kActivateBackward:
    case Op::kActivateMul:
    case Op::kActivateMulBackward:
      return {{.op = op, .m = 2048, .k = kFfn, .dtype = kType}};
    case Op::kRoute:
    case Op::kRouteBackward:
      return {{.op = op, .m = 2048, .n = 128, .top_k = 8}};
    case Op::kGatherChoices:
    case Op::kCombineChoices:
    case Op::kWeighChoicesBackward:
      return {{.op = op, .m = 2048, .k = kHidden, .dtype = kType, .top_k = 8, .experts = 128}};
    case Op::kExpertLinear:  // of Qwen3-30B-A3B
    case Op::kExpertLinearBackwardInput:
      return {{.op = op, .m = 1, .n = 768, .k = 2048, .dtype = kType, .top_k = 8, .experts = 128},
              {.op = op, .m = 64, .n = 768, .k = 2048, .dtype = kType, .top_k = 8, .experts = 128},
              {.op = op, .m = 2048, .n = 768, .k = 2048, .dtype = kType, .top_k = 8, .experts = 128}};
    case Op::kClipGradients:
    case Op::kAdamW:
      return {{.op = op, .m = 40, .k = 1 << 20}};  // rank 16 on every linear of 8B
    default:
      return {{.op = op, .m = 64, .k = kHidden, .dtype = kType}, {.op = op, .m = 8192, .k = kHidden, .dtype = kType}};
  }
}

}  // namespace tandem::optest
