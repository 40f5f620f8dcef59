// What the tests of every family share: the backends they run on and the comparisons they make.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "ops/cases.h"
#include "ops/prepared_op.h"

namespace tandem::optest {

struct BackendKind {
  std::string name;
  std::function<std::unique_ptr<Backend>()> create;  // null: there is no such device here
  // Rows that go through several calls give the same bits as in one.
  bool splits_change_no_bit = true;
  bool slow = false;  // emulated: fewer repetitions
};
inline void PrintTo(const BackendKind& kind, std::ostream* out) {
  *out << kind.name;
}

// The backends of this test binary (backends_*.cc).
std::vector<BackendKind> TestBackends();

// The output rows of a call on rows [first, first + count).
using RowsFn = std::function<std::vector<float>(int64_t first, int64_t count)>;

// A test per backend: class XTest : public OpTest, TEST_P(XTest, ...), TANDEM_ON_EVERY_BACKEND(XTest).
class OpTest : public testing::TestWithParam<BackendKind> {
 protected:
  void SetUp() override;  // skips where there is no device
  Backend& backend() { return *backend_; }
  void Finish();
  // Of activations beside weights of this type.
  DType Rows(DType weights) { return backend_->ActivationDType(weights); }
  int Repetitions(int usual) const { return GetParam().slow ? (usual + 19) / 20 : usual; }

  // Runs every correctness case of `op` and compares each output with the reference. Where activations can be bf16,
  // cases whose weights have no type are run with such ones too.
  void CheckAgainstReference(Op op);
  // Results of rows in one call and in several: the same bits, or close where the backend promises no more.
  void ExpectSame(const std::vector<float>& want, const std::vector<float>& got, const std::string& name,
                  DType dtype = DType::kF32);
  // `rows` of one big input must be those of the call on all `total` rows, bit for bit, whatever the batch.
  void ExpectRowsIndependentOfBatch(int64_t total, const RowsFn& rows);

 private:
  std::unique_ptr<Backend> backend_ = GetParam().create();
};

#define TANDEM_ON_EVERY_BACKEND(test)                                         \
  INSTANTIATE_TEST_SUITE_P(Backends, test, testing::ValuesIn(TestBackends()), \
                           [](const auto& info) { return info.param.name; })

void ExpectClose(const std::vector<double>& want, const std::vector<double>& got, const Tolerance& tolerance,
                 const std::string& name);
void ExpectSameBits(const std::vector<float>& want, const std::vector<float>& got, const std::string& name);

// One and two threads give the same bits in every correctness case of `op`.
void ExpectSameBitsForAnyThreadCount(Op op);

// The outputs "d<input>" of the backward case against finite differences of the reference of `forward`. upstream names
// the forward's outputs whose gradients are among the backward's inputs: {{"y", "dy"}}; an empty name stands for ones.
struct GradientCheck {
  Case forward, backward;
  std::vector<std::pair<std::string, std::string>> upstream;
  std::vector<std::string> inputs;
};
void ExpectGradientsOfFiniteDifferences(Backend& backend, const GradientCheck& check);

// Random splits of [0, total) into consecutive parts, as their boundaries: 0, ..., total.
std::vector<std::vector<int>> RandomSplits(int total, int count);

// RandomValues as the floats they are.
std::vector<float> RandomFloats(uint64_t seed, int64_t count);

}  // namespace tandem::optest
