#include "ops/cases.h"

#include <cmath>

#include "absl/strings/str_cat.h"

namespace tandem::optest {
namespace {

constexpr DType kWeightTypes[] = {DType::kF32, DType::kBf16};

Case AttentionCase(Op op, int num_kv_heads, int group, int head_dim, DType dtype,
                   std::vector<SequenceShape> sequences) {
  Case c{.op = op,
         .num_kv_heads = num_kv_heads,
         .group = group,
         .head_dim = head_dim,
         .sequences = std::move(sequences),
         .dtype = dtype};
  for (const SequenceShape& s : c.sequences) c.m += s.num_rows;
  return c;
}

constexpr Activation kActivations[] = {Activation::kSilu, Activation::kGeluTanh, Activation::kGelu, Activation::kRelu};

// Element-wise operations, norms, optimizers.
std::vector<Case> RowCases(Op op) {
  const bool is_activation =
      op == Op::kActivate || op == Op::kActivateBackward || op == Op::kActivateMul || op == Op::kActivateMulBackward;
  std::vector<Case> cases;
  for (const Activation activation : kActivations) {
    if (!is_activation && activation != Activation::kSilu) break;
    for (const int64_t m : {1, 3, 13, 40}) {
      for (const int64_t k : {1, 15, 16, 257, 600, 2048}) {
        const bool is_norm =
            op == Op::kRmsNorm || op == Op::kLayerNorm || op == Op::kRmsNormBackward || op == Op::kLayerNormBackward;
        const bool has_mode = is_norm && (k + m) % 2 == 1;
        cases.push_back({.op = op,
                         .m = m,
                         .k = k,
                         .mode = has_mode ? Accumulate::kYes : Accumulate::kNo,
                         .activation = activation});
      }
    }
  }
  return cases;
}

std::vector<Case> ExpertCases(Op op) {
  std::vector<Case> cases;
  if (op == Op::kRoute || op == Op::kRouteBackward) {
    for (const int64_t m : {1, 3, 40}) {
      for (const auto& [n, top_k] : {std::pair{2, 1}, {4, 2}, {8, 8}, {33, 5}, {128, 8}}) {
        for (const bool normalize : {true, false}) {
          cases.push_back({.op = op, .m = m, .n = n, .top_k = top_k, .normalize = normalize});
        }
      }
    }
    return cases;
  }
  const bool is_product = op == Op::kExpertLinear || op == Op::kExpertLinearBackwardInput;
  for (const int64_t m : {1, 3, 40, 130}) {
    for (const auto& [experts, top_k] : {std::pair{1, 1}, {4, 2}, {33, 5}}) {
      for (const int64_t k : {1, 72, 257}) {
        for (const bool weighted : {true, false}) {
          if (!weighted && op != Op::kCombineChoices) continue;
          cases.push_back({.op = op, .m = m, .k = k, .top_k = top_k, .experts = experts, .weighted = weighted});
          if (!is_product) continue;
          cases.back().n = k == 72 ? 200 : 33;  // 72 and 200: tensor cores, in part of a tile
          cases.back().mode = op == Op::kExpertLinearBackwardInput && m % 2 == 1 ? Accumulate::kYes : Accumulate::kNo;
          cases.push_back(cases.back());
          cases.back().dtype = DType::kBf16;
        }
      }
    }
  }
  return cases;
}

// Around every edge of the products: register tiles of 6 and 12 rows, row blocks of 48 and 120, panels of 16 and 64
// columns, blocks of 256 along k (512 in pairs of bf16).
std::vector<Case> LinearCases(Op op) {
  std::vector<Case> cases;
  for (const DType dtype : kWeightTypes) {
    for (const int64_t k : {1, 15, 256, 257, 600}) {
      for (const int64_t n : {1, 17, 64, 250}) {
        for (const int64_t m : {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 24, 25, 48, 49, 119, 120, 121, 240}) {
          const Accumulate mode = (m + n + k) % 2 == 0 ? Accumulate::kYes : Accumulate::kNo;
          cases.push_back({.op = op, .m = m, .n = n, .k = k, .dtype = dtype, .mode = mode});
        }
      }
    }
  }
  return cases;
}

std::vector<Case> LoraCases(Op op) {
  std::vector<Case> cases;
  for (const int64_t rank : {1, 4, 8, 16, 17, 64}) {
    for (const auto& [k, n] : {std::pair{15, 16}, {64, 250}, {257, 33}}) {
      for (const int64_t m : {1, 2, 13, 121}) cases.push_back({.op = op, .m = m, .n = n, .k = k, .rank = rank});
    }
  }
  for (const Activation activation : kActivations) {
    for (const int64_t rank : {1, 17, 40}) {
      for (const int64_t m : {1, 13, 70}) {
        cases.push_back({.op = op, .m = m, .n = 64, .k = 64, .rank = rank, .activation = activation});
        cases.back().bottleneck = true;
      }
    }
  }
  return cases;
}

std::vector<Case> RowNormCases(Op op) {
  std::vector<Case> cases;
  for (const DType dtype : kWeightTypes) {
    for (const int64_t n : {1, 17, 64, 250}) {
      for (const int64_t k : {1, 15, 257, 600}) {
        if (op == Op::kRowSquares) cases.push_back({.op = op, .n = n, .k = k, .dtype = dtype});
      }
      for (const int64_t rank : {1, 8, 33}) {
        if (op == Op::kInverseRowNorms && dtype == DType::kF32) {
          cases.push_back({.op = op, .n = n, .k = 40, .rank = rank});
        }
      }
    }
  }
  return cases;
}

// Windows around the block size of 16 and the tile of 24 rows, and the cap on its own and with a window.
constexpr std::pair<int, float> kMasks[] = {{0, 0.0f}, {1, 0.0f}, {16, 0.5f}, {23, 0.0f}, {0, 0.5f}};

std::vector<Case> AttentionCases(Op op) {
  std::vector<Case> cases;
  const auto add = [&](int group, int head_dim, DType dtype, std::vector<SequenceShape> sequences) {
    for (const auto& [window, soft_cap] : kMasks) {
      if (head_dim > 32 && (window > 0 || soft_cap > 0)) continue;  // the mask knows nothing of head_dim
      Case c = AttentionCase(op, 2, group, head_dim, dtype, sequences);
      c.window = window;
      c.soft_cap = soft_cap;
      cases.push_back(std::move(c));
    }
  };
  for (const DType dtype : kWeightTypes) {
    for (const int group : {1, 2, 4, 8}) {
      for (const int head_dim : {16, 32, 64, 128}) {
        if (op == Op::kAttention) {
          // Whole prefills, chunks in the middle, decodes: in one call.
          add(group, head_dim, dtype, {{0, 1}, {0, 15}, {99, 1}, {0, 16}, {0, 17}, {16, 1}, {37, 40}, {0, 100}});
          continue;
        }
        for (const SequenceShape window : std::vector<SequenceShape>{{0, 1}, {0, 17}, {15, 1}, {37, 40}}) {
          add(group, head_dim, dtype, {window});
        }
      }
    }
  }
  return cases;
}

}  // namespace

int64_t Case::context() const {
  int64_t sum = 0;
  for (const SequenceShape& s : sequences) sum += s.context();
  return sum;
}

std::string_view Name(Op op) {
  constexpr std::string_view kNames[] = {"linear",
                                         "linear_backward_input",
                                         "lora",
                                         "lora_backward",
                                         "scale_columns",
                                         "scale_columns_backward",
                                         "row_squares",
                                         "inverse_row_norms",
                                         "embedding",
                                         "gather_rows",
                                         "rms_norm",
                                         "rms_norm_backward",
                                         "layer_norm",
                                         "layer_norm_backward",
                                         "rope",
                                         "rope_backward",
                                         "activate",
                                         "activate_backward",
                                         "activate_mul",
                                         "activate_mul_backward",
                                         "add",
                                         "add_bias",
                                         "scale",
                                         "soft_cap",
                                         "route",
                                         "route_backward",
                                         "gather_choices",
                                         "combine_choices",
                                         "weigh_choices_backward",
                                         "expert_linear",
                                         "expert_linear_backward_input",
                                         "attention",
                                         "attention_backward",
                                         "linear_cross_entropy",
                                         "sample",
                                         "clip_gradients",
                                         "adamw"};
  return kNames[static_cast<int>(op)];
}

std::string Name(const Case& c) {
  std::string name = absl::StrCat(std::string(Name(c.op)), "/", std::string(Name(c.dtype)), "/m:", c.m);
  if (c.n > 0) absl::StrAppend(&name, "/n:", c.n);
  if (c.k > 0) absl::StrAppend(&name, "/k:", c.k);
  if (c.rank > 0) absl::StrAppend(&name, "/rank:", c.rank);
  if (c.num_kv_heads > 0) absl::StrAppend(&name, "/heads:", c.num_heads(), ":", c.num_kv_heads, "x", c.head_dim);
  if (!c.sequences.empty()) absl::StrAppend(&name, "/context:", c.context());
  if (c.mode == Accumulate::kYes) absl::StrAppend(&name, "/accumulate");
  if (c.bottleneck) absl::StrAppend(&name, "/bottleneck");
  if (c.activation != Activation::kSilu) absl::StrAppend(&name, "/activation:", static_cast<int>(c.activation));
  if (c.window > 0) absl::StrAppend(&name, "/window:", c.window);
  if (c.soft_cap > 0) absl::StrAppend(&name, "/soft_cap:", c.soft_cap);
  if (c.experts > 0) absl::StrAppend(&name, "/experts:", c.experts, c.weighted ? "" : "/unweighted");
  if (c.top_k > 0) absl::StrAppend(&name, "/top_k:", c.top_k, c.normalize ? "" : "/unnormalized");
  if (c.sampling.temperature > 0 && c.op == Op::kSample) absl::StrAppend(&name, "/top_p:", c.sampling.top_p);
  return name;
}

int32_t LabelOf(const Case& c, int64_t row) {
  return row % 3 == 1 ? kIgnoredLabel : static_cast<int32_t>(row * 7919 % c.n);
}

std::vector<Case> CorrectnessCases(Op op) {
  std::vector<Case> cases;
  switch (op) {
    case Op::kLinear:
    case Op::kLinearBackwardInput:
      return LinearCases(op);
    case Op::kLora:
    case Op::kLoraBackward:
      return LoraCases(op);
    case Op::kRowSquares:
    case Op::kInverseRowNorms:
      return RowNormCases(op);
    case Op::kAttention:
    case Op::kAttentionBackward:
      return AttentionCases(op);
    case Op::kEmbedding:
    case Op::kGatherRows:
      for (const DType dtype : kWeightTypes) {
        for (const int64_t k : {1, 16, 257}) {
          for (const int64_t n : {1, 16, 33}) cases.push_back({.op = op, .m = 40, .n = n, .k = k, .dtype = dtype});
        }
      }
      break;
    case Op::kRmsNorm:
    case Op::kRmsNormBackward:
    case Op::kLayerNorm:
    case Op::kLayerNormBackward:
    case Op::kActivate:
    case Op::kActivateBackward:
    case Op::kActivateMul:
    case Op::kActivateMulBackward:
    case Op::kAdd:
    case Op::kAddBias:
    case Op::kScale:
    case Op::kSoftCap:
    case Op::kClipGradients:
    case Op::kScaleColumns:
    case Op::kScaleColumnsBackward:
    case Op::kAdamW:
      return RowCases(op);
    case Op::kRoute:
    case Op::kRouteBackward:
    case Op::kGatherChoices:
    case Op::kCombineChoices:
    case Op::kWeighChoicesBackward:
    case Op::kExpertLinear:
    case Op::kExpertLinearBackwardInput:
      return ExpertCases(op);
    case Op::kRope:
    case Op::kRopeBackward:
      for (const int head_dim : {2, 16, 64, 128}) {
        for (const int num_heads : {1, 3, 8}) {
          cases.push_back(AttentionCase(op, num_heads, 1, head_dim, DType::kF32, {{0, 1}, {99, 1}, {5, 17}, {0, 40}}));
        }
      }
      break;
    case Op::kLinearCrossEntropy:
      for (const DType dtype : kWeightTypes) {
        for (const int64_t m : {1, 2, 32, 50, 200}) {
          for (const int64_t n : {2, 257, 1000}) {
            for (const float soft_cap : {0.0f, 3.0f}) {
              cases.push_back({.op = op, .m = m, .n = n, .k = 65, .dtype = dtype, .soft_cap = soft_cap});
            }
          }
        }
      }
      break;
    case Op::kSample:  // greedy; tests/ops/sampling_test.cc has the distributions
      for (const int64_t n : {1, 2, 100, 4097})
        cases.push_back({.op = op, .m = 20, .n = n, .sampling = {.temperature = 0}});
      break;
  }
  return cases;
}

std::vector<Case> SpeedCases(Op op) {
  constexpr int64_t kHidden = 2048, kFfn = 5632, kVocab = 32000;
  std::vector<Case> cases;
  switch (op) {
    case Op::kLinear:
    case Op::kLinearBackwardInput:
      for (const DType dtype : kWeightTypes) {
        for (const auto& [n, k] :
             {std::pair{kHidden, kHidden}, {kHidden / 8, kHidden}, {kFfn, kHidden}, {kHidden, kFfn}}) {
          for (const int64_t m : {1, 4, 8, 16, 64, 128, 512}) {
            if (op == Op::kLinear || m >= 64) cases.push_back({.op = op, .m = m, .n = n, .k = k, .dtype = dtype});
          }
        }
      }
      break;
    case Op::kLora:
    case Op::kLoraBackward:
      for (const int64_t m : {1, 16, 128, 512}) {
        cases.push_back({.op = op, .m = m, .n = kHidden, .k = kHidden, .rank = 16});
      }
      break;
    case Op::kAttention:
      cases.push_back(AttentionCase(op, 4, 8, 64, DType::kBf16, {{1023, 1}}));
      cases.push_back(AttentionCase(op, 4, 8, 64, DType::kBf16, {{0, 512}}));
      cases.push_back(AttentionCase(op, 4, 8, 64, DType::kF32, {{1023, 1}}));
      cases.push_back(AttentionCase(op, 4, 8, 64, DType::kF32, {{1024, 512}}));
      break;
    case Op::kAttentionBackward:
      cases.push_back(AttentionCase(op, 4, 8, 64, DType::kF32, {{0, 512}}));
      cases.push_back(AttentionCase(op, 4, 8, 64, DType::kBf16, {{1024, 128}}));
      break;
    case Op::kRope:
    case Op::kRopeBackward:
      cases.push_back(AttentionCase(op, 32, 1, 64, DType::kF32, {{0, 128}}));
      break;
    case Op::kEmbedding:
    case Op::kGatherRows:
      cases.push_back({.op = op, .m = 128, .n = kVocab, .k = kHidden, .dtype = DType::kBf16});
      break;
    case Op::kLinearCrossEntropy:
      cases.push_back({.op = op, .m = 192, .n = kVocab, .k = kHidden, .dtype = DType::kBf16});
      break;
    case Op::kSample:
      cases.push_back({.op = op, .m = 8, .n = kVocab, .sampling = {.temperature = 0}});
      cases.push_back({.op = op, .m = 8, .n = kVocab, .sampling = {.temperature = 1}});
      cases.push_back({.op = op, .m = 8, .n = kVocab, .sampling = {.temperature = 1, .top_k = 50, .top_p = 0.9f}});
      break;
    case Op::kRmsNorm:
    case Op::kRmsNormBackward:
    case Op::kLayerNorm:
    case Op::kLayerNormBackward:
    case Op::kAdd:
    case Op::kAddBias:
    case Op::kScale:
    case Op::kScaleColumns:
    case Op::kScaleColumnsBackward:
      cases.push_back({.op = op, .m = 128, .k = kHidden});
      break;
    case Op::kActivate:
    case Op::kActivateBackward:
    case Op::kActivateMul:
    case Op::kActivateMulBackward:
      cases.push_back({.op = op, .m = 128, .k = kFfn});
      cases.push_back({.op = op, .m = 128, .k = kFfn, .activation = Activation::kGeluTanh});
      break;
    case Op::kRowSquares:
      for (const DType dtype : kWeightTypes) cases.push_back({.op = op, .n = kFfn, .k = kHidden, .dtype = dtype});
      break;
    case Op::kInverseRowNorms:
      cases.push_back({.op = op, .n = kFfn, .k = kHidden, .rank = 16});
      break;
    case Op::kSoftCap:
      cases.push_back({.op = op, .m = 8, .k = kVocab});
      break;
    case Op::kRoute:
    case Op::kRouteBackward:
      cases.push_back({.op = op, .m = 128, .n = 128, .top_k = 8});
      break;
    case Op::kGatherChoices:
    case Op::kCombineChoices:
    case Op::kWeighChoicesBackward:
      cases.push_back({.op = op, .m = 64, .k = kHidden, .top_k = 2, .experts = 8});
      break;
    case Op::kExpertLinear:
    case Op::kExpertLinearBackwardInput:
      for (const int64_t m : {1, 64}) {
        cases.push_back({.op = op, .m = m, .n = 1024, .k = 1024, .dtype = DType::kBf16, .top_k = 2, .experts = 8});
      }
      break;
    case Op::kClipGradients:
    case Op::kAdamW:
      cases.push_back({.op = op, .m = 16, .k = 1 << 18});
      break;
  }
  return cases;
}

std::vector<Op> AllOps() {
  std::vector<Op> ops;
  for (int i = 0; i <= static_cast<int>(Op::kAdamW); ++i) ops.push_back(static_cast<Op>(i));
  return ops;
}

}  // namespace tandem::optest
