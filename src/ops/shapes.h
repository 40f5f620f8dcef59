// Shape checks shared by the operations: a wrong shape is a programmer's error and names the tensor.
#pragma once

#include "base/check.h"
#include "tandem/tensor.h"

namespace tandem::ops {

inline void CheckShape(const TensorView& tensor, const Shape& want, const char* name) {
  CHECK(tensor.shape == want) << name << " is " << tensor.shape.ToString() << ", want " << want.ToString();
}

// Activations and their gradients.
inline void CheckActivations(const TensorView& tensor, const Shape& want, const char* name) {
  CHECK(tensor.dtype == DType::kF32 || tensor.dtype == DType::kBf16)
      << name << " is " << Name(tensor.dtype) << ", want f32 or bf16";
  CheckShape(tensor, want, name);
}

// Activations of the same type as the others of the call.
inline void CheckLike(const TensorView& tensor, DType dtype, const Shape& want, const char* name) {
  CHECK(tensor.dtype == dtype) << name << " is " << Name(tensor.dtype) << ", want " << Name(dtype);
  CheckShape(tensor, want, name);
}

inline void CheckF32(const TensorView& tensor, const Shape& want, const char* name) {
  CHECK(tensor.dtype == DType::kF32) << name << " is " << Name(tensor.dtype) << ", want f32";
  CheckShape(tensor, want, name);
}

}  // namespace tandem::ops
