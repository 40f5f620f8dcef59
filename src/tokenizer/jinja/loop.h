// The `loop` variable: where a for loop stands. Items that the loop's own condition drops are not counted.
#pragma once

#include <deque>
#include <functional>
#include <optional>

#include "absl/status/statusor.h"
#include "tokenizer/jinja/callable.h"

namespace tandem::jinja {

struct LoopContext {
  // The next item that passes the condition, nullopt at the end. Called late: a condition may ask for what the body
  // wrote.
  std::function<absl::StatusOr<std::optional<Value>>()> fetch;
  std::deque<Value> ahead;  // fetched, not yet walked over
  int64_t index0 = -1;
  Value previous, current;  // previous is undefined in the first iteration
  std::optional<Value> last_changed;

  // False at the end.
  absl::StatusOr<bool> Advance();
  // Fetches until `count` items lie ahead or there are no more; returns how many do.
  absl::StatusOr<size_t> LookAhead(size_t count);
};

// loop.name; nullopt where there is no such attribute. `loop` is the value that holds the context.
absl::StatusOr<std::optional<Value>> LoopAttribute(const Value::Loop& loop, const std::string& name);

}  // namespace tandem::jinja
