#include "test_kernels.h"

#include "common/ptx.h"
#include "common/reduce.h"
#include "common/types.h"
#include "common/vector.h"

namespace cuda_emulation {
namespace {

using namespace tandem::kernels;

__global__ void MmaBf16Kernel(const float* a, const float* b, float* d) {
  __shared__ __align__(16) bf16 tile_a[16 * 16];
  __shared__ __align__(16) bf16 tile_b[16 * 8];
  const int lane = threadIdx.x, group = lane / 4, pair = 2 * (lane % 4);
  for (int i = lane; i < 16 * 16; i += 32) tile_a[i] = FromFloat<bf16>(a[i]);
  for (int i = lane; i < 16 * 8; i += 32) tile_b[i] = FromFloat<bf16>(b[i]);
  __syncwarp();
  uint32_t a_registers[4], b_registers[2];
  // The four 8 x 8 matrices of A in the order of its registers; B's two, k downwards, transposed.
  LdMatrix(a_registers, tile_a + (lane % 16) * 16 + (lane / 16) * 8);
  LdMatrixTransposed(b_registers, tile_b + (lane % 16) * 8);
  float sums[4];
  for (int i = 0; i < 4; ++i) sums[i] = d[(group + 8 * (i / 2)) * 8 + pair + i % 2];
  MmaBf16(sums, a_registers, b_registers);
  for (int i = 0; i < 4; ++i) d[(group + 8 * (i / 2)) * 8 + pair + i % 2] = sums[i];
}

__global__ void MmaTf32Kernel(const float* a, const float* b, float* d) {
  const int lane = threadIdx.x, group = lane / 4, t = lane % 4;
  uint32_t a_registers[4], b_registers[2];
  for (int i = 0; i < 4; ++i) a_registers[i] = RoundToTf32(a[(group + 8 * (i % 2)) * 8 + t + 4 * (i / 2)]);
  for (int i = 0; i < 2; ++i) b_registers[i] = RoundToTf32(b[(t + 4 * i) * 8 + group]);
  float sums[4];
  for (int i = 0; i < 4; ++i) sums[i] = d[(group + 8 * (i / 2)) * 8 + 2 * t + i % 2];
  MmaTf32(sums, a_registers, b_registers);
  for (int i = 0; i < 4; ++i) d[(group + 8 * (i / 2)) * 8 + 2 * t + i % 2] = sums[i];
}

__global__ void WarpOperationsKernel(int* failures) {
  const int lane = threadIdx.x, half = lane / 16 * 16;
  bool right = __shfl_sync(kAllLanes, lane * 3, 5) == 15;
  right &= __shfl_sync(kAllLanes, lane, 3, 16) == half + 3;
  right &= __shfl_up_sync(kAllLanes, lane, 2) == (lane < 2 ? lane : lane - 2);
  right &= __shfl_down_sync(kAllLanes, lane, 2, 16) == (lane % 16 >= 14 ? lane : lane + 2);
  right &= __shfl_xor_sync(kAllLanes, lane * 0.5, 31) == (31 - lane) * 0.5;
  right &= __ballot_sync(kAllLanes, lane % 3 == 0) == 0x49249249u;
  right &= __any_sync(kAllLanes, lane == 7) && !__all_sync(kAllLanes, lane != 7);
  right &= __match_any_sync(kAllLanes, lane % 2) == (lane % 2 == 0 ? 0x55555555u : 0xaaaaaaaau);
  right &= __reduce_add_sync(kAllLanes, static_cast<unsigned>(lane)) == 496u;
  right &= __reduce_min_sync(kAllLanes, lane - 9) == -9;
  right &= WarpSum(static_cast<float>(lane)) == 496.0f && WarpMax<16>(lane) == half + 15;
  if (lane < 16) right &= __shfl_xor_sync(0xffffu, lane, 1) == (lane ^ 1);
  if (lane == 0) *failures = 0;
  __syncwarp();
  if (!right) atomicAdd(failures, 1);
}

template <Barriers kBarriers>
__global__ void BlockSumKernel(const float* x, float* sums) {
  __shared__ float scratch[8];
  float sum;
  if constexpr (kBarriers == Barriers::kAll) {
    sum = BlockSum<256>(x[threadIdx.x], scratch);
  } else {
    const float part = WarpSum(x[threadIdx.x]);
    if (threadIdx.x % 32 == 0) scratch[threadIdx.x / 32] = part;
    sum = 0;
    for (const float value : scratch) sum += value;
  }
  if (threadIdx.x == 77) sums[blockIdx.x] = sum;
}

template <Waits kWaits>
__global__ void AsyncCopyKernel(const float* x, float* y) {
  TANDEM_DYNAMIC_SHARED(float, tile);
  const int first = threadIdx.x * 4;
  CpAsync16(tile + first, x + first);
  CpAsyncCommit();
  CpAsyncCommit();  // an empty group
  if constexpr (kWaits == Waits::kAll) {
    CpAsyncWait<1>();
  } else {
    CpAsyncWait<2>();
  }
  __syncthreads();
  float values[4];
  Load(tile + 124 - first, values);
  Store(y + 124 - first, values);
}

__global__ void DivergentKernel() {
  if (threadIdx.x < 32) {
    __syncthreads();
  } else {
    __syncthreads();
  }
}

__global__ void HalfKernel() {
  if (threadIdx.x < 16) __syncwarp();
}

__global__ void WriteKernel(float* x) {
  *x = 1.0f;
}
__global__ void LoadRowsKernel(float* sink, int stride) {
  __shared__ __align__(128) unsigned short rows[8 * 128];
  uint32_t r[1];
  LdMatrix(r, rows + threadIdx.x % 8 * stride);
  sink[threadIdx.x] = static_cast<float>(r[0]);
}
__global__ void WriteStructKernel(WriteArgs args) {
  *args.x = static_cast<float>(args.value);
}
__global__ void AddKernel(float* x, float value) {
  *x += value;
}
__global__ void MultiplyKernel(float* x, float factor) {
  *x *= factor;
}

}  // namespace

cudaError_t LaunchMma(const float* a, const float* b, float* d, Product product) {
  return Launch(product == Product::kBf16 ? MmaBf16Kernel : MmaTf32Kernel, {.block = 32}, a, b, d);
}

cudaError_t LaunchWarpOperations(int* failures) {
  return Launch(WarpOperationsKernel, {.block = 32}, failures);
}

cudaError_t LaunchBlockSum(const float* x, float* sums, Barriers barriers) {
  const auto kernel = barriers == Barriers::kAll ? BlockSumKernel<Barriers::kAll> : BlockSumKernel<Barriers::kMissing>;
  return Launch(kernel, {.grid = 2, .block = 256}, x, sums);
}

cudaError_t LaunchAsyncCopy(const float* x, float* y, Waits waits) {
  const auto kernel = waits == Waits::kAll ? AsyncCopyKernel<Waits::kAll> : AsyncCopyKernel<Waits::kMissing>;
  return Launch(kernel, {.block = 32, .shared_bytes = 128 * sizeof(float)}, x, y);
}

cudaError_t LaunchDivergentBarrier() {
  return Launch(DivergentKernel, {.block = 64});
}
cudaError_t LaunchWarpOperationOfHalfAWarp() {
  return Launch(HalfKernel, {.block = 32});
}
cudaError_t LaunchWriteAt(float* x) {
  return Launch(WriteKernel, {}, x);
}
cudaError_t LaunchLoadRows(float* sink, int stride) {
  return Launch(LoadRowsKernel, {.block = 32}, sink, stride);
}
cudaError_t LaunchWriteStruct(const WriteArgs& args) {
  return Launch(WriteStructKernel, {}, args);
}
cudaError_t LaunchAdd(float* x, float value, cudaStream_t stream) {
  return Launch(AddKernel, {.stream = stream}, x, value);
}
cudaError_t LaunchMultiply(float* x, float factor, cudaStream_t stream) {
  return Launch(MultiplyKernel, {.stream = stream}, x, factor);
}
cudaError_t LaunchAddWithShared(float* x, size_t shared_bytes) {
  return Launch(AddKernel, {.shared_bytes = shared_bytes}, x, 1.0f);
}

}  // namespace cuda_emulation
