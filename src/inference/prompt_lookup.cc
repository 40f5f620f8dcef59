#include "inference/prompt_lookup.h"

#include <algorithm>

namespace tandem {
namespace {

// Of the last guess in the mean: some ten guesses are remembered.
constexpr double kWeight = 0.15;

}  // namespace

std::vector<int32_t> LookUp(const SpeculationOptions& options, std::span<const int32_t> tokens, int limit) {
  const int size = static_cast<int>(tokens.size());
  if (limit <= 0 || size <= options.min_ngram) return {};
  // One pass from the end: `best` is the longest match so far, the latest of its length.
  int best = options.min_ngram - 1, follows = -1;
  for (int end = size - 1; end >= options.min_ngram && best < options.max_ngram; --end) {
    if (tokens[end - 1] != tokens[size - 1]) continue;
    int length = 1;
    while (length < options.max_ngram && length < end && tokens[end - 1 - length] == tokens[size - 1 - length]) {
      ++length;
    }
    if (length <= best) continue;
    best = length;
    follows = end;
  }
  if (follows < 0) return {};
  std::vector<int32_t> guess;
  guess.reserve(limit);
  for (int i = follows; static_cast<int>(guess.size()) < limit; ++i) {
    guess.push_back(i < size ? tokens[i] : guess[i - size]);
  }
  return guess;
}

std::span<const int32_t> Drafter::Guess(std::span<const int32_t> tokens, int limit) {
  if (guessed_at_ != tokens.size()) {
    guess_ = LookUp(options_, tokens, options_.max_tokens);
    guessed_at_ = tokens.size();
    seen_ = 0;
  }
  return std::span(guess_).first(std::min(guess_.size(), static_cast<size_t>(std::max(0, limit))));
}

void Drafter::Observe(int32_t token) {
  if (seen_ == guess_.size()) return;
  const bool right = guess_[seen_] == token;
  acceptance_ += kWeight * ((right ? 1 : 0) - acceptance_);
  seen_ = right ? seen_ + 1 : guess_.size();
}

}  // namespace tandem
