// The backward kernels of attention on the emulated device against double precision, and what must hold bit for bit.
#include <bit>
#include <cmath>

#include "attention/prefill.h"
#include "gtest/gtest.h"
#include "kernels/attention_problem.h"

namespace tandem::kernels {
namespace {

struct Gradients {
  std::vector<float> dq, dk, dv;
};

// A window of the only sequence of `problem` at a time, from the last to the first; boundaries are rows. dk and dv
// start from `initial` everywhere.
class Backward {
 public:
  explicit Backward(const AttentionProblem& problem)
      : problem_(problem),
        shape_(problem.shape()),
        dout_(RandomRows(9, problem.q_elements(), shape_.type)),
        out_(problem.q_elements() * BytesOf(shape_.type)),
        lse_(problem.q_elements() / shape_.head_dim) {
    // out and lse of the forward in double precision, as near as their types come.
    const AttentionProblem::Forward forward = problem.Reference();
    out_.Write(ToBytes({forward.out.begin(), forward.out.end()}, shape_.type));
    lse_.Write({forward.lse.begin(), forward.lse.end()});
  }

  const std::vector<float>& dout() const { return dout_; }

  Gradients Run(const std::vector<int>& boundaries, float initial) const {
    const int context = problem_.spans()[0].first_position + problem_.spans()[0].num_rows;
    const std::vector<float> start(static_cast<size_t>(context) * shape_.num_kv_heads * shape_.head_dim, initial);
    const DeviceArray<uint8_t> dout(ToBytes(dout_, shape_.type)), dq(dout_.size() * BytesOf(shape_.type));
    const DeviceArray<float> dk(start), dv(start);
    const int64_t width = static_cast<int64_t>(shape_.num_heads()) * shape_.head_dim;
    const AttentionArgs forward = problem_.Args();
    for (size_t i = boundaries.size() - 1; i > 0; --i) {
      const int first = boundaries[i - 1], num_rows = boundaries[i] - first;
      const int64_t offset = first * width * BytesOf(shape_.type);
      const DeviceArray<float> delta(static_cast<size_t>(num_rows) * shape_.num_heads());
      EXPECT_EQ(LaunchAttentionBackward({.q = static_cast<const uint8_t*>(forward.q) + offset,
                                         .out = out_.data() + offset,
                                         .dout = dout.data() + offset,
                                         .dq = dq.data() + offset,
                                         .type = shape_.type,
                                         .lse = lse_.data() + static_cast<int64_t>(first) * shape_.num_heads(),
                                         .delta = delta.data(),
                                         .dk = dk.data(),
                                         .dv = dv.data(),
                                         .kv = problem_.pool(),
                                         .blocks = problem_.device_blocks(),
                                         .num_rows = num_rows,
                                         .first_position = problem_.spans()[0].first_position + first,
                                         .group = shape_.group,
                                         .scale = shape_.scale(),
                                         .soft_cap = shape_.soft_cap,
                                         .window = shape_.window},
                                        nullptr),
                cudaSuccess);
      EXPECT_EQ(cudaDeviceSynchronize(), cudaSuccess);
    }
    return {FromBytes(dq.Read(), shape_.type), dk.Read(), dv.Read()};
  }

