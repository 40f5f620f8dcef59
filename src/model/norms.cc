// Which norm a family has, forward and backward.
#include "model/decoder.h"
#include "ops/norm.h"

namespace tandem {
namespace {

// x [m, heads * head_dim] as [m * heads, head_dim]: every head a row.
TensorView AsHeads(const TensorView& x, int head_dim) {
  return {x.data, x.dtype, {x.shape.num_elements() / head_dim, head_dim}};
}

}  // namespace

void Norm(const DecoderContext& context, const NormWeights& norm, const TensorView& x, Accumulate mode,
          const TensorView& y) {
  const float epsilon = context.desc.norm_eps;
  if (context.desc.norm == NormKind::kRms) {
    ops::RmsNorm(context.backend, x, norm.weight.view(), epsilon, mode, y);
  } else {
    ops::LayerNorm(context.backend, x, norm.weight.view(), norm.bias.view(), epsilon, mode, y);
  }
}

void NormBackward(const DecoderContext& context, const NormWeights& norm, const TensorView& x, const TensorView& dy,
                  Accumulate mode, const TensorView& dx) {
  const auto backward = context.desc.norm == NormKind::kRms ? ops::RmsNormBackward : ops::LayerNormBackward;
  backward(context.backend, x, norm.weight.view(), context.desc.norm_eps, dy, mode, dx);
}

void HeadNorm(const DecoderContext& context, const NormWeights& norm, const TensorView& x, const TensorView& y) {
  const int dim = context.desc.head_dim;
  ops::RmsNorm(context.backend, AsHeads(x, dim), norm.weight.view(), context.desc.norm_eps, Accumulate::kNo,
               AsHeads(y, dim));
}

void HeadNormBackward(const DecoderContext& context, const NormWeights& norm, const TensorView& x, const TensorView& dy,
                      const TensorView& dx) {
  const int dim = context.desc.head_dim;
  ops::RmsNormBackward(context.backend, AsHeads(x, dim), norm.weight.view(), context.desc.norm_eps, AsHeads(dy, dim),
                       Accumulate::kNo, AsHeads(dx, dim));
}

}  // namespace tandem
