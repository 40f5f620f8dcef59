#include "kernels/rope.h"
#include "backend/cuda/cuda_backend.h"

namespace tandem {
namespace {

struct RopePlan {
  std::span<const int32_t> positions;  // of every row of the call; -1 where it is of no sequence
};

void Turn(cuda::Runtime& runtime, std::span<const SequenceRows> sequences, const TensorView& table, int head_dim,
          const TensorView& x, bool inverse) {
  const RopePlan& plan = runtime.PlanOf<RopePlan>(sequences, x.rows(), [&] {
    std::vector<int32_t> positions(x.rows(), -1);
    for (const SequenceRows& rows : sequences) {
      for (int r = 0; r < rows.num_rows; ++r) positions[rows.first_row + r] = rows.first_position + r;
    }
    return RopePlan{runtime.ToDevice<int32_t>(positions)};
  });
  runtime.Launch(kernels::LaunchRope, kernels::RopeArgs{.x = x.data,
                                                        .type = cuda::TypeOf(x.dtype),
                                                        .table = table.f32(),
                                                        .positions = plan.positions.data(),
                                                        .num_rows = static_cast<int>(x.rows()),
                                                        .num_heads = static_cast<int>(x.shape[1]) / head_dim,
                                                        .head_dim = head_dim,
                                                        .inverse = inverse});
}

}  // namespace

void CudaBackend::Rope(std::span<const SequenceRows> sequences, const TensorView& table, int head_dim,
                       const TensorView& x) {
  const cuda::Runtime::Op op(runtime_, "Rope");
  Turn(runtime_, sequences, table, head_dim, x, false);
}

void CudaBackend::RopeBackward(std::span<const SequenceRows> sequences, const TensorView& table, int head_dim,
                               const TensorView& dx) {
  const cuda::Runtime::Op op(runtime_, "RopeBackward");
  Turn(runtime_, sequences, table, head_dim, dx, true);
}

}  // namespace tandem
