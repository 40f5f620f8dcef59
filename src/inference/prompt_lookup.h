// Speculative decoding by prompt lookup (Saxena 2023): the tokens to come are guessed to be those that followed the
// same last few tokens earlier in prompt and completion. Guesses are only ever looked at: a wrong one costs a row.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "tandem/generation.h"

namespace tandem {

struct SpeculationOptions {
  int max_tokens = 0;                // guessed ahead in one iteration, [0, kMaxDrafts]; 0: none
  int min_ngram = 2, max_ngram = 4;  // tokens that have to be the same, [1, 16], tried from the most to the least
};

inline constexpr int kMaxNgram = 16;

// At most `limit` tokens that followed the last earlier occurrence of the longest tail of `tokens`, where one of
// min_ngram tokens occurred before; it may overlap the tail, and what was guessed counts as having followed.
std::vector<int32_t> LookUp(const SpeculationOptions& options, std::span<const int32_t> tokens, int limit);

// The guesses of one sequence and how good they have been lately. What was guessed is compared with what came also
// where nobody paid for looking at it, so that a text that begins to repeat itself is noticed.
class Drafter {
 public:
  explicit Drafter(const SpeculationOptions& options) : options_(options) {}
  bool guesses() const { return options_.max_tokens > 0; }

  // Guesses at what follows `tokens`, at most `limit`; valid until the next call. The same again for the same tokens.
  std::span<const int32_t> Guess(std::span<const int32_t> tokens, int limit);

  // The next token came.
  void Observe(int32_t token);

  // That a guess is right if those before it are, [0, 1].
  double acceptance() const { return acceptance_; }

 private:
  const SpeculationOptions options_;
  std::vector<int32_t> guess_;
  size_t guessed_at_ = 0;  // tokens there were
  size_t seen_ = 0;        // of guess_, that came so
  double acceptance_ = 0.5;
};

}  // namespace tandem
