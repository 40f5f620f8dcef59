#include "ops/embedding.h"

#include "ops/shapes.h"

namespace tandem::ops {

void Embedding(Backend& backend, std::span<const int32_t> ids, const Matrix& table, const TensorView& x) {
  CheckActivations(x, {static_cast<int64_t>(ids.size()), table.columns()}, "x");
  for (const int32_t id : ids) {
    CHECK((id >= 0 || backend.runs_ahead()) && id < table.rows()) << "token " << id << " of " << table.rows();
  }
  backend.Embedding(ids, table, x);
}

void GatherRows(Backend& backend, const TensorView& x, std::span<const int32_t> rows, const TensorView& y) {
  CheckLike(y, x.dtype, {static_cast<int64_t>(rows.size()), x.shape[1]}, "y");
  for (const int32_t row : rows) CHECK(row >= 0 && row < x.rows()) << "row " << row << " of " << x.rows();
  backend.GatherRows(x, rows, y);
}

}  // namespace tandem::ops
