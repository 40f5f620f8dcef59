#include "ops/rope.h"

#include "ops/shapes.h"

namespace tandem::ops {

namespace {

void CheckPositions(std::span<const SequenceRows> sequences, const TensorView& table, const TensorView& x) {
  CHECK_EQ(x.shape[1] % table.shape[1], 0);
  for (const SequenceRows& rows : sequences) {
    CHECK_LE(rows.first_row + rows.num_rows, x.rows());
    CHECK_LE(rows.first_position + rows.num_rows, table.rows());
  }
}

}  // namespace

void Rope(Backend& backend, std::span<const SequenceRows> sequences, const TensorView& table, const TensorView& x) {
  CheckPositions(sequences, table, x);
  backend.Rope(sequences, table, static_cast<int>(table.shape[1]), x);
}

void RopeBackward(Backend& backend, std::span<const SequenceRows> sequences, const TensorView& table,
                  const TensorView& dx) {
  CheckPositions(sequences, table, dx);
  backend.RopeBackward(sequences, table, static_cast<int>(table.shape[1]), dx);
}

}  // namespace tandem::ops
