#include "embedding.h"

#include "common/launch.h"
#include "common/vector.h"

namespace tandem::kernels {
namespace {

constexpr int kThreads = 128;
constexpr int kVectorsOfThread = 2;

enum class Direction { kGather, kScatter };

// Blocks of a row stand side by side along y of the grid. kVector elements at a time; the same type on both sides where
// that is more than one.
template <typename From, typename To, int kVector>
__global__ void __launch_bounds__(kThreads) CopyRowsKernel(RowCopyArgs args, Direction direction) {
  int64_t number = args.numbers[blockIdx.x];
  number = number < 0 ? max(args.below_zero[~number], 0) : number / args.share;
  const int64_t plain = blockIdx.x;
  const bool gather = direction == Direction::kGather;
  const From* from = static_cast<const From*>(args.from) + (gather ? number : plain) * args.columns;
  To* to = static_cast<To*>(args.to) + (gather ? plain : number) * args.columns;
  const int64_t stride = static_cast<int64_t>(gridDim.y) * kThreads * kVector;
#pragma unroll kVectorsOfThread
  for (int64_t i = (static_cast<int64_t>(blockIdx.y) * kThreads + threadIdx.x) * kVector; i < args.columns;
       i += stride) {
    if constexpr (kVector > 1) {
      StoreVector(to + i, LoadVector(from + i));
    } else {
      to[i] = FromFloat<To>(ToFloat(from[i]));
    }
  }
}

template <typename From, typename To, int kVector>
cudaError_t LaunchVectors(const RowCopyArgs& args, Direction direction, cudaStream_t stream) {
  constexpr int kElements = kThreads * kVector * kVectorsOfThread;
  const dim3 grid(static_cast<unsigned>(args.rows), static_cast<unsigned>(CeilDiv<int64_t>(args.columns, kElements)));
  return Launch(CopyRowsKernel<From, To, kVector>, {.grid = grid, .block = kThreads, .stream = stream}, args,
                direction);
}

template <typename T>
cudaError_t LaunchCopies(const RowCopyArgs& args, Direction direction, cudaStream_t stream) {
  const bool vectors = CanVectorize(static_cast<const T*>(args.from), args.columns) &&
                       CanVectorize(static_cast<const T*>(args.to), args.columns);
  return vectors ? LaunchVectors<T, T, kVectorSize<T>>(args, direction, stream)
                 : LaunchVectors<T, T, 1>(args, direction, stream);
}

cudaError_t LaunchCopyRows(const RowCopyArgs& args, Direction direction, cudaStream_t stream) {
  if (args.from_type == args.to_type) {
    return args.from_type == Type::kF32 ? LaunchCopies<float>(args, direction, stream)
                                        : LaunchCopies<bf16>(args, direction, stream);
  }
  return args.from_type == Type::kF32 ? LaunchVectors<float, bf16, 1>(args, direction, stream)
                                      : LaunchVectors<bf16, float, 1>(args, direction, stream);
}

}  // namespace

cudaError_t LaunchGatherRows(const RowCopyArgs& args, cudaStream_t stream) {
  return LaunchCopyRows(args, Direction::kGather, stream);
}

cudaError_t LaunchScatterRows(const RowCopyArgs& args, cudaStream_t stream) {
  if (args.share != 1) return cudaErrorInvalidValue;
  return LaunchCopyRows(args, Direction::kScatter, stream);
}

}  // namespace tandem::kernels
