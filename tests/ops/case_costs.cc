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

}  // namespace

double Flops(const Case& c) {
  const double m = c.m, n = c.n, k = c.k, rank = c.rank;
  switch (c.op) {
    case Op::kLinear:
    case Op::kLinearBackwardInput:
      return 2 * m * n * k;
    case Op::kLora:
      return 2 * m * rank * (k + n);
    case Op::kLoraBackward:
      return 2 * m * rank * (3 * k + 2 * n);  // u, du, dA, dB, dx
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
    case Op::kScatterAddRows:
    case Op::kRowDots:
      return 2 * m * k;
    case Op::kAdd:
    case Op::kAddBias:
    case Op::kScale:
    case Op::kScaleRows:
    case Op::kSumOfSquares:
      return m * k;
    case Op::kRoute:
    case Op::kRouteBackward:
      return 4 * m * n;
    case Op::kEmbedding:
    case Op::kGatherRows:
    case Op::kSample:
      return 0;
  }
  return 0;
}

double Bytes(const Case& c) {
  const double m = c.m, n = c.n, k = c.k, rank = c.rank, weight = n * k * SizeOf(c.dtype);
  const double q = m * c.num_heads() * c.head_dim;
  const double kv = static_cast<double>(c.context()) * c.num_kv_heads * c.head_dim;
  switch (c.op) {
    case Op::kLinear:
    case Op::kLinearBackwardInput:
      return weight + 4 * m * (k + n);
    case Op::kLora:
      return 4 * (rank * (k + n) + m * (k + 2 * n));
    case Op::kLoraBackward:
      return 4 * (3 * rank * (k + n) + m * (3 * k + n));
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
    case Op::kSumOfSquares:
      return 4 * m * k;
    case Op::kRmsNorm:
    case Op::kLayerNorm:
    case Op::kActivate:
    case Op::kAddBias:
    case Op::kScale:
    case Op::kScaleRows:
    case Op::kSoftCap:
    case Op::kGatherRows:
    case Op::kRowDots:
      return 8 * m * k;
    case Op::kActivateBackward:
    case Op::kActivateMul:
    case Op::kAdd:
    case Op::kScatterAddRows:
    case Op::kRmsNormBackward:
    case Op::kLayerNormBackward:
      return 12 * m * k;
    case Op::kActivateMulBackward:
      return 20 * m * k;
    case Op::kRoute:
      return 4 * m * (n + 2 * c.top_k);
    case Op::kRouteBackward:
      return 8 * m * (n + c.top_k);
    case Op::kAdamW:
      return 28 * m * k;
  }
  return 0;
}

}  // namespace tandem::optest
