#include "ops/op_test.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdlib>
#include <numeric>
#include <random>

#include "ops/reference.h"

namespace tandem::optest {

namespace {

// Operations whose tensors are f32 whatever the weights are.
bool AlwaysF32(Op op) {
  return op == Op::kRoute || op == Op::kRouteBackward || op == Op::kSoftCap || op == Op::kSample ||
         op == Op::kClipGradients || op == Op::kAdamW || op == Op::kInverseRowNorms;
}

// For a slow device: some of the cases, the same ones every time. TANDEM_EVERY_CASE in the environment: all of them.
std::vector<Case> Some(std::vector<Case> cases) {
  constexpr size_t kMost = 20;
  if (cases.size() <= kMost || std::getenv("TANDEM_EVERY_CASE") != nullptr) return cases;
  std::shuffle(cases.begin(), cases.end(), std::mt19937(1));
  cases.resize(kMost);
  return cases;
}

}  // namespace

void OpTest::SetUp() {
  if (backend_ == nullptr) GTEST_SKIP() << "no device for " << GetParam().name;
}

void OpTest::Finish() {
  const absl::Status status = backend_->Finish();
  ASSERT_TRUE(status.ok()) << status;
}

void OpTest::CheckAgainstReference(Op op) {
  std::vector<Case> cases = CorrectnessCases(op);
  const auto narrow = [](const Case& c) { return c.dtype == DType::kBf16; };
  if (Rows(DType::kBf16) == DType::kBf16 && !AlwaysF32(op) && std::none_of(cases.begin(), cases.end(), narrow)) {
    for (Case c : std::vector(cases)) {
      c.dtype = DType::kBf16;
      cases.push_back(c);
    }
  }
  if (GetParam().slow) cases = Some(std::move(cases));
  for (const Case& c : cases) {
    PreparedOp prepared(c, backend());
    prepared.Run();
    const Tensors got = prepared.Outputs(), want = Reference(c, prepared.inputs());
    ASSERT_FALSE(want.empty());
    for (const auto& [name, values] : want) {
      ASSERT_TRUE(got.contains(name)) << name;
      ExpectClose(values, got.at(name), ToleranceOf(c, Rows(c.dtype)), Name(c) + " " + name);
    }
    ASSERT_TRUE(prepared.GuardsIntact()) << Name(c) << " wrote outside of its outputs";
    if (HasFailure()) return;  // one case says it all
  }
}

void OpTest::ExpectSame(const std::vector<float>& want, const std::vector<float>& got, const std::string& name,
                        DType dtype) {
  if (GetParam().splits_change_no_bit) return ExpectSameBits(want, got, name);
  const double relative = dtype == DType::kBf16 ? 0x1p-7 : 1e-5;
  ExpectClose({want.begin(), want.end()}, {got.begin(), got.end()}, {relative, relative, "other splits, other sums"},
              name);
}

void ExpectClose(const std::vector<double>& want, const std::vector<double>& got, const Tolerance& tolerance,
                 const std::string& name) {
  ASSERT_EQ(want.size(), got.size()) << name;
  double squares = 0;
  for (const double value : want) squares += value * value;
  const double rms = std::sqrt(squares / static_cast<double>(want.size()));
  for (size_t i = 0; i < want.size(); ++i) {
    const double allowed = tolerance.relative * (std::abs(want[i]) + rms) + tolerance.absolute;
    ASSERT_TRUE(std::abs(got[i] - want[i]) <= allowed)  // false for a NaN
        << name << "[" << i << "] is " << got[i] << ", want " << want[i] << " +- " << allowed << " ("
        << tolerance.reason << ")";
  }
}

void ExpectSameBits(const std::vector<float>& want, const std::vector<float>& got, const std::string& name) {
  ASSERT_EQ(want.size(), got.size()) << name;
  for (size_t i = 0; i < want.size(); ++i) {
    ASSERT_FALSE(std::isnan(want[i])) << name << "[" << i << "]";
    ASSERT_EQ(std::bit_cast<uint32_t>(want[i]), std::bit_cast<uint32_t>(got[i]))
        << name << "[" << i << "]: " << want[i] << " and " << got[i];
  }
}

void OpTest::ExpectRowsIndependentOfBatch(int64_t total, const RowsFn& rows) {
  const std::vector<float> whole = rows(0, total);
  const int64_t width = static_cast<int64_t>(whole.size()) / total;
  std::vector<int64_t> counts(40);
  std::iota(counts.begin(), counts.end(), 1);
  if (GetParam().slow) counts = {1, 2, 5, 16, 17, 33};
  counts.insert(counts.end(), {48, 49, 64, 119, 120, 121, 509});
  for (const int64_t count : counts) {
    if (count > total) break;
    for (const int64_t first : {int64_t{0}, std::min<int64_t>(7, total - count), total - count}) {
      const std::vector<float> want(whole.begin() + first * width, whole.begin() + (first + count) * width);
      ExpectSameBits(want, rows(first, count), "rows " + std::to_string(first) + " + " + std::to_string(count));
      if (HasFailure()) return;
    }
  }
}

void ExpectSameBitsForAnyThreadCount(Op op) {
  const auto one = CreateCpuBackend(1), two = CreateCpuBackend(2);
  for (const Case& c : CorrectnessCases(op)) {
    PreparedOp first(c, *one), second(c, *two);
    first.Run();
    second.Run();
    ASSERT_EQ(first.Outputs(), second.Outputs()) << Name(c);
  }
}

void ExpectGradientsOfFiniteDifferences(Backend& backend, const GradientCheck& check) {
  PreparedOp prepared(check.backward, backend);
  prepared.Run();
  const Tensors got = prepared.Outputs(), &in = prepared.inputs();
  Tensors weights, forward_in = in;
  for (const auto& [output, gradient] : check.upstream) {
    if (gradient.empty()) {
      weights[output].assign(Reference(check.forward, in).at(output).size(), 1.0);
    } else {
      weights[output] = in.at(gradient);
    }
  }
  for (const std::string& name : check.inputs) {
    // An operation that is linear in an input needs none of it for the gradient, and any value gives the same.
    if (!forward_in.contains(name)) forward_in[name].assign(got.at("d" + name).size(), 0.0);
    std::vector<double> want = FiniteDifferences(check.forward, forward_in, name, weights);
    const auto initial = in.find("d" + name);  // what the gradient is added to
    for (size_t i = 0; i < want.size() && initial != in.end(); ++i) want[i] += initial->second[i];
    ExpectClose(want, got.at("d" + name), ToleranceOf(check.backward, DType::kF32), Name(check.backward) + " d" + name);
  }
}

std::vector<std::vector<int>> RandomSplits(int total, int count) {
  std::mt19937 generator(1);
  std::vector<std::vector<int>> splits;
  for (int i = 0; i < count; ++i) {
    std::vector<int> boundaries = {0, total};
    const int cuts = 1 + static_cast<int>(generator() % 6);
    for (int j = 0; j < cuts; ++j) boundaries.push_back(static_cast<int>(generator() % total));
    std::sort(boundaries.begin(), boundaries.end());
    boundaries.erase(std::unique(boundaries.begin(), boundaries.end()), boundaries.end());
    splits.push_back(std::move(boundaries));
  }
  return splits;
}

std::vector<float> RandomFloats(uint64_t seed, int64_t count) {
  const std::vector<double> values = RandomValues(seed, count);
  return {values.begin(), values.end()};
}

}  // namespace tandem::optest
