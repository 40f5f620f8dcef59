// How far an operation may be from the double-precision reference, and why.
#include <cmath>

#include "ops/cases.h"

namespace tandem::optest {
namespace {

Tolerance F32Tolerance(const Case& c) {
  constexpr double kEpsilon = 0x1p-24;  // half an ulp of f32, relative
  // A sum of k products rounds k times, each time by up to kEpsilon of what is summed so far: a random walk whose
  // standard deviation is about sqrt(k / 6) of kEpsilon * rms. Ten of these never happen by chance.
  const auto chain = [](int64_t k) { return kEpsilon * (4 + 4 * std::sqrt(static_cast<double>(k))); };
  switch (c.op) {
    case Op::kLinear:
    case Op::kLora:
    case Op::kExpertLinear:
      return {.relative = chain(c.k + c.rank), .reason = "one fp32 chain over the inputs"};
    case Op::kLinearBackwardInput:
    case Op::kExpertLinearBackwardInput:
      return {.relative = chain(c.n), .reason = "one fp32 chain over the outputs"};
    case Op::kLoraBackward:
      return {.relative = chain(c.k + c.n + c.m), .reason = "fp32 chains over in, out and rows, one into the other"};
    case Op::kEmbedding:
    case Op::kGatherRows:
    case Op::kGatherChoices:
      return {.reason = "a copy"};
    case Op::kAdd:
    case Op::kAddBias:
    case Op::kScale:
      return {.relative = kEpsilon, .reason = "one rounding"};
    case Op::kCombineChoices:
      return {.relative = 4 * c.top_k * kEpsilon, .reason = "a product and a sum for each choice"};
    case Op::kWeighChoicesBackward:
      return {.relative = chain(c.k) + 16 * kEpsilon,
              .absolute = chain(c.k),
              .reason = "a sum in lanes of 16, whose terms may cancel; weights as Route's"};
    case Op::kScaleColumns:
      return {.relative = 4 * kEpsilon, .absolute = 4 * kEpsilon, .reason = "a difference, two products, a sum"};
    case Op::kScaleColumnsBackward:
      return {.relative = chain(c.m), .absolute = chain(c.m), .reason = "a chain over rows, whose terms may cancel"};
    case Op::kRowSquares:
      return {.relative = chain(256), .reason = "f32 sums of up to 256 squares in doubles; or a tree of them"};
    case Op::kInverseRowNorms:
      return {.relative = 4 * chain(c.rank * c.rank), .reason = "sums of rank^2 terms, some cancelling; a root"};
    case Op::kRoute:
      return {.relative = 16 * kEpsilon, .reason = "exp within 1 ulp, a sum, two divisions"};
    case Op::kRouteBackward:
      return {.relative = 16 * kEpsilon, .absolute = 16 * kEpsilon, .reason = "as forward; its terms cancel"};
    case Op::kSoftCap:
      return {.relative = 16 * kEpsilon, .reason = "tanh within 4 ulp, two products"};
    case Op::kRope:
    case Op::kRopeBackward:
      return {.relative = 3 * kEpsilon, .reason = "two products and a sum"};
    case Op::kRmsNorm:
      return {.relative = 16 * kEpsilon, .reason = "a mean of squares in lanes of 16, a root, a few products"};
    case Op::kLayerNorm:
      return {.relative = 4 * kEpsilon, .absolute = 4 * kEpsilon, .reason = "in double, then a product and a sum"};
    case Op::kRmsNormBackward:
    case Op::kLayerNormBackward:
      return {.relative = 16 * kEpsilon, .absolute = 16 * kEpsilon, .reason = "as forward; its two terms may cancel"};
    case Op::kActivate:
    case Op::kActivateBackward:
    case Op::kActivateMul:
    case Op::kActivateMulBackward:
      return {.relative = 16 * kEpsilon, .reason = "exp or tanh within 4 ulp, a division, a few products"};
    // Over a bf16 pool q and P may be rounded to bf16 too (2^-9 of each); where values cancel, the sum is smaller.
    case Op::kAttention:
      return {
          .relative = chain(c.head_dim) + chain(c.context()) + (c.dtype == DType::kBf16 ? 0x1p-8 : 0),
          .absolute = c.dtype == DType::kBf16 ? 0x1p-8 : 0,
          .reason = "chains over head_dim and context; exp turns the error of a score of order 1 into a relative one"};
    case Op::kAttentionBackward:
      return {.relative = 2 * chain(c.head_dim) + 2 * chain(c.context()) + (c.dtype == DType::kBf16 ? 0x1p-8 : 0),
              .absolute = chain(c.head_dim) + (c.dtype == DType::kBf16 ? 0x1p-8 : 0),
              .reason = "as forward, twice; dP - D cancels where a row sees one position"};
    case Op::kLinearCrossEntropy: {
      const double logit = chain(c.k) * std::sqrt(static_cast<double>(c.k));
      // Where the head is bf16, the gradient of the logits may be rounded to bf16 (2^-9 of each) before the product;
      // its terms cancel, so what is lost is relative to their size, of order 1, not to the sum's.
      const double rounding = c.dtype == DType::kBf16 ? 0x1p-8 : 0;
      return {.relative = 2 * chain(c.k) + chain(c.n) + rounding,
              .absolute = logit + rounding,
              .reason = "differences of logits of rms sqrt(k) / 3"};
    }
    case Op::kSample:
      return {.reason = "the index of the maximum"};
    case Op::kClipGradients:
      return {.relative = chain(256), .reason = "f32 lanes folded into a double every 256 elements"};
    case Op::kAdamW:
      return {.relative = 16 * kEpsilon, .reason = "a dozen operations per element"};
  }
  return {};
}

// What rounding to bf16 adds: 2^-9 of a value each time.
Tolerance Bf16Tolerance(const Case& c) {
  switch (c.op) {
    case Op::kRowSquares:
    case Op::kInverseRowNorms:
      return {.reason = "f32 whatever activations are"};
    case Op::kLora:
    case Op::kLinearCrossEntropy:
      return {.relative = 0x1p-7, .reason = "a product of products, both rounded to bf16"};
    case Op::kLoraBackward:  // few terms of the size of sqrt(n), so a single one's rounding shows
      return {.relative = 0x1p-6, .reason = "adapters, u and du rounded to bf16 on their way into products"};
    case Op::kAttention:  // in a row that sees few positions the errors do not average out
      return {.relative = 0x1p-7, .absolute = 0x1p-9, .reason = "probabilities and the output rounded to bf16"};
    case Op::kAttentionBackward:
      return {.relative = 0x1p-6, .absolute = 0x1p-7, .reason = "output, P and dS rounded to bf16; dP - D cancels"};
    case Op::kRmsNormBackward:
    case Op::kLayerNormBackward:
      return {.relative = 0x1p-8, .absolute = 0x1p-9, .reason = "rounded to bf16"};
    default:
      return {.relative = 0x1p-8, .reason = "rounded to bf16"};
  }
}

}  // namespace

Tolerance ToleranceOf(const Case& c, DType activations) {
  Tolerance tolerance = F32Tolerance(c);
  const bool copy = c.op == Op::kEmbedding || c.op == Op::kGatherRows || c.op == Op::kGatherChoices;
  if (activations != DType::kBf16 || copy) return tolerance;
  const Tolerance rounding = Bf16Tolerance(c);
  return {tolerance.relative + rounding.relative, tolerance.absolute + rounding.absolute, rounding.reason};
}

}  // namespace tandem::optest
