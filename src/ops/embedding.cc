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

}  // namespace tandem::ops
