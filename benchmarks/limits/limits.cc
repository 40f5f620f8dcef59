#include "limits/limits.h"

#include <sys/mman.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <vector>

#include "backend/cpu/dot_product.h"
#include "base/check.h"
#include "base/thread_pool.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "limits/limits.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
// after foreach_target.h
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace tandem {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;
using Df = hn::ScalableTag<float>;

// Twelve chains: more than latency (4 or 5 cycles) times the two multiply-adds a cycle can start. They begin apart, or
// the compiler would see that they are one. Returns the flops.
double MultiplyAdds(int64_t rounds, float* out) {
  const Df d;
  const auto x = hn::Set(d, 0.999f), y = hn::Set(d, 0.001f);
  const auto start = [&](int chain) HWY_ATTR { return hn::Set(d, 0.001f * static_cast<float>(chain) + *out); };
  auto s0 = start(0), s1 = start(1), s2 = start(2), s3 = start(3), s4 = start(4), s5 = start(5), s6 = start(6);
  auto s7 = start(7), s8 = start(8), s9 = start(9), s10 = start(10), s11 = start(11);
  for (int64_t i = 0; i < rounds; ++i) {
    s0 = hn::MulAdd(s0, x, y), s1 = hn::MulAdd(s1, x, y), s2 = hn::MulAdd(s2, x, y), s3 = hn::MulAdd(s3, x, y);
    s4 = hn::MulAdd(s4, x, y), s5 = hn::MulAdd(s5, x, y), s6 = hn::MulAdd(s6, x, y), s7 = hn::MulAdd(s7, x, y);
    s8 = hn::MulAdd(s8, x, y), s9 = hn::MulAdd(s9, x, y), s10 = hn::MulAdd(s10, x, y), s11 = hn::MulAdd(s11, x, y);
  }
  const auto sum = hn::Add(hn::Add(hn::Add(s0, s1), hn::Add(s2, s3)), hn::Add(hn::Add(s4, s5), hn::Add(s6, s7)));
  *out += hn::GetLane(hn::Add(sum, hn::Add(hn::Add(s8, s9), hn::Add(s10, s11))));
  return static_cast<double>(rounds) * 12 * 2 * static_cast<double>(hn::Lanes(d));
}

// [data, data + count), count a multiple of 8 vectors, as four streams.
void Read(const float* data, int64_t count, float* out) {
  const Df d;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d)), stream = count / 4;
  auto s0 = hn::Zero(d), s1 = s0, s2 = s0, s3 = s0;
  for (int64_t i = 0; i + lanes <= stream; i += lanes) {
    s0 = hn::Add(s0, hn::Load(d, data + i));
    s1 = hn::Add(s1, hn::Load(d, data + stream + i));
    s2 = hn::Add(s2, hn::Load(d, data + 2 * stream + i));
    s3 = hn::Add(s3, hn::Load(d, data + 3 * stream + i));
  }
  *out += hn::GetLane(hn::Add(hn::Add(s0, s1), hn::Add(s2, s3)));
}

}  // namespace HWY_NAMESPACE
}  // namespace tandem
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tandem {

HWY_EXPORT(MultiplyAdds);
HWY_EXPORT(Read);

namespace {

// The most of what `work` returns per second, over rounds of all threads at once.
template <typename Work>
double Best(ThreadPool& pool, int rounds, Work&& work) {
  double best = 0;
  for (int round = 0; round < rounds; ++round) {
    std::vector<double> amount(pool.num_threads());
    const auto start = std::chrono::steady_clock::now();
    pool.For(pool.num_threads(), [&](int64_t part, int) { amount[part] = work(part); });
    const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start;
    double sum = 0;
    for (const double value : amount) sum += value;
    best = std::max(best, sum / elapsed.count());
  }
  return best;
}

// The product's own tile on operands that stay in L1: chains of vdpbf16ps, which start one a cycle on Zen 4.
double Bf16Dots() {
  constexpr int64_t kRows = 6, kPairs = 64, kPanelStride = kPairs * cpu::kDotPairElements, kRounds = 200;
  alignas(64) static thread_local uint16_t a[kRows * 2 * kPairs], b[cpu::kDotGroup * kPanelStride];
  alignas(64) static thread_local float c[kRows * cpu::kDotGroup * cpu::kDotPanel];
  const int64_t columns = cpu::kDotGroup * cpu::kDotPanel;
  for (int64_t i = 0; i < kRounds; ++i) {
    cpu::DotProduct({.m = kRows, .n = columns, .pairs = kPairs}, {.a = a,
                                                                  .a_pairs = kPairs,
                                                                  .b = b,
                                                                  .panel_stride = kPanelStride,
                                                                  .c = c,
                                                                  .c_row = columns,
                                                                  .accumulate = true});
  }
  return static_cast<double>(kRounds * kRows * kPairs * columns) * 4;
}

constexpr int64_t kStreamBytes = int64_t{256} << 20, kHugePage = 2 << 20;
constexpr int kLineFloats = 16;  // sums of two threads never share a cache line

}  // namespace

MemoryStream::MemoryStream(int num_threads)
    : pool_(num_threads),
      data_(std::aligned_alloc(kHugePage, kStreamBytes), std::free),
      sums_(num_threads * kLineFloats) {
  CHECK(data_ != nullptr);
  madvise(data_.get(), kStreamBytes, MADV_HUGEPAGE);
  std::memset(data_.get(), 0, kStreamBytes);
}

double MemoryStream::Read(double bytes) {
  const int64_t threads = pool_.num_threads();
  const int64_t floats = kStreamBytes / threads / 4096 * 4096 / static_cast<int64_t>(sizeof(float));
  const double pass = static_cast<double>(threads * floats) * sizeof(float);
  const auto passes = static_cast<int64_t>(std::ceil(bytes / pass));
  const auto start = std::chrono::steady_clock::now();
  for (int64_t i = 0; i < passes; ++i) {
    pool_.For(threads, [&](int64_t part, int) {
      HWY_DYNAMIC_DISPATCH(Read)
      (static_cast<const float*>(data_.get()) + part * floats, floats, &sums_[part * kLineFloats]);
    });
  }
  const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start;
  return static_cast<double>(passes) * pass / elapsed.count();
}

MachineLimits MeasureMachineLimits(int num_threads) {
  ThreadPool pool(num_threads);
  std::vector<float> sums(num_threads * kLineFloats);
  MachineLimits limits;
  limits.flops_per_second = Best(
      pool, 200, [&](int64_t part) { return HWY_DYNAMIC_DISPATCH(MultiplyAdds)(100000, &sums[part * kLineFloats]); });
  if (cpu::HasBf16Dot()) {
    limits.bf16_flops_per_second = Best(pool, 200, [&](int64_t) { return Bf16Dots(); });
  }
  MemoryStream stream(num_threads);
  for (int round = 0; round < 12; ++round) {
    limits.read_bytes_per_second = std::max(limits.read_bytes_per_second, stream.Read(1));
  }
  return limits;
}

}  // namespace tandem
#endif
