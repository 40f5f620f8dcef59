// The operations once more, written as their definitions read, in double precision: the oracle of every backend.
#pragma once

#include <string>

#include "ops/prepared_op.h"

namespace tandem::optest {

// Every output of the case from its inputs.
Tensors Reference(const Case& c, const Tensors& inputs);

// Central differences of L = sum over outputs and elements of weights * Reference(forward): dL / d inputs[name].
// An output without weights counts nothing.
std::vector<double> FiniteDifferences(const Case& forward, const Tensors& inputs, const std::string& name,
                                      const Tensors& weights);

}  // namespace tandem::optest
