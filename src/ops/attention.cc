#include "ops/attention.h"

#include "ops/shapes.h"

namespace tandem::ops {

namespace {

void CheckSequences(std::span<const SequenceRows> sequences, int64_t num_rows, const PagedKv& kv) {
  for (const SequenceRows& rows : sequences) {
    CHECK_LE(rows.first_row + rows.num_rows, num_rows);
    CHECK_LE(rows.first_position + rows.num_rows, static_cast<int64_t>(rows.blocks.size()) * kv.block_size);
  }
}

}  // namespace

void AppendKv(Backend& backend, std::span<const SequenceRows> sequences, const TensorView& k, const TensorView& v,
              const PagedKv& kv) {
  CheckActivations(k, {k.rows(), static_cast<int64_t>(kv.num_kv_heads) * kv.head_dim}, "k");
  CheckLike(v, k.dtype, k.shape, "v");
  CheckSequences(sequences, k.rows(), kv);
  backend.AppendKv(sequences, k, v, kv);
}

void Attention(Backend& backend, std::span<const SequenceRows> sequences, const TensorView& q, const PagedKv& kv,
               const AttentionOptions& options, const TensorView& out, const TensorView& lse) {
  CHECK_EQ(q.shape[1] % (static_cast<int64_t>(kv.num_kv_heads) * kv.head_dim), 0);
  CheckLike(out, q.dtype, q.shape, "out");
  CHECK(options.window >= 0 && options.soft_cap >= 0);
  if (lse.data != nullptr) CheckF32(lse, {q.rows(), q.shape[1] / kv.head_dim}, "lse");
  CheckSequences(sequences, q.rows(), kv);
  backend.Attention(sequences, q, kv, options, out, lse);
}

void AttentionBackward(Backend& backend, const AttentionBackwardArgs& args) {
  const int64_t end = args.first_position + args.q.rows();
  CheckLike(args.out, args.q.dtype, args.q.shape, "out");
  CheckLike(args.dout, args.q.dtype, args.q.shape, "dout");
  CheckLike(args.dq, args.q.dtype, args.q.shape, "dq");
  CheckF32(args.lse, {args.q.rows(), args.q.shape[1] / args.kv.head_dim}, "lse");
  CheckF32(args.dk, args.dk.shape, "dk");
  CheckF32(args.dv, args.dk.shape, "dv");
  CHECK_GE(args.dk.rows(), end);
  CHECK_LE(end, static_cast<int64_t>(args.blocks.size()) * args.kv.block_size);
  backend.AttentionBackward(args);
}

}  // namespace tandem::ops
