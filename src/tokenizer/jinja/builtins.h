// What templates find by name: filters, tests, methods and globals. One table each.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "tokenizer/jinja/callable.h"
#include "tokenizer/jinja/value.h"

namespace tandem::jinja {

using FilterFunction = absl::StatusOr<Value> (*)(const Value& value, const Arguments& arguments, Evaluator* evaluator);
using TestFunction = absl::StatusOr<bool> (*)(const Value& value, const Arguments& arguments, Evaluator* evaluator);

// Null where there is none of that name.
FilterFunction FindFilter(std::string_view name);
TestFunction FindTest(std::string_view name);
std::vector<std::string> FilterNames();
std::vector<std::string> TestNames();

struct NamedFilter {
  std::string_view name;
  FilterFunction function;
};
// The tables that FindFilter looks through: on text (text_filters.cc) and on sequences (sequence_filters.cc).
std::span<const NamedFilter> TextFilters();
std::span<const NamedFilter> SequenceFilters();

// object.name where `object` has such a method (string_methods.cc, methods.cc); nullopt elsewhere.
std::optional<Value> FindMethod(const Value& object, std::string_view name);

using StringMethod = absl::StatusOr<Value> (*)(const std::string& self, const Arguments& arguments, Heap* heap);
StringMethod FindStringMethod(std::string_view name);

// range, dict, namespace, raise_exception, strftime_now.
absl::flat_hash_map<std::string, Value> MakeGlobals(absl::Time now);

}  // namespace tandem::jinja
