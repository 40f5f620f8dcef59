// Makes the values of one rendering and holds it to its bounds.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "tokenizer/jinja/value.h"

namespace tandem::jinja {

struct Limits {
  int64_t max_steps = 10'000'000;               // expressions, iterations, items and 64-byte pieces of text touched
  int64_t max_live_bytes = int64_t{512} << 20;  // of strings, lists and dicts
  int64_t max_output_bytes = int64_t{64} << 20;
  int max_depth = 500;  // of nested expressions, statements and macro calls, and of nested values
};

// Not thread-safe: one for each rendering. Every call may return RESOURCE_EXHAUSTED.
class Heap {
 public:
  explicit Heap(const Limits& limits) : limits_(limits), meter_(std::make_shared<MemoryMeter>()) {}
  Heap(const Heap&) = delete;
  // Breaks the cycles that namespaces can be part of.
  ~Heap();

  const Limits& limits() const { return limits_; }
  absl::Status Charge(int64_t steps);
  // Before a walk through `value`: printing, comparing.
  absl::Status ChargeWalk(const Value& value) { return Charge(ExtentOf(value).weight); }
  // Before a search for `needle` in `haystack`, which at worst compares all with all.
  absl::Status ChargeSearch(std::string_view haystack, std::string_view needle) {
    return Charge((1 + haystack.size() / 64) * (1 + needle.size() / 64));
  }
  // Fails where `bytes` more could not be made: for callers that would build something huge first.
  absl::Status CheckBytes(int64_t bytes) const;

  absl::StatusOr<Value> String(std::string text, bool is_markup = false);
  absl::StatusOr<Value> List(Values items);
  absl::StatusOr<Value> Tuple(Values items);
  absl::StatusOr<Value> Dict(std::vector<std::pair<Value, Value>> entries);  // later keys win
  Value Namespace(std::map<std::string, Value> attributes);
  absl::StatusOr<Value> Generator(Values items);

 private:
  absl::StatusOr<std::shared_ptr<const SequenceObject>> Sequence(Values items);
  absl::Status CheckExtent(const Extent& extent) const;

  Limits limits_;
  int64_t steps_ = 0;
  std::shared_ptr<MemoryMeter> meter_;  // shared: values may outlive the heap by a moment
  std::vector<Value::Namespace> namespaces_;
};

// Walks over `value` as a for loop does. INVALID_ARGUMENT for what cannot be walked.
absl::StatusOr<Values> Iterate(const Value& value, Heap* heap);

// a == b, charged.
absl::StatusOr<bool> EqualValues(const Value& a, const Value& b, Heap* heap);

// len(value); INVALID_ARGUMENT where it has none.
absl::StatusOr<int64_t> Length(const Value& value);

}  // namespace tandem::jinja
