// What computes: an abstract device with about thirty operations, each forward with its backward beside it.
//
// Conventions. Activations, gradients and adapter parameters are f32 [rows, columns], weights bf16 or f32 (Matrix), the
// KV pool f32 or bf16. "dx" is the gradient of x. Shapes are checked by the callers in src/ops; implementations trust
// them. On the CPU backend a row's result does not depend, bit for bit, on the other rows of the call, and sums over
// rows are taken from the last row to the first, so that splitting rows into calls, last part first, changes no bit
// either. One thread at a time.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "tandem/batch.h"
#include "tandem/tensor.h"

namespace tandem {

// A weight [out, in] in the backend's own layout; created and owned through the Backend.
class Matrix {
 public:
  virtual ~Matrix() = default;
  virtual int64_t rows() const = 0;     // out
  virtual int64_t columns() const = 0;  // in
  virtual DType dtype() const = 0;
  virtual size_t size_bytes() const = 0;
};

enum class Accumulate { kNo, kYes };  // overwrite the output, or add to it

// The keys and values of one layer in the paged pool; the layout within a block is the backend's.
struct PagedKv {
  void* keys = nullptr;
  void* values = nullptr;
  DType dtype = DType::kF32;
  int num_blocks = 0, block_size = 0, num_kv_heads = 0, head_dim = 0;
};

// Consecutive rows of one sequence, as attention and RoPE see them.
struct SequenceRows {
  int first_row = 0, num_rows = 0;
  int first_position = 0;
  std::span<const BlockId> blocks;
};

// Rows that share an adapter: y[rows] += scale * (x[rows] A^T) B^T.
struct LoraSegment {
  int first_row = 0, num_rows = 0;
  const Matrix* a = nullptr;  // [rank, in]
  const Matrix* b = nullptr;  // [out, rank]
  float scale = 0;
};

struct LoraGradients {
  TensorView da;  // [rank, in], added to
  TensorView db;  // [out, rank], added to
};

struct AttentionBackwardArgs {
  // One window [begin, begin + rows) of one sequence.
  int first_position = 0;
  std::span<const BlockId> blocks;
  PagedKv kv;
  float scale = 0;
  TensorView q, out, dout;  // [rows, num_heads * head_dim]; q after RoPE
  TensorView lse;           // [rows, num_heads] log-sum-exp of the scaled scores
  TensorView dq;            // [rows, num_heads * head_dim], written
  TensorView dk, dv;        // [>= first_position + rows, num_kv_heads * head_dim], added to
};

struct AdamWStep {
  double learning_rate = 0, beta1 = 0, beta2 = 0, epsilon = 0, weight_decay = 0;
  double gradient_scale = 1;  // multiplies every gradient first (token mean, clipping)
  int step = 0;               // from 1
};

class Backend {
 public:
  virtual ~Backend() = default;
  virtual std::string name() const = 0;  // "cpu (avx2, 2 threads)"

  // --- weights -------------------------------------------------------------------------------------------------------
  virtual std::unique_ptr<Matrix> CreateMatrix(const TensorView& weight) = 0;  // [out, in] f32, bf16, f16
  virtual void UpdateMatrix(Matrix& matrix, const TensorView& weight) = 0;     // same shape, f32

  // --- products ------------------------------------------------------------------------------------------------------
  // y[m, out] = x[m, in] W^T
  virtual void Linear(const TensorView& x, const Matrix& w, Accumulate mode, const TensorView& y) = 0;
  // dx[m, in] = dy[m, out] W
  virtual void LinearBackwardInput(const TensorView& dy, const Matrix& w, Accumulate mode, const TensorView& dx) = 0;
  // Every segment's bypass, added to y [m, out].
  virtual void Lora(const TensorView& x, std::span<const LoraSegment> segments, const TensorView& y) = 0;
  // One segment over all rows of x: adds to its gradients and to dx [m, in].
  virtual void LoraBackward(const TensorView& x, const TensorView& dy, const LoraSegment& segment,
                            const LoraGradients& gradients, const TensorView& dx) = 0;

