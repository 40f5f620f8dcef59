#include "decode.h"

#include <algorithm>

#include "../common/launch.h"
#include "../common/vector.h"
#include "online_softmax.h"

namespace tandem::kernels {
namespace {

constexpr int kWarps = 4, kThreads = kWarps * kWarpSize;
constexpr int kChunkKeys = 16;       // keys of a stage: one look-up in the block table
constexpr int kMaxChunksOfWarp = 8;  // 512 / 16 / kWarps
static_assert(SplitTokens(1) <= kMaxChunksOfWarp * kChunkKeys * kWarps &&
              SplitTokens(1 << 30) <= kMaxChunksOfWarp * kChunkKeys * kWarps);

template <int kDim>
constexpr int kStages = kDim <= 64    ? 4
                        : kDim <= 128 ? 3
                                      : 2;
// Q stays in registers where they suffice beside the output; otherwise it is read from shared memory for every chunk.
template <int kDim>
constexpr bool kHoldsQ = kDim <= 128;
template <int kDim>
constexpr int kStageElements = 2 * kChunkKeys* kDim;  // K, then V
// A warp's results before they are merged lie where its stages were: 16 rows of f32, eight floats further from row to
// row than kDim so that a quad's eight rows write to different banks.
template <int kDim>
constexpr int kResultStride = kDim + 8;
static_assert(kDecodeRows * kResultStride<64> * 4 <= kStages<64> * kStageElements<64> * 2);
static_assert(kDecodeRows * kResultStride<256> * 4 <= kStages<256> * kStageElements<256> * 2);

template <int kDim>
constexpr size_t kSharedBytes = (kDecodeRows * kDim + kWarps * kStages<kDim> * kStageElements<kDim>)*sizeof(bf16) +
                                2 * kWarps* kDecodeRows * sizeof(float);
// Of the fixed grid: what 227 KiB of shared memory hold (H100, H200; an A100's 163 KiB hold less, and some CTAs come
// later).
template <int kDim>
constexpr int kCtasPerSm = 227 * 1024 / (kSharedBytes<kDim> + 1024);
constexpr int kCombineCtasPerSm = 8;

// Scratch: unnormalized outputs [rows, head_dim], then (max, sum) [rows] of scores in units of log 2.
struct Partials {
  float* out;
  float2* max_sum;
  int head_dim;
};
__host__ __device__ __forceinline__ Partials PartialsOf(const DecodeWork& work, int head_dim) {
  float* out = static_cast<float*>(work.scratch);
  return {out, reinterpret_cast<float2*>(out + work.scratch_rows * head_dim), head_dim};
}

// The online softmax of one warp over its chunks of a split: those whose number is `warp` modulo kWarps.
template <int kDim>
class WarpSplit {
 public:
  __device__ WarpSplit(const AttentionArgs& args, const AttentionSpan& span, const DecodeItem& item, int kv_head,
                       bf16* stages)
      : args_(args), item_(item), kv_head_(kv_head), stages_(stages), span_(span) {
    const int warp = threadIdx.x / kWarpSize, lane = threadIdx.x % kWarpSize;
    const int first_chunk = item.begin / kChunkKeys;
    first_ = (first_chunk + ((warp - first_chunk) & (kWarps - 1))) * kChunkKeys;
    // The warp's whole walk through the block table: lane i holds the block of its chunk i.
    const int mine = first_ + lane * kWarps * kChunkKeys;
    block_ =
        lane < kMaxChunksOfWarp && mine < item.end ? args.blocks[span.first_block + (mine >> args.kv.block_shift)] : 0;
  }

  // Keys and values of chunk i to its stage, in the background; an empty group behind the last chunk.
  __device__ __forceinline__ void Load(int i) const {
    const int block = __shfl_sync(kAllLanes, block_, i % kWarpSize), position = Position(i);
    if (position < item_.end) {
      const int slot = position & ((1 << args_.kv.block_shift) - 1), lane = threadIdx.x % kWarpSize;
      const int64_t from = PoolOffset(args_.kv, block, kv_head_, slot);
      const int there = item_.end - position, dim = args_.kv.head_dim;
      LoadPage<kDim, kWarpSize>(Keys(i), 0, static_cast<const bf16*>(args_.kv.keys) + from, there, dim, lane);
      LoadPage<kDim, kWarpSize>(Values(i), 0, static_cast<const bf16*>(args_.kv.values) + from, there, dim, lane);
    }
    CpAsyncCommit();
  }

