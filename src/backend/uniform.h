// The random numbers of sampling: functions of a request's seed and a token's number in it, the same on every backend.
#pragma once

#include <cstdint>

namespace tandem {

// In [0, 1). splitmix64 (Steele, Lea, Flood 2014): it depends on (seed, index) alone, so a request gives the same
// tokens whatever runs beside it.
inline double Uniform(uint64_t seed, uint64_t index) {
  uint64_t z = seed + (index + 1) * 0x9e3779b97f4a7c15ull;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
  z ^= z >> 31;
  return static_cast<double>(z >> 11) * 0x1.0p-53;
}

}  // namespace tandem