  // --- embedding, norm, RoPE, activation, residual
  // ---------------------------------------------------------------------
  virtual void Embedding(std::span<const int32_t> ids, const Matrix& table, const TensorView& x) = 0;
  virtual void RmsNorm(const TensorView& x, const TensorView& weight, float epsilon, const TensorView& y) = 0;
  // dx (+)= the gradient through y = x * rsqrt(mean(x^2) + epsilon) * weight
  virtual void RmsNormBackward(const TensorView& x, const TensorView& weight, float epsilon, const TensorView& dy,
                               Accumulate mode, const TensorView& dx) = 0;
  // Rotates pairs (i, i + head_dim / 2) of each head of x [m, heads * head_dim] in place. table: [positions, head_dim]:
  // cos in the first half of a row, sin in the second. The backward is the inverse rotation.
  virtual void Rope(std::span<const SequenceRows> sequences, const TensorView& table, int head_dim,
                    const TensorView& x) = 0;
  virtual void RopeBackward(std::span<const SequenceRows> sequences, const TensorView& table, int head_dim,
                            const TensorView& dx) = 0;
  virtual void SiluMul(const TensorView& gate, const TensorView& up, const TensorView& y) = 0;  // silu(gate) * up
  virtual void SiluMulBackward(const TensorView& gate, const TensorView& up, const TensorView& dy,
                               const TensorView& dgate, const TensorView& dup) = 0;
  virtual void Add(const TensorView& x, const TensorView& y) = 0;  // y += x

  // --- attention over the paged pool
  // -----------------------------------------------------------------------------------
  virtual void AppendKv(std::span<const SequenceRows> sequences, const TensorView& k, const TensorView& v,
                        const PagedKv& kv) = 0;
  // Causal, grouped-query: row at position p sees [0, p]. lse [m, num_heads] is written where it has data.
  virtual void Attention(std::span<const SequenceRows> sequences, const TensorView& q, const PagedKv& kv, float scale,
                         const TensorView& out, const TensorView& lse) = 0;
  virtual void AttentionBackward(const AttentionBackwardArgs& args) = 0;

  // --- loss, sampling
  // -------------------------------------------------------------------------------------------------- Cross entropy
  // fused with the head in chunks of rows: [m, vocab] logits never exist. losses[m] = -log p(label), 0 where ignored.
  // dx [m, hidden] is the gradient of the sum of losses, written where it has data.
  virtual void LinearCrossEntropy(const TensorView& x, const Matrix& head, std::span<const int32_t> labels,
                                  std::span<double> losses, const TensorView& dx) = 0;
  // ids[i] drawn from logits row i by params[i]; -1 where the row holds a NaN or +inf. logits are scratch afterwards.
  virtual void Sample(const TensorView& logits, std::span<const SampleRequest> requests, std::span<int32_t> ids) = 0;

  // --- optimizer
  // -------------------------------------------------------------------------------------------------------
  virtual double SumOfSquares(const TensorView& x) = 0;
  // Decoupled weight decay (Loshchilov and Hutter 2019), as torch.optim.AdamW orders it.
  virtual void AdamW(const TensorView& parameter, const TensorView& gradient, const TensorView& m, const TensorView& v,
                     const AdamWStep& step) = 0;

  // --- memory
  // ----------------------------------------------------------------------------------------------------------
  virtual void* Allocate(size_t bytes) = 0;  // zeroed, 64-byte aligned; never null
  virtual void Free(void* data) = 0;
};

// How products with bf16 weights are taken: with bf16 dot products where the CPU has them, activations rounded to bf16;
// or widened to f32 everywhere, which gives the same bits on every machine.
enum class Bf16Products { kFastest, kWidened };

std::unique_ptr<Backend> CreateCpuBackend(int num_threads, Bf16Products bf16_products = Bf16Products::kFastest);

}  // namespace tandem