  __device__ __forceinline__ void Run(const bf16* q, const ScoreScale& scale) {
    uint32_t held[kHoldsQ<kDim> ? kDim / 16 : 1][4];
    if constexpr (kHoldsQ<kDim>) {
#pragma unroll
      for (int k = 0; k < kDim / 16; ++k) FragmentA<kDim>(held[k], q, 0, k);
    }
    const int g = threadIdx.x % kWarpSize / 4;
    const RowMask mask{
        {PackedPosition(span_, args_.group, item_.first + g), PackedPosition(span_, args_.group, item_.first + g + 8)},
        args_.window};
    for (int i = 0; Position(i) < item_.end; ++i) {
      Load(i + kStages<kDim> - 1);
      CpAsyncWait<kStages<kDim> - 1>();
      __syncwarp();
      float s[2][4] = {};
#pragma unroll
      for (int k = 0; k < kDim / 16; ++k) {
        uint32_t(&a)[4] = held[kHoldsQ<kDim> ? k : 0], b[2][2];
        if constexpr (!kHoldsQ<kDim>) FragmentA<kDim>(a, q, 0, k);
        FragmentBOfRows<kDim>(b, Keys(i), 0, k);
        MmaBf16(s[0], a, b[0]);
        MmaBf16(s[1], a, b[1]);
      }
      float rescale[2];
      CapScores(s, scale);
      MaskScores(s, mask, Position(i));
      softmax.Update(s, scale.factor, rescale);
      RescaleRows(o, rescale);
      uint32_t p[4];
      FragmentOfResults(p, s[0], s[1]);
#pragma unroll
      for (int n = 0; n < kDim / 16; ++n) {
        uint32_t b[2][2];
        FragmentB<kDim>(b, Values(i), 0, n);
        MmaBf16(o[2 * n], p, b[0]);
        MmaBf16(o[2 * n + 1], p, b[1]);
      }
      __syncwarp();  // the stage may be filled again
    }
    CpAsyncWait<0>();
    softmax.Finish();
  }

  OnlineSoftmax softmax;
  float o[kDim / 8][4] = {};

 private:
  __device__ __forceinline__ int Position(int i) const {
    return first_ + i * kWarps * kChunkKeys;
  }
  __device__ __forceinline__ bf16* Keys(int i) const {
    return stages_ + i % kStages<kDim> * kStageElements<kDim>;
  }
  __device__ __forceinline__ bf16* Values(int i) const {
    return Keys(i) + kChunkKeys * kDim;
  }

  const AttentionArgs& args_;
  const DecodeItem& item_;
  const int kv_head_;
  bf16* const stages_;
  const AttentionSpan& span_;
  int first_;  // position of this warp's first chunk
  int block_;
};

// Where one element of a split's result goes.
template <int kDim>
struct ResultWriter {
  const AttentionArgs& args;
  const AttentionSpan& span;
  const DecodeItem& item;
  Partials partials;
  int kv_head;

  __device__ __forceinline__ void Row(int row, float max, float sum) const {
    if (item.partial >= 0) {
      partials.max_sum[PartialRow(row)] = make_float2(max, sum);
    } else if (args.lse != nullptr) {
      args.lse[PackedIndex(span, args.kv, args.group, kv_head, item.first + row)] = kLn2 * (max + log2f(sum));
    }
  }
  __device__ __forceinline__ void Four(int row, int d, float sum, const float (&values)[4]) const {
    if (item.partial >= 0) {
      Store(partials.out + PartialRow(row) * args.kv.head_dim + d, values);
      return;
    }
    bf16* to = static_cast<bf16*>(args.out) + PackedOffset(span, args.kv, args.group, kv_head, item.first + row) + d;
    const float inverse = 1.0f / sum;
    *reinterpret_cast<uint2*>(to) = make_uint2(PackBf16(values[0] * inverse, values[1] * inverse),
                                               PackBf16(values[2] * inverse, values[3] * inverse));
  }

