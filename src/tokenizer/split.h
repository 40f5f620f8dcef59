// Cutting words at the matches of a pattern, with the five behaviours of tokenizer.json's Split.
#pragma once

#include "absl/status/status.h"
#include "tokenizer/pre_tokenizer.h"
#include "tokenizer/regex.h"

namespace tandem {

// "a-b-" cut at "-":  removed: a b   isolated: a - b -   merged with previous: a- b-   merged with next: a -b -
// contiguous: as isolated, but neighbouring matches stay one word.
enum class SplitBehavior { kRemoved, kIsolated, kMergedWithPrevious, kMergedWithNext, kContiguous };

class Splitter {
 public:
  // `invert`: what lies between the matches is taken for the matches.
  Splitter(Regex regex, SplitBehavior behavior, bool invert)
      : regex_(std::move(regex)), behavior_(behavior), invert_(invert) {}
  absl::Status Apply(Words* words) const;

 private:
  Regex regex_;
  SplitBehavior behavior_;
  bool invert_;
};

}  // namespace tandem
