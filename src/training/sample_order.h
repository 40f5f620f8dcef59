// The order in which a job sees its samples: a pure function of (seed, epoch), the same on every machine and library.
#pragma once

#include <cstdint>
#include <vector>

namespace tandem {

enum class Shuffle { kNo, kYes };

// Indices 0 .. num_samples - 1 of one epoch: Fisher and Yates' shuffle, drawing from splitmix64 at counters that no
// other (seed, epoch) shares; or in the order of the file.
std::vector<int> EpochOrder(int num_samples, uint64_t seed, int epoch, Shuffle shuffle);

}  // namespace tandem