 private:
  __device__ __forceinline__ int64_t PartialRow(int row) const {
    return item.partial + static_cast<int64_t>(kv_head) * item.num_rows + row;
  }
};

// The warps' results to one, in the order of the warps.
template <int kDim>
__device__ __forceinline__ void MergeWarps(const float* results, const float* maxima, const float* sums,
                                           const ResultWriter<kDim>& writer) {
  constexpr int kWarpElements = kStages<kDim> * kStageElements<kDim> / 2;  // f32
  for (int i = threadIdx.x; i < writer.item.num_rows * (kDim / 4); i += kThreads) {
    const int row = i / (kDim / 4), d = i % (kDim / 4) * 4;
    if (d >= writer.args.kv.head_dim) continue;
    float max = maxima[row], sum = 0, total[4] = {};
#pragma unroll
    for (int w = 1; w < kWarps; ++w) max = fmaxf(max, maxima[w * kDecodeRows + row]);
#pragma unroll
    for (int w = 0; w < kWarps; ++w) {
      const float weight = max == -kInfinity ? 0.0f : Exp2(maxima[w * kDecodeRows + row] - max);
      float values[4];
      Load(results + w * kWarpElements + row * kResultStride<kDim> + d, values);
      sum = fmaf(weight, sums[w * kDecodeRows + row], sum);
#pragma unroll
      for (int j = 0; j < 4; ++j) total[j] = fmaf(weight, values[j], total[j]);
    }
    if (d == 0) writer.Row(row, max, sum);
    writer.Four(row, d, sum, total);
  }
}

template <int kDim>
__global__ void __launch_bounds__(kThreads) DecodeKernel(AttentionArgs args, ScoreScale scale, DecodeWork work) {
  TANDEM_DYNAMIC_SHARED(bf16, q);  // [kDecodeRows, kDim], then the warps' stages, then their maxima and sums
  bf16* const stages = q + kDecodeRows * kDim;
  float* const maxima = reinterpret_cast<float*>(stages + kWarps * kStages<kDim> * kStageElements<kDim>);
  float* const sums = maxima + kWarps * kDecodeRows;
  const int warp = threadIdx.x / kWarpSize, lane = threadIdx.x % kWarpSize, g = lane / 4, t = lane % 4;
  const int num_items = work.counts[0] * args.kv.num_kv_heads;

  for (int i = blockIdx.x; i < num_items; i += gridDim.x) {
    const DecodeItem item = work.items[i / args.kv.num_kv_heads];
    const int kv_head = i % args.kv.num_kv_heads;
    const AttentionSpan& span = item.span;
    WarpSplit<kDim> split(args, span, item, kv_head, stages + warp * kStages<kDim> * kStageElements<kDim>);
    LoadPackedRows<kDim, kDecodeRows, kThreads>(q, args.q, nullptr, span, args.kv, args.group, kv_head, item.first, 0,
                                                item.first + item.num_rows, threadIdx.x);
    CpAsyncCommit();
#pragma unroll
    for (int stage = 0; stage < kStages<kDim> - 1; ++stage) split.Load(stage);
    CpAsyncWait<kStages<kDim> - 1>();
    __syncthreads();
    split.Run(q, scale);

    float* const results = reinterpret_cast<float*>(stages);
    float* const mine = results + warp * (kStages<kDim> * kStageElements<kDim> / 2);
    __syncwarp();
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int row = g + 8 * half;
#pragma unroll
      for (int n = 0; n < kDim / 8; ++n) {
        *reinterpret_cast<float2*>(mine + row * kResultStride<kDim> + 8 * n + 2 * t) =
            make_float2(split.o[n][2 * half], split.o[n][2 * half + 1]);
      }
      if (t == 0) {
        maxima[warp * kDecodeRows + row] = split.softmax.max[half] * scale.factor;
        sums[warp * kDecodeRows + row] = split.softmax.sum[half];
      }
    }
    __syncthreads();
    MergeWarps<kDim>(results, maxima, sums,
                     ResultWriter<kDim>{args, span, item, PartialsOf(work, args.kv.head_dim), kv_head});
    __syncthreads();  // the next item's copies go where the results are
  }
}

// One warp per row of an item: splits in order, a lane's four elements of head_dim at a time.
__global__ void __launch_bounds__(kThreads) CombineKernel(AttentionArgs args, DecodeWork work) {
  const Partials partials = PartialsOf(work, args.kv.head_dim);
  const int warp = threadIdx.x / kWarpSize, lane = threadIdx.x % kWarpSize;
  const int num_items = work.counts[1] * args.kv.num_kv_heads;
  for (int i = blockIdx.x; i < num_items; i += gridDim.x) {
    const CombineItem item = work.combines[i / args.kv.num_kv_heads];
    const int kv_head = i % args.kv.num_kv_heads;
    const int64_t stride = static_cast<int64_t>(args.kv.num_kv_heads) * item.num_rows;
    for (int row = warp; row < item.num_rows; row += kWarps) {
      const int64_t base = item.partial + static_cast<int64_t>(kv_head) * item.num_rows + row;
      const int64_t index = PackedIndex(item.span, args.kv, args.group, kv_head, item.first + row);
      float max = -kInfinity;
      for (int s = lane; s < item.num_splits; s += kWarpSize) max = fmaxf(max, partials.max_sum[base + s * stride].x);
      max = WarpMax(max);
      for (int d = lane * 4; d < args.kv.head_dim; d += 4 * kWarpSize) {
        float sum = 0, total[4] = {};
#pragma unroll 4
        for (int s = 0; s < item.num_splits; ++s) {
          const float2 max_sum = partials.max_sum[base + s * stride];
          const float weight = Exp2(max_sum.x - max);
          float values[4];
          Load(partials.out + (base + s * stride) * args.kv.head_dim + d, values);
          sum = fmaf(weight, max_sum.y, sum);
#pragma unroll
          for (int j = 0; j < 4; ++j) total[j] = fmaf(weight, values[j], total[j]);
        }
        const float inverse = 1.0f / sum;
        bf16* to = static_cast<bf16*>(args.out) + index * args.kv.head_dim + d;
        *reinterpret_cast<uint2*>(to) = make_uint2(PackBf16(total[0] * inverse, total[1] * inverse),
                                                   PackBf16(total[2] * inverse, total[3] * inverse));
        if (d == 0 && args.lse != nullptr) args.lse[index] = kLn2 * (max + log2f(sum));
      }
    }
  }
}

}  // namespace

cudaError_t LaunchDecodeAttention(const AttentionArgs& args, const DecodeWork& work, int num_sms, cudaStream_t stream) {
  if (args.type != Type::kBf16 || args.kv.type != Type::kBf16) return cudaErrorInvalidValue;
  const auto grid = [&](int max_items, int ctas_per_sm) {
    const int64_t items = static_cast<int64_t>(max_items) * args.kv.num_kv_heads;
    return dim3(static_cast<unsigned>(std::min<int64_t>(items, ctas_per_sm * num_sms)));
  };
  const cudaError_t error = ForHeadDim(args.kv.head_dim, [&]<int kDim>() {
    return Launch(DecodeKernel<kDim>,
                  {.grid = grid(work.max_items, static_cast<int>(kCtasPerSm<kDim>)),
                   .block = dim3(kThreads),
                   .shared_bytes = kSharedBytes<kDim>,
                   .stream = stream},
                  args, ScoreScale::Of(args.scale, args.soft_cap), work);
  });
  if (error != cudaSuccess) return error;
  return Launch(CombineKernel,
                {.grid = grid(work.max_combines, kCombineCtasPerSm), .block = dim3(kThreads), .stream = stream}, args,
                work);
}

}  // namespace tandem::kernels
