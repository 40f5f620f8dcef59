// Passes over one row of logits. Sums are taken over blocks of fixed size in a fixed order: a row gives the same bits
// wherever it stands.
#pragma once

#include <cstdint>
#include <vector>

namespace tandem::cpu {

inline constexpr int64_t kBlock = 1024;  // elements of a partial sum

// The largest element; a NaN where the row holds a NaN or +inf, -inf where it holds nothing else.
float MaxOrNan(const float* x, int64_t n);

// The first element that is `value`, which there is.
int64_t Find(const float* x, int64_t n, float value);

// weights[i] = exp((x[i] - max) / temperature); returns the sum. block_sums [ceil(n / kBlock)] may be null,
// weights may be x.
double ExpWeights(const float* x, int64_t n, float max, float temperature, float* weights, double* block_sums);

// Appends the indices of the elements greater than `threshold`, `first` added, to `ids`.
void AppendAbove(const float* x, int64_t n, float threshold, int64_t first, std::vector<int32_t>* ids);

}  // namespace tandem::cpu
