// A case with its operands in place on a backend: seeded inputs, poisoned outputs, packed weights, a filled KV pool.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "ops/cases.h"
#include "ops/guarded_tensor.h"
#include "tandem/backend.h"

namespace tandem::optest {

// Operands by name: x, weight, dy ... An output that is also read (accumulation, in place) has its old contents among
// the inputs under the same name.
using Tensors = std::map<std::string, std::vector<double>>;

// The positions' blocks of several sequences in one pool: shuffled, and every slot that no position owns is a NaN.
class TestKvPool {
 public:
  TestKvPool(Backend& backend, const Case& c, uint64_t seed);
  ~TestKvPool();
  TestKvPool(const TestKvPool&) = delete;
  TestKvPool& operator=(const TestKvPool&) = delete;

  // Appends k and v [context(), num_kv_heads * head_dim] of all sequences, one after the other.
  void Fill(const TensorView& k, const TensorView& v);
  const PagedKv& kv() const { return kv_; }
  // The rows of the case's sequences as the operations take them.
  const std::vector<SequenceRows>& rows() const { return rows_; }

 private:
  Backend& backend_;
  PagedKv kv_;
  std::vector<std::vector<BlockId>> blocks_;  // [sequences]
  std::vector<SequenceRows> rows_;
};

class PreparedOp {
 public:
  // `backend` outlives it.
  PreparedOp(const Case& c, Backend& backend, uint64_t seed = 1);

  void Enqueue() { run_(); }
  // And waits: outputs are good on return.
  void Run();
  // What the backend was given, exactly (weights and KV after rounding to their dtype).
  const Tensors& inputs() const { return inputs_; }
  Tensors Outputs() const;
  // No float around any operand was touched, and no input changed.
  bool GuardsIntact() const;

 private:
  void PrepareProduct(const Case& c);
  // prepared_adapters.cc
  void PrepareLora(const Case& c);
  void PrepareColumnScale(const Case& c);
  void PrepareRowNorms(const Case& c);
  // prepared_op.cc
  void PrepareNorm(const Case& c);
  void PrepareActivation(const Case& c);
  void PrepareElementwise(const Case& c);
  void PrepareRouter(const Case& c);
  void PrepareChoices(const Case& c);
  void PrepareExpertProduct(const Case& c);
  Routing RoutingOf(const Case& c, int64_t num_experts, const std::string& prefix);
  void PrepareRope(const Case& c);
  void PrepareAttention(const Case& c);
  void PrepareHead(const Case& c);
  void PrepareOptimizer(const Case& c);

  // Stored as `stored`; values that only this narrower type holds exactly where `rounded_to` says so.
  TensorView Input(const std::string& name, Shape shape, DType stored = DType::kF32, DType rounded_to = DType::kF32);
  TensorView Output(const std::string& name, Shape shape, DType stored = DType::kF32);  // poisoned
  TensorView InOut(const std::string& name, Shape shape, DType stored = DType::kF32);   // seeded, read and written
  TensorView Result(const std::string& name, Shape shape, Accumulate mode) {
    return mode == Accumulate::kYes ? InOut(name, shape, rows_) : Output(name, shape, rows_);
  }
  const Matrix& Weight(const std::string& name, int64_t rows, int64_t columns, DType dtype);

  Backend& backend_;
  const DType rows_;  // of activations and their gradients
  uint64_t seed_;
  Tensors inputs_;
  std::map<std::string, std::unique_ptr<GuardedTensor>> input_tensors_, output_tensors_;
  std::vector<std::unique_ptr<Matrix>> matrices_;
  std::unique_ptr<TestKvPool> pool_;
  Tensors host_outputs_;                // f64
  std::vector<int32_t> ids_, sampled_;  // given: token ids, labels; drawn: tokens
  std::vector<SampleRequest> requests_;
  std::function<void()> run_;
};

// Uniform in [-1, 1), the same on every machine.
std::vector<double> RandomValues(uint64_t seed, int64_t count);
// Rounded as the dtype stores them.
std::vector<double> Rounded(std::vector<double> values, DType dtype);

}  // namespace tandem::optest
