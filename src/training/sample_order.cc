#include "training/sample_order.h"

#include <numeric>
#include <utility>

namespace tandem {
namespace {

// The output function of splitmix64 (Steele, Lea and Flood 2014): a bijection that mixes every bit into every other.
uint64_t Mix(uint64_t z) {
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

// Counter-based: draw i of a stream needs no draw before it.
class Stream {
 public:
  Stream(uint64_t seed, uint64_t epoch) : key_(Mix(Mix(seed + kGolden) + (epoch + 1) * kGolden)) {}

  // Uniform in [0, bound): the high word of draw * bound, drawn again where it would favour small numbers (Lemire
  // 2019).
  uint64_t Below(uint64_t bound) {
    const uint64_t unfair = -bound % bound;
    for (;;) {
      const __uint128_t product = static_cast<__uint128_t>(Mix(key_ + ++counter_ * kGolden)) * bound;
      if (static_cast<uint64_t>(product) >= unfair) return static_cast<uint64_t>(product >> 64);
    }
  }

 private:
  static constexpr uint64_t kGolden = 0x9e3779b97f4a7c15u;
  const uint64_t key_;
  uint64_t counter_ = 0;
};

}  // namespace

std::vector<int> EpochOrder(int num_samples, uint64_t seed, int epoch, Shuffle shuffle) {
  std::vector<int> order(num_samples);
  std::iota(order.begin(), order.end(), 0);
  if (shuffle == Shuffle::kNo) return order;
  Stream stream(seed, static_cast<uint64_t>(epoch));
  for (int i = num_samples - 1; i > 0; --i) std::swap(order[i], order[stream.Below(static_cast<uint64_t>(i) + 1)]);
  return order;
}

}  // namespace tandem
