// Routed experts (Shazeer et al. 2017; as in Mixtral): choosing them, moving rows to them and back, and the products
// that each row takes by its own expert's matrix. Who was chosen stays on the device (Routing in tandem/op_args.h).
#pragma once

#include "tandem/backend.h"

namespace tandem::ops {

// From logits [m, num_experts] f32. A row's choice depends on that row alone; of equal logits the lower number is
// chosen.
void Route(Backend& backend, const TensorView& logits, const RouterOptions& options, const Routing& routing);
struct RouteGradients {
  TensorView dweights;  // [m, top_k] f32, read
  TensorView dlogits;   // [m, num_experts] f32, written
};
void RouteBackward(Backend& backend, const TensorView& logits, const RouterOptions& options, const Routing& routing,
                   const RouteGradients& gradients);
// y [m * top_k, n]: the rows of x [m, n] that made the choices
void GatherChoices(Backend& backend, const TensorView& x, const Routing& routing, const TensorView& y);
// y [m, n] += each row's choices of x [m * top_k, n], times factors [m, top_k] or 1, in the order of the experts'
// numbers
void CombineChoices(Backend& backend, const TensorView& x, const Routing& routing, const TensorView& factors,
                    const TensorView& y);
// dweights [m, top_k] = dx . x of each choice, then dx *= its weight
void WeighChoicesBackward(Backend& backend, const TensorView& x, const Routing& routing, const TensorView& dx,
                          const TensorView& dweights);
// y [m * top_k, out] = x W^T by the experts' own W; dx (+)= dy W
void ExpertLinear(Backend& backend, const TensorView& x, ExpertMatrices w, const Routing& routing, const TensorView& y);
void ExpertLinearBackwardInput(Backend& backend, const TensorView& dy, ExpertMatrices w, const Routing& routing,
                               Accumulate mode, const TensorView& dx);

}  // namespace tandem::ops
