// Token embeddings, and rows chosen by number.
#pragma once

#include "tandem/backend.h"

namespace tandem::ops {

// x[i] = table[ids[i]]; ids are in [0, table.rows()).
void Embedding(Backend& backend, std::span<const int32_t> ids, const Matrix& table, const TensorView& x);

// y[i] = x[rows[i]]
void GatherRows(Backend& backend, const TensorView& x, std::span<const int32_t> rows, const TensorView& y);

}  // namespace tandem::ops
