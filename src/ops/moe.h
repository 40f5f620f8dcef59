// Routed experts (Shazeer et al. 2017; as in Mixtral): choosing them, and moving rows to them and back.
#pragma once

#include "tandem/backend.h"

namespace tandem::ops {

// From logits [m, num_experts]: experts and weights [m * top_k], each row's by expert number, rising. A row's choice
// depends on that row alone; of equal logits the lower number is chosen.
void Route(Backend& backend, const TensorView& logits, const RouterOptions& options, std::span<int32_t> experts,
           std::span<float> weights);
struct RouteGradients {
  std::span<const float> dweights;  // [m * top_k], read
  TensorView dlogits;               // [m, num_experts], written
};
void RouteBackward(Backend& backend, const TensorView& logits, const RouterOptions& options,
                   std::span<const int32_t> experts, const RouteGradients& gradients);
// y[i] = x[rows[i]]
void GatherRows(Backend& backend, const TensorView& x, std::span<const int32_t> rows, const TensorView& y);
// y[rows[i]] += factors[i] * x[i]; rows are distinct.
void ScatterAddRows(Backend& backend, const TensorView& x, std::span<const int32_t> rows,
                    std::span<const float> factors, const TensorView& y);
// x[i] *= factors[i]
void ScaleRows(Backend& backend, std::span<const float> factors, const TensorView& x);
// dots[i] = x[i] . y[i]
void RowDots(Backend& backend, const TensorView& x, const TensorView& y, std::span<float> dots);

}  // namespace tandem::ops
