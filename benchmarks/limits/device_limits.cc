#include "limits/device_limits.h"

#include <algorithm>
#include <chrono>
#include <functional>
#include <vector>

#include "backend/device_tensor.h"
#include "base/check.h"
#include "tensor/dtype.h"

namespace tandem {
namespace {

constexpr int64_t kSize = 8192;
constexpr int64_t kCopied = int64_t{1} << 28;  // f32
constexpr int kRounds = 5, kCalls = 10;

// Of one call; the best of some rounds, after one that nobody times.
double Seconds(Backend& backend, const std::function<void()>& call) {
  double best = 1e30;
  for (int round = 0; round <= kRounds; ++round) {
    const auto start = std::chrono::steady_clock::now();
    for (int i = 0; i < kCalls; ++i) call();
    const absl::Status status = backend.Finish();
    CHECK(status.ok()) << status.ToString();
    const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start;
    if (round > 0) best = std::min(best, elapsed.count() / kCalls);
  }
  return best;
}

}  // namespace

MachineLimits MeasureDeviceLimits(Backend& backend) {
  MachineLimits limits;
  {
    // Of values that change from bit to bit: a device that is fed zeros draws less power and runs faster.
    std::vector<uint16_t> values(kSize * kSize);
    uint32_t state = 1;
    for (uint16_t& value : values) {
      state = state * 1664525u + 1013904223u;
      value = F32ToBf16(static_cast<float>(static_cast<int>(state >> 8) - (1 << 23)) * 0x1p-23f);
    }
    const TensorView host = {values.data(), DType::kBf16, {kSize, kSize}};
    const DeviceTensor x = DeviceTensor::CopyOf(backend, host), y(backend, DType::kBf16, {kSize, kSize});
    const std::unique_ptr<Matrix> w = backend.CreateMatrix(host);
    limits.bf16_flops_per_second = 2.0 * kSize * kSize * kSize /
                                   Seconds(backend, [&] { backend.Linear(x.view(), *w, Accumulate::kNo, y.view()); });
    limits.flops_per_second = limits.bf16_flops_per_second;
  }
  const DeviceTensor from(backend, DType::kF32, {kCopied}), to(backend, DType::kF32, {kCopied});
  limits.read_bytes_per_second =
      2.0 * sizeof(float) * kCopied / Seconds(backend, [&] { backend.Copy(from.view(), to.view()); });
  return limits;
}

}  // namespace tandem
