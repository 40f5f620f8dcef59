// What the operations of a Backend take besides tensors: weights, the paged KV pool, rows of sequences, options.
#pragma once

#include <cstdint>
#include <span>

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

enum class Activation : uint8_t { kSilu, kGeluTanh, kGelu, kRelu };  // kGelu: by erf; kGeluTanh: its approximation

// How a router of experts turns logits into weights: softmax over all experts, the top_k largest of each row.
struct RouterOptions {
  int top_k = 0;
  bool normalize = true;  // the top_k weights of a row sum to 1
};

// What turns hidden states into logits: weight [vocab, hidden], then logit = soft_cap * tanh(logit / soft_cap).
struct LmHead {
  const Matrix& weight;
  float soft_cap = 0;  // 0: none
};

struct LoraGradients {
  TensorView da;  // [rank, in], added to
  TensorView db;  // [out, rank], added to
};

// What attention computes besides the softmax: score = soft_cap * tanh(scale * q.k / soft_cap).
struct AttentionOptions {
  float scale = 1;
  int window = 0;      // row at position p sees (p - window, p]; 0: [0, p]
  float soft_cap = 0;  // 0: none
};

struct AttentionBackwardArgs {
  // One window [begin, begin + rows) of one sequence.
  int first_position = 0;
  std::span<const BlockId> blocks;
  PagedKv kv;
  AttentionOptions options;
  TensorView q, out, dout;  // [rows, num_heads * head_dim]; q as attention took it
  TensorView lse;           // [rows, num_heads] log-sum-exp of the scores
  TensorView dq;            // [rows, num_heads * head_dim], written
  TensorView dk, dv;        // [>= first_position + rows, num_kv_heads * head_dim], added to
};

struct AdamWStep {
  double learning_rate = 0, beta1 = 0, beta2 = 0, epsilon = 0, weight_decay = 0;
  double gradient_scale = 1;  // multiplies every gradient first (token mean, clipping)
  int step = 0;               // from 1
};

}  // namespace tandem
