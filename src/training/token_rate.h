// Tokens per second over the last seconds.
#pragma once

#include <cstdint>
#include <deque>
#include <utility>

#include "absl/time/time.h"

namespace tandem {

// The caller brings the time, which must not run backwards. Not synchronized.
class TokenRate {
 public:
  static constexpr absl::Duration kWindow = absl::Seconds(10);

  // Forgets everything; from here the first window grows until it is whole.
  void Start(absl::Time now);
  void Add(absl::Time now, int64_t tokens);
  // 0 before Start and while no time has passed.
  double PerSecond(absl::Time now) const;

 private:
  absl::Time start_ = absl::InfiniteFuture();
  std::deque<std::pair<absl::Time, int64_t>> added_;  // within the window before the last Add
};

}  // namespace tandem
