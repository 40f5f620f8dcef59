// Shape checks shared by the operations: a wrong shape is a programmer's error and names the tensor.
#pragma once

#include "base/check.h"
#include "tandem/tensor.h"

namespace tandem::ops {

inline void CheckF32(const TensorView& tensor, const Shape& want, const char* name) {
  CHECK(tensor.dtype == DType::kF32) << name << " is " << Name(tensor.dtype) << ", want f32";
  CHECK(tensor.shape == want) << name << " is " << tensor.shape.ToString() << ", want " << want.ToString();
}

}  // namespace tandem::ops
