// Attention as the CUDA backend runs it by default, on the emulated device: the operations' cases (tests/ops) only know
// `deterministic`, where everything goes to one kernel.
#include <cmath>

#include "backend/cuda/cuda_backend.h"
#include "gtest/gtest.h"
#include "ops/cases.h"
#include "ops/prepared_op.h"
#include "ops/reference.h"

namespace tandem::optest {
namespace {

// Decodes with one split and with several, a few rows at once, prompts and a chunk: all kernels in one call.
Case MixedBatch(int window) {
  Case c{.op = Op::kAttention,
         .num_kv_heads = 2,
         .group = 4,
         .head_dim = 32,
         .sequences = {{0, 1}, {300, 1}, {37, 40}, {700, 1}, {5, 3}, {0, 9}},
         .dtype = DType::kBf16,
         .window = window};
  for (const SequenceShape& s : c.sequences) c.m += s.num_rows;
  return c;
}

TEST(CudaAttention, MixedBatchesTakeAllKernels) {
  for (const bool deterministic : {false, true}) {
    auto backend = CudaBackend::Create({.deterministic = deterministic, .slab_bytes = 0});
    ASSERT_TRUE(backend.ok()) << backend.status();
    for (const int window : {0, 100}) {
      const Case c = MixedBatch(window);
      PreparedOp prepared(c, **backend);
      prepared.Run();
      EXPECT_TRUE(prepared.GuardsIntact());
      const Tensors got = prepared.Outputs(), want = Reference(c, prepared.inputs());
      const Tolerance tolerance = ToleranceOf(c, DType::kBf16);
      for (const auto& [name, values] : want) {
        double squares = 0;
        for (const double value : values) squares += value * value;
        const double rms = std::sqrt(squares / static_cast<double>(values.size()));
        for (size_t i = 0; i < values.size(); ++i) {
          ASSERT_NEAR(got.at(name)[i], values[i], tolerance.relative * (std::abs(values[i]) + rms) + tolerance.absolute)
              << name << "[" << i << "], window " << window << ", deterministic " << deterministic;
        }
      }
    }
  }
}

}  // namespace
}  // namespace tandem::optest
