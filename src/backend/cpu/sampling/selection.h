// Choosing the best of a row without sorting it: the k largest logits, and the smallest set of tokens that holds a
// share of the probability.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace tandem::cpu {

struct Candidate {
  float key = 0;     // smaller is better; equals by id
  float weight = 0;  // proportional to the probability
  int32_t id = 0;
};

inline bool IsBetter(const Candidate& a, const Candidate& b) {
  return a.key != b.key ? a.key < b.key : a.id < b.id;
}

// The k largest elements of x [n] but for -inf, in no particular order; equals by index. key is -x, weight 0. Time
// O(n + k) whatever the row.
void SelectTopK(const float* x, int64_t n, int64_t k, std::vector<Candidate>* out);

// Puts the smallest set of best candidates whose weights add up to `mass` first and returns its size: all where they do
// not, at least one. O(n).
int64_t SelectMass(std::span<Candidate> candidates, double mass);

}  // namespace tandem::cpu
