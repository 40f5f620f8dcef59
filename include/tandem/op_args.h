// What the operations of a Backend take besides tensors: weights, the paged KV pool, rows of sequences, options.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
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

enum class Activation : uint8_t { kSilu, kGeluTanh, kGelu, kRelu };  // kGelu: by erf; kGeluTanh: its approximation

// Rows that share an adapter: y[rows] += scale * activation(x[rows] A^T) B^T.
struct LoraSegment {
  int first_row = 0, num_rows = 0;
  const Matrix* a = nullptr;  // [rank, in]
  const Matrix* b = nullptr;  // [out, rank]
  float scale = 0;
  std::optional<Activation> activation = std::nullopt;  // none: the identity
};

// Rows whose columns are scaled about a center: y[rows] = center + factor * unit * (x[rows] - center), element by
// element along the columns. Views of f32 [columns].
struct ScaleSegment {
  int first_row = 0, num_rows = 0;
  TensorView factor;       // what is learned
  TensorView unit = {};    // without data: ones
  TensorView center = {};  // without data: zeros
};

// How a router of experts turns logits into weights: softmax over all experts, the top_k largest of each row.
struct RouterOptions {
  int top_k = 0;
  bool normalize = true;  // the top_k weights of a row sum to 1
};

// Who chose which expert, all of it on the device. Choice c = row * top_k + i is the i-th of its row; the rows of the
// experts' MLPs are the choices in their `order`.
struct Routing {
  TensorView experts;  // [m, top_k] i32: each row's by number, rising; of equals the lower number
  TensorView weights;  // [m, top_k] f32: their shares
  TensorView order;    // [m * top_k] i32: the choices by expert, those of one expert by row
  TensorView places;   // [m, top_k] i32: where a choice stands in `order`
  TensorView ends;     // [num_experts] i32: where those of an expert end in `order`; the next one's begin there
};
using ExpertMatrices = std::span<const std::unique_ptr<Matrix>>;  // [num_experts], alike

// What turns hidden states into logits: weight [vocab, hidden], then logit = soft_cap * tanh(logit / soft_cap).
struct LmHead {
  const Matrix& weight;
  float soft_cap = 0;  // 0: none
};

struct LoraGradients {
  TensorView da;  // [rank, in], added to
  TensorView db;  // [out, rank], added to
};

// The rows of W + scale B A of one linear: what DoRA divides by.
struct RowNormArgs {
  TensorView squares;    // [out] squared norms of W's rows
  TensorView b;          // [out, rank]
  TensorView projected;  // [rank, out]: A W^T
  TensorView gram;       // [rank, rank]: A A^T
  float scale = 0;
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

// How gradients that are sums become what the optimizer takes: divided, then clipped as torch's clip_grad_norm_ does.
struct ClipOptions {
  double divisor = 1;   // the tokens that were summed over
  double max_norm = 0;  // of all gradients together, after the division; 0: any
};

struct AdamWStep {
  double learning_rate = 0, beta1 = 0, beta2 = 0, epsilon = 0, weight_decay = 0;
  int step = 0;  // from 1
};

// What AdamW changes, f32 and of one shape.
struct TrainedTensor {
  TensorView value, gradient, m, v;
};

}  // namespace tandem
