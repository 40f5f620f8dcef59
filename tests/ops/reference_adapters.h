// The reference of what adapters do beside the backbone's products (reference.cc dispatches).
#pragma once

#include "ops/reference_rows.h"

namespace tandem::optest {

// [m, n] += alpha * A [m, k] B [k, n]; strides of a row and of a column.
struct Strided {
  const double* data;
  int64_t row, column;
};
void AddProduct(int64_t m, int64_t n, int64_t k, double alpha, Strided a, Strided b, Values& c);
inline Strided Plain(const Values& values, int64_t columns) {
  return {values.data(), columns, 1};
}
inline Strided Transposed(const Values& values, int64_t columns) {
  return {values.data(), 1, columns};
}

Tensors Lora(const Case& c, const Tensors& in);
Tensors LoraBackward(const Case& c, const Tensors& in);
Tensors ScaleColumns(const Case& c, const Tensors& in);
Tensors ScaleColumnsBackward(const Case& c, const Tensors& in);
Tensors RowSquares(const Case& c, const Tensors& in);
// From weight, a and b themselves, not from the sums that the operation is given.
Tensors InverseRowNorms(const Case& c, const Tensors& in);
// squares, projected and gram of weight and a.
Values RowNormInput(const Case& c, const std::string& name, const Tensors& in);

}  // namespace tandem::optest
