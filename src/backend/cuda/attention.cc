// Paged attention, forward and backward. What a call needs of its sequences on the device (spans, block tables, the
// work plan) is made once in a step and shared by all layers that ask for the same.
#include <algorithm>
#include <bit>

#include "backend/cuda/cuda_backend.h"
#include "base/check.h"
#include "kernels/attention/append.h"
#include "kernels/attention/backward.h"
#include "kernels/attention/decode.h"
#include "kernels/attention/prefill.h"

namespace tandem {
namespace {

kernels::KvPool PoolOf(const PagedKv& kv) {
  CHECK(std::has_single_bit(static_cast<unsigned>(kv.block_size)) && kv.block_size >= kernels::kPageGrain);
  return {.keys = kv.keys,
          .values = kv.values,
          .type = cuda::TypeOf(kv.dtype),
          .block_shift = std::countr_zero(static_cast<unsigned>(kv.block_size)),
          .num_kv_heads = kv.num_kv_heads,
          .head_dim = kv.head_dim};
}

struct AppendPlan {
  std::span<const int32_t> slots;  // of every row of the call; -1 where it is of no sequence
};

struct SpanPlan {
  std::vector<kernels::AttentionSpan> host;
  std::span<const kernels::AttentionSpan> spans;
  std::span<const int32_t> blocks;
  int max_rows = 0;  // of a span
};

const SpanPlan& SpansOf(cuda::Runtime& runtime, std::span<const SequenceRows> sequences, int block_size) {
  return runtime.PlanOf<SpanPlan>(sequences, block_size, [&] {
    SpanPlan plan;
    std::vector<int32_t> blocks;
    for (const SequenceRows& rows : sequences) {
      plan.host.push_back({.first_row = rows.first_row,
                           .num_rows = rows.num_rows,
                           .first_position = rows.first_position,
                           .first_block = static_cast<int>(blocks.size())});
      const int used = (rows.first_position + rows.num_rows + block_size - 1) / block_size;
      blocks.insert(blocks.end(), rows.blocks.begin(), rows.blocks.begin() + used);
      plan.max_rows = std::max(plan.max_rows, rows.num_rows);
    }
    plan.spans = runtime.ToDevice<kernels::AttentionSpan>(plan.host);
    plan.blocks = runtime.ToDevice<int32_t>(blocks);
    return plan;
  });
}

// Figures of decode grow by the row; launches that differ in nothing else are the same up to the next power of two, and
// the same graph.
int RoundUp(size_t count) {
  return static_cast<int>(std::bit_ceil(count));
}

struct WorkPlan {
  std::span<const kernels::RowTile> prefill;
  kernels::DecodeWork decode;  // but for its scratch
};

const WorkPlan& WorkOf(cuda::Runtime& runtime, std::span<const SequenceRows> sequences, const SpanPlan& spans,
                       const kernels::PlanOptions& options) {
  cuda::Fingerprint variant;
  variant.Add(options);
  return runtime.PlanOf<WorkPlan>(sequences, variant.value(), [&] {
    const kernels::AttentionPlan plan = kernels::PlanAttention(spans.host, options);
    WorkPlan work{.prefill = runtime.ToDevice<kernels::RowTile>(plan.prefill)};
    if (plan.decode.empty()) return work;
    const int32_t counts[] = {static_cast<int>(plan.decode.size()), static_cast<int>(plan.combine.size())};
    work.decode = {.items = runtime.ToDevice<kernels::DecodeItem>(plan.decode).data(),
                   .counts = runtime.ToDevice<int32_t>(counts).data(),
                   .max_items = RoundUp(plan.decode.size())};
    if (plan.combine.empty()) return work;
    work.decode.combines = runtime.ToDevice<kernels::CombineItem>(plan.combine).data();
    work.decode.max_combines = RoundUp(plan.combine.size());
    work.decode.scratch_rows = RoundUp(plan.partial_rows);
    return work;
  });
}

}  // namespace

void CudaBackend::AppendKv(std::span<const SequenceRows> sequences, const TensorView& k, const TensorView& v,
                           const PagedKv& kv) {
  const cuda::Runtime::Op op(runtime_, "AppendKv");
  cuda::Fingerprint variant;
  variant.Add(k.rows());
  variant.Add(kv.block_size);
  const AppendPlan& plan = runtime_.PlanOf<AppendPlan>(sequences, variant.value(), [&] {
    std::vector<int32_t> slots(k.rows(), -1);
    for (const SequenceRows& rows : sequences) {
      for (int r = 0; r < rows.num_rows; ++r) {
        const int position = rows.first_position + r;
        slots[rows.first_row + r] = rows.blocks[position / kv.block_size] * kv.block_size + position % kv.block_size;
      }
    }
    return AppendPlan{runtime_.ToDevice<int32_t>(slots)};
  });
  runtime_.Launch(kernels::LaunchAppendKv, kernels::AppendKvArgs{.k = k.data,
                                                                 .v = v.data,
                                                                 .type = cuda::TypeOf(k.dtype),
                                                                 .kv = PoolOf(kv),
                                                                 .slots = plan.slots.data(),
                                                                 .num_rows = static_cast<int>(k.rows())});
}

void CudaBackend::Attention(std::span<const SequenceRows> sequences, const TensorView& q, const PagedKv& kv,
                            const AttentionOptions& options, const TensorView& out, const TensorView& lse) {
  const cuda::Runtime::Op op(runtime_, "Attention");
  const SpanPlan& spans = SpansOf(runtime_, sequences, kv.block_size);
  const kernels::AttentionArgs args{.q = q.data,
                                    .out = out.data,
                                    .lse = lse.f32(),
                                    .type = cuda::TypeOf(q.dtype),
                                    .kv = PoolOf(kv),
                                    .group = static_cast<int>(q.shape[1]) / kv.head_dim / kv.num_kv_heads,
                                    .scale = options.scale,
                                    .soft_cap = options.soft_cap,
                                    .window = options.window,
                                    .spans = spans.spans.data(),
                                    .blocks = spans.blocks.data()};
  if (q.dtype == DType::kF32) {
    runtime_.Launch(kernels::LaunchScalarAttention, args, static_cast<int>(spans.host.size()), spans.max_rows);
    return;
  }
  const WorkPlan& work = WorkOf(runtime_, sequences, spans,
                                {.group = args.group,
                                 .num_kv_heads = kv.num_kv_heads,
                                 .window = options.window,
                                 .prefill_rows = kernels::PrefillTileRows(kv.head_dim),
                                 .deterministic = options_.deterministic});
  if (!work.prefill.empty()) {
    runtime_.Launch(kernels::LaunchPrefillAttention, args, work.prefill.data(), static_cast<int>(work.prefill.size()));
  }
  if (work.decode.max_items > 0) {
    kernels::DecodeWork decode = work.decode;
    decode.scratch = runtime_.Scratch<char>(kernels::DecodeScratchBytes(decode.scratch_rows, kv.head_dim));
    runtime_.Launch(kernels::LaunchDecodeAttention, args, decode, runtime_.device().num_sms);
  }
}

void CudaBackend::AttentionBackward(const AttentionBackwardArgs& args) {
  const cuda::Runtime::Op op(runtime_, "AttentionBackward");
  const int num_rows = static_cast<int>(args.q.rows());
  const SequenceRows window{.num_rows = num_rows, .first_position = args.first_position, .blocks = args.blocks};
  const SpanPlan& spans = SpansOf(runtime_, {&window, 1}, args.kv.block_size);
  runtime_.Launch(kernels::LaunchAttentionBackward,
                  kernels::AttentionBackwardArgs{
                      .q = args.q.data,
                      .out = args.out.data,
                      .dout = args.dout.data,
                      .dq = args.dq.data,
                      .type = cuda::TypeOf(args.q.dtype),
                      .lse = args.lse.f32(),
                      .delta = runtime_.Scratch<float>(args.lse.shape.num_elements()),
                      .dk = args.dk.f32(),
                      .dv = args.dv.f32(),
                      .kv = PoolOf(args.kv),
                      .blocks = spans.blocks.data(),
                      .num_rows = num_rows,
                      .first_position = args.first_position,
                      .group = static_cast<int>(args.q.shape[1]) / args.kv.head_dim / args.kv.num_kv_heads,
                      .scale = args.options.scale,
                      .soft_cap = args.options.soft_cap,
                      .window = args.options.window});
}

}  // namespace tandem
