#include "backward.h"

#include "backward_scalar.h"
#include "backward_score.h"

namespace tandem::kernels {

cudaError_t LaunchAttentionBackward(const AttentionBackwardArgs& args, cudaStream_t stream) {
  if (args.num_rows == 0) return cudaSuccess;
  cudaError_t error = LaunchAttentionDelta(args, stream);
  if (error != cudaSuccess) return error;
  if (args.type == Type::kF32) return LaunchScalarAttentionBackward(args, stream);
  if (args.kv.type != Type::kBf16) return cudaErrorInvalidValue;
  error = LaunchBackwardKeys(args, stream);
  return error == cudaSuccess ? LaunchBackwardQueries(args, stream) : error;
}

}  // namespace tandem::kernels
