// The reference of what is done row by row: norms, RoPE, activations, sums, routed experts (reference.cc dispatches).
#pragma once

#include <string>
#include <vector>

#include "ops/cases.h"
#include "ops/prepared_op.h"

namespace tandem::optest {

using Values = std::vector<double>;

// What an accumulating output starts from.
inline Values Initial(const Tensors& in, const std::string& name, int64_t count) {
  const auto found = in.find(name);
  return found == in.end() ? Values(count, 0.0) : found->second;
}

Tensors RmsNorm(const Case& c, const Tensors& in);
Tensors RmsNormBackward(const Case& c, const Tensors& in);
Tensors LayerNorm(const Case& c, const Tensors& in);
Tensors LayerNormBackward(const Case& c, const Tensors& in);
Tensors Rope(const Case& c, const Tensors& in, const std::string& name, double sign);
Tensors Activate(const Case& c, const Tensors& in);
Tensors ActivateBackward(const Case& c, const Tensors& in);
Tensors Elementwise(const Case& c, const Tensors& in);
// reference_experts.cc
Tensors Route(const Case& c, const Tensors& in);
Tensors RouteBackward(const Case& c, const Tensors& in);
Tensors ExpertChoices(const Case& c, const Tensors& in);
Tensors ExpertProducts(const Case& c, const Tensors& in);

}  // namespace tandem::optest
