#include "append.h"

#include "../common/launch.h"
#include "../common/vector.h"

namespace tandem::kernels {
namespace {

constexpr int kThreads = 256;
constexpr int64_t kMaxItems = int64_t{1} << 30;  // threads: counted in 32 bits
constexpr int kElements = 8;                     // of one thread: 16 bytes of bf16, 32 of f32

template <typename From, typename To>
__device__ __forceinline__ void CopyEight(const From* from, To* to) {
  if constexpr (kTypeOf<From> == kTypeOf<To>) {
#pragma unroll
    for (int i = 0; i < kElements; i += kVectorSize<To>) StoreVector(to + i, LoadVectorOnce(from + i));
  } else {
    float low[4], high[4], all[kElements];
    Load(from, low);
    Load(from + 4, high);
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      all[i] = low[i];
      all[i + 4] = high[i];
    }
    Store(to, all);
  }
}

template <typename From, typename To>
__global__ void __launch_bounds__(kThreads) AppendKvKernel(AppendKvArgs args) {
  const int per_head = args.kv.head_dim / kElements, per_row = args.kv.num_kv_heads * per_head;
  const int item = blockIdx.x * kThreads + threadIdx.x, row = item / per_row;
  if (row >= args.num_rows) return;
  const int slot = args.slots[row];
  if (slot < 0) return;
  const int within = item % per_row, head = within / per_head, d = within % per_head * kElements;
  const int64_t from = (static_cast<int64_t>(row) * args.kv.num_kv_heads + head) * args.kv.head_dim + d;
  const int block = slot >> args.kv.block_shift;
  const int within_block = slot & ((1 << args.kv.block_shift) - 1);
  const int64_t to = PoolOffset(args.kv, block, head, within_block) + d;
  CopyEight(static_cast<const From*>(args.k) + from, static_cast<To*>(args.kv.keys) + to);
  CopyEight(static_cast<const From*>(args.v) + from, static_cast<To*>(args.kv.values) + to);
}

template <typename From, typename To>
cudaError_t LaunchAs(const AppendKvArgs& args, cudaStream_t stream) {
  const int64_t items = static_cast<int64_t>(args.num_rows) * args.kv.num_kv_heads * (args.kv.head_dim / kElements);
  if (items > kMaxItems) return cudaErrorInvalidValue;
  const unsigned blocks = static_cast<unsigned>(CeilDiv<int64_t>(items, kThreads));
  return Launch(AppendKvKernel<From, To>, {.grid = dim3(blocks), .block = dim3(kThreads), .stream = stream}, args);
}

}  // namespace

cudaError_t LaunchAppendKv(const AppendKvArgs& args, cudaStream_t stream) {
  if (args.kv.type == Type::kF32) {
    if (args.type != Type::kF32) return cudaErrorInvalidValue;
    return LaunchAs<float, float>(args, stream);
  }
  return args.type == Type::kBf16 ? LaunchAs<bf16, bf16>(args, stream) : LaunchAs<float, bf16>(args, stream);
}

}  // namespace tandem::kernels
