// Norms of the rows of the backbone's linears, and of these with an adapter's B A added: what DoRA (Liu et al. 2024)
// divides by. Without a copy of W: ||w + s b A||^2 = ||w||^2 + 2 s b . (A w) + s^2 b . (A A^T) b, where ||w||^2 is
// summed once for each linear, when first asked for, and A w is a product as any other.
#pragma once

#include <map>
#include <vector>

#include "adapter/adapter_store.h"
#include "backend/device_tensor.h"
#include "model/weights.h"
#include "tandem/backend.h"
#include "tensor/tensor.h"

namespace tandem {

// Step thread only. Borrows the backend and the weights.
class RowNorms {
 public:
  RowNorms(Backend& backend, const ModelWeights& weights, DType activations)
      : backend_(backend),
        weights_(weights),
        activations_(activations),
        squares_(weights.layers.size() * kNumLinears) {}

  // ||w|| of every row, [out] on the host: where a fresh DoRA adapter begins. Waits for the device.
  Tensor Of(int layer, LinearKind kind);
  // Makes the adapter's inverse_norms of its A and B, where it needs such. Within the step that uses it, or before.
  void Update(const Adapter& adapter);

 private:
  struct Products {          // of adapters of one rank
    DeviceTensor projected;  // [rank, widest out] A W^T
    DeviceTensor gram;       // [rank, rank] A A^T
    DeviceTensor a_narrow;   // [rank, widest in] where activations are not f32
  };
  const DeviceTensor& SquaresOf(int layer, LinearKind kind);
  Products& ProductsOf(int64_t rank);
  void UpdateLinear(int layer, LinearKind kind, const AdapterBypass& bypass);

  Backend& backend_;
  const ModelWeights& weights_;
  const DType activations_;
  std::vector<DeviceTensor> squares_;  // [layers * kNumLinears], [out] each; empty until asked for
  std::map<int64_t, Products> products_;
};

}  // namespace tandem
