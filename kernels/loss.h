// Cross entropy of rows of logits and its gradient, in place. The two products of the head stand on either side of it
// (backend/cuda/loss.cc), so that only a chunk of rows of logits exists at a time; the idea of taking the gradient with
// the loss is Liger Kernel's (Hsu et al. 2024).
//
// Bytes moved: 8 rows vocab for the maximum and the sum and then the gradient, plus its BytesOf(type) rows vocab.
// Estimate, not measured: 85 % of the copy rate; at vocab 128 Ki, hidden 4096 that is a tenth of the two products'
// time.
#pragma once

#include <cuda_runtime.h>

#include "common/types.h"

namespace tandem::kernels {

struct CrossEntropyArgs {
  const float* logits = nullptr;    // [rows, vocab]
  const int32_t* labels = nullptr;  // [rows], each in [0, vocab)
  int64_t rows = 0, vocab = 0;
  float soft_cap = 0;        // > 0: of capped = soft_cap * tanh(logit / soft_cap)
  double* losses = nullptr;  // [rows] -log softmax(capped)[label]
  // [rows, vocab] gradient of a row's loss with respect to its logits, or null. May be `logits` where it is f32.
  void* dlogits = nullptr;
  Type dlogits_type = Type::kF32;
};
cudaError_t LaunchCrossEntropy(const CrossEntropyArgs& args, cudaStream_t stream);

}  // namespace tandem::kernels
