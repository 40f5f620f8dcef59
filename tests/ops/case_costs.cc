// What an operation costs: the arithmetic it needs and the bytes it has to move, once each.
#include "ops/cases.h"

namespace tandem::optest {
namespace {

double SizeOf(DType dtype) {
  return static_cast<double>(ByteSize(dtype));
}

// Pairs of (row, position it sees) of all sequences.
double Pairs(const Case& c) {
  double pairs = 0;
  for (const SequenceShape& s : c.sequences) pairs += s.num_rows * (s.first_position + (s.num_rows + 1) / 2.0);
  return pairs;
}

// Whose weights are read, of random choices.
double ExpertsChosen(const Case& c) {
  return c.experts * (1 - std::pow(1 - static_cast<double>(c.top_k) / c.experts, static_cast<double>(c.m)));
}

}  // namespace

double Flops(const Case& c) {
  const double m = c.m, n = c.n, k = c.k, rank = c.rank, choices = m * c.top_k;
  switch (c.op) {
    case Op::kLinear:
    case Op::kLinearBackwardInput:
      return 2 * m * n * k;
    case Op::kExpertLinear:
    case Op::kExpertLinearBackwardInput:
      return 2 * choices * n * k;
    case Op::kLora:
      return 2 * m * rank * (k + n);
    case Op::kLoraBackward:
      return 2 * m * rank * (3 * k + 2 * n);  // u, du, dA, dB, dx
    case Op::kScaleColumns:
      return 3 * m * k;
    case Op::kScaleColumnsBackward:
      return 5 * m * k;
    case Op::kRowSquares:
      return 2 * n * k;
    case Op::kInverseRowNorms:
      return 2 * n * rank * (rank + 2);
    case Op::kAttention:
      return 4 * Pairs(c) * c.num_heads() * c.head_dim;
    case Op::kAttentionBackward:
      return 10 * Pairs(c) * c.num_heads() * c.head_dim;  // S, dP, dV, dQ, dK
    case Op::kLinearCrossEntropy:
      return 4 * m * n * k;  // logits and dx
    case Op::kAdamW:
      return 14 * m * k;
    case Op::kRope:
    case Op::kRopeBackward:
      return 3 * m * c.num_heads() * c.head_dim;
    case Op::kRmsNorm:
    case Op::kActivate:
    case Op::kActivateMul:
      return 4 * m * k;
    case Op::kLayerNorm:
    case Op::kSoftCap:
      return 6 * m * k;
    case Op::kRmsNormBackward:
    case Op::kLayerNormBackward:
    case Op::kActivateBackward:
    case Op::kActivateMulBackward:
      return 10 * m * k;
    case Op::kCombineChoices:
    case Op::kWeighChoicesBackward:
      return 2 * choices * k;
    case Op::kClipGradients:
      return 2 * m * k;
    case Op::kAdd:
    case Op::kAddBias:
    case Op::kScale:
      return m * k;
    case Op::kRoute:
    case Op::kRouteBackward:
      return 4 * m * n;
    case Op::kEmbedding:
    case Op::kGatherRows:
    case Op::kGatherChoices:
    case Op::kSample:
      return 0;
  }
  return 0;
}

double Bytes(const Case& c) {
  const double m = c.m, n = c.n, k = c.k, rank = c.rank, weight = n * k * SizeOf(c.dtype), choices = m * c.top_k;
  const double q = m * c.num_heads() * c.head_dim;
  const double kv = static_cast<double>(c.context()) * c.num_kv_heads * c.head_dim;
  switch (c.op) {
    case Op::kLinear:
    case Op::kLinearBackwardInput:
      return weight + 4 * m * (k + n);
    case Op::kExpertLinear:
    case Op::kExpertLinearBackwardInput:
      return ExpertsChosen(c) * weight + 4 * choices * (k + n);
    case Op::kLora:
      return 4 * (rank * (k + n) + m * (k + 2 * n));
    case Op::kLoraBackward:
      return 4 * (3 * rank * (k + n) + m * (3 * k + n));
    case Op::kRowSquares:
      return weight;
    case Op::kInverseRowNorms:
      return 8 * n * rank;
    case Op::kEmbedding:
      return m * k * (SizeOf(c.dtype) + 4);
    case Op::kAttention:
      return 8 * q + 2 * kv * SizeOf(c.dtype);
    case Op::kAttentionBackward:
      return 16 * q + 2 * kv * (SizeOf(c.dtype) + 8);
    case Op::kLinearCrossEntropy:
      return weight + 8 * m * k;
    case Op::kSample:
      return 4 * m * n;
    case Op::kRope:
    case Op::kRopeBackward:
      return 8 * q;
    case Op::kClipGradients:
      return 4 * m * k;
    case Op::kGatherChoices:
      return 4 * (m + choices) * k;
    case Op::kCombineChoices:
      return 4 * (2 * m + choices) * k;
    case Op::kWeighChoicesBackward:
      return 12 * choices * k;
    case Op::kRmsNorm:
    case Op::kLayerNorm:
    case Op::kActivate:
    case Op::kAddBias:
    case Op::kScale:
    case Op::kSoftCap:
    case Op::kGatherRows:
    case Op::kScaleColumns:
      return 8 * m * k;
    case Op::kActivateBackward:
    case Op::kActivateMul:
    case Op::kAdd:
    case Op::kRmsNormBackward:
    case Op::kLayerNormBackward:
    case Op::kScaleColumnsBackward:
      return 12 * m * k;
    case Op::kActivateMulBackward:
      return 20 * m * k;
    case Op::kRoute:
      return 4 * m * (n + 2 * c.top_k);
    case Op::kRouteBackward:
      return 8 * m * (n + c.top_k);
    case Op::kAdamW:
      return 32 * m * k;
  }
  return 0;
}

}  // namespace tandem::optest