 private:
  const AttentionProblem& problem_;
  const AttentionShape& shape_;
  const std::vector<float> dout_;
  DeviceArray<uint8_t> out_;
  DeviceArray<float> lse_;
};

void ExpectNear(const std::vector<double>& want, const std::vector<float>& got, float initial, double tolerance,
                const char* name) {
  double squares = 0;
  for (const double value : want) squares += value * value;
  const double rms = std::sqrt(squares / static_cast<double>(want.size()));
  for (size_t i = 0; i < want.size(); ++i) {
    ASSERT_NEAR(got[i] - initial, want[i], tolerance * (std::abs(want[i]) + rms) + 1e-5) << name << "[" << i << "]";
  }
}

// bf16: P, dS and the stored output are rounded once (2^-9 each), and errors of a row's many terms average out. f32:
// sums of a few hundred terms. Where a row sees one key nothing is left of dP - D but the rounding of terms of order
// 10: 1e-5.
void CheckAgainstDouble(const AttentionShape& shape) {
  const AttentionProblem problem(shape);
  const Backward backward(problem);
  const float initial = shape.type == Type::kBf16 ? 0.25f : 0.0f;
  const Gradients got = backward.Run({0, shape.num_rows()}, initial);
  const AttentionProblem::Gradients want = problem.ReferenceGradients(backward.dout());
  const double tolerance = shape.type == Type::kBf16 ? 0x1p-6 : 0x1p-16;
  ExpectNear(want.dq, got.dq, 0, tolerance, "dq");
  ExpectNear(want.dk, got.dk, initial, tolerance, "dk");
  ExpectNear(want.dv, got.dv, initial, tolerance, "dv");
}

void ExpectSameBits(const std::vector<float>& a, const std::vector<float>& b) {
  ASSERT_EQ(a.size(), b.size());
  for (size_t i = 0; i < a.size(); ++i) ASSERT_EQ(std::bit_cast<uint32_t>(a[i]), std::bit_cast<uint32_t>(b[i])) << i;
}

constexpr std::pair<int, float> kMasks[] = {{0, 0.0f}, {1, 0.0f}, {16, 0.5f}, {70, 0.0f}, {0, 0.5f}};
constexpr AttentionShape::Rows kWindows[] = {{0, 1}, {0, 17}, {15, 1}, {37, 40}, {130, 70}};

TEST(AttentionBackward, MatchesDoublePrecision) {
  for (const auto& [window, soft_cap] : kMasks) {
    for (const AttentionShape::Rows& rows : kWindows) {
      CheckAgainstDouble({.window = window, .soft_cap = soft_cap, .sequences = {rows}});
      if (HasFailure()) FAIL() << "window " << window << ", soft cap " << soft_cap << ", from " << rows.first_position;
    }
  }
}

TEST(AttentionBackward, EveryHeadDimAndGroup) {
  for (const auto& [head_dim, group] :
       {std::pair{16, 1}, {64, 7}, {80, 2}, {96, 4}, {112, 3}, {128, 1}, {128, 8}, {256, 2}, {160, 5}}) {
    CheckAgainstDouble({.group = group, .head_dim = head_dim, .block_size = 32, .sequences = {{50, 33}}});
    if (HasFailure()) FAIL() << "head_dim " << head_dim << ", group " << group;
  }
}

TEST(AttentionBackward, ScalarMatchesDoublePrecision) {
  for (const Type kv_type : {Type::kF32, Type::kBf16}) {
    for (const auto& [window, soft_cap] : kMasks) {
      CheckAgainstDouble({.type = Type::kF32,
                          .kv_type = kv_type,
                          .head_dim = 48,
                          .window = window,
                          .soft_cap = soft_cap,
                          .sequences = {{37, 40}}});
      if (HasFailure()) FAIL() << "window " << window << ", soft cap " << soft_cap;
    }
  }
}

// Tiles of query rows lie at multiples of 64 packed rows and dq's at 128: windows cut there continue the same sums.
TEST(AttentionBackward, WindowsCutAtTilesGiveTheBitsOfTheWhole) {
  const AttentionProblem problem({.group = 2, .window = 75, .soft_cap = 0.5f, .sequences = {{0, 170}}});
  const Backward backward(problem);
  const Gradients whole = backward.Run({0, 170}, 0), windows = backward.Run({0, 64, 128, 170}, 0);
  ExpectSameBits(whole.dq, windows.dq);
  ExpectSameBits(whole.dk, windows.dk);
  ExpectSameBits(whole.dv, windows.dv);
}

TEST(AttentionBackward, AnyWindowsGiveTheWholeGradient) {
  const AttentionProblem problem({.group = 3, .sequences = {{0, 120}}});
  const Backward backward(problem);
  const Gradients whole = backward.Run({0, 120}, 0), windows = backward.Run({0, 7, 50, 51, 101, 120}, 0);
  const auto doubles = [](const std::vector<float>& v) { return std::vector<double>(v.begin(), v.end()); };
  ExpectSameBits(whole.dq, windows.dq);  // a row's dq is its own
  ExpectNear(doubles(whole.dk), windows.dk, 0, 1e-6, "dk");
  ExpectNear(doubles(whole.dv), windows.dv, 0, 1e-6, "dv");
}

TEST(AttentionBackward, ScalarWindowsGiveTheBitsOfTheWhole) {
  const AttentionProblem problem(
      {.type = Type::kF32, .kv_type = Type::kF32, .group = 3, .head_dim = 32, .window = 21, .sequences = {{0, 60}}});
  const Backward backward(problem);
  const Gradients whole = backward.Run({0, 60}, 0), windows = backward.Run({0, 7, 31, 32, 60}, 0);
  ExpectSameBits(whole.dq, windows.dq);
  ExpectSameBits(whole.dk, windows.dk);
  ExpectSameBits(whole.dv, windows.dv);
}

}  // namespace
}  // namespace tandem::kernels
