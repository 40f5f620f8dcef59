#include "training/token_rate.h"

#include <algorithm>

namespace tandem {

void TokenRate::Start(absl::Time now) {
  start_ = now;
  added_.clear();
}

void TokenRate::Add(absl::Time now, int64_t tokens) {
  added_.emplace_back(now, tokens);
  while (added_.front().first <= now - kWindow) added_.pop_front();
}

double TokenRate::PerSecond(absl::Time now) const {
  const absl::Duration span = std::min(kWindow, now - start_);
  if (span <= absl::ZeroDuration()) return 0;
  int64_t tokens = 0;
  for (const auto& [time, count] : added_) {
    if (time > now - kWindow) tokens += count;
  }
  return static_cast<double>(tokens) / absl::ToDoubleSeconds(span);
}

}  // namespace tandem
