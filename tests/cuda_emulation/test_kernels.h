// Kernels for emulation_test.cc: right ones, and wrong ones that the emulator has to find.
#pragma once

#include <cstddef>

#include "common/launch.h"

namespace cuda_emulation {

enum class Product { kBf16, kTf32 };
enum class Barriers { kAll, kMissing };
enum class Waits { kAll, kMissing };

// d[16, 8] += a[16, k] b[k, 8] by one warp, k = 16 (bf16; a through ldmatrix) or 8 (tf32)
cudaError_t LaunchMma(const float* a, const float* b, float* d, Product product);
// The number of lanes that got something wrong.
cudaError_t LaunchWarpOperations(int* failures);
// sums[2] of x[256], two blocks of 256
cudaError_t LaunchBlockSum(const float* x, float* sums, Barriers barriers);
// y[128] = x[128] through shared memory
cudaError_t LaunchAsyncCopy(const float* x, float* y, Waits waits);
cudaError_t LaunchDivergentBarrier();
cudaError_t LaunchWarpOperationOfHalfAWarp();
cudaError_t LaunchWriteAt(float* x);
struct WriteArgs {
  int number = 0;
  float* x = nullptr;
  double value = 0;
};
// One 8 x 8 matrix whose rows lie `stride` bf16 apart; lane i writes to sink[i].
cudaError_t LaunchLoadRows(float* sink, int stride);
cudaError_t LaunchWriteStruct(const WriteArgs& args);
cudaError_t LaunchAdd(float* x, float value, cudaStream_t stream);
cudaError_t LaunchMultiply(float* x, float factor, cudaStream_t stream);
cudaError_t LaunchAddWithShared(float* x, size_t shared_bytes);

}  // namespace cuda_emulation
