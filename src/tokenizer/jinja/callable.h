// What a template can call: macros, methods of values, and the globals.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "tokenizer/jinja/heap.h"
#include "tokenizer/jinja/value.h"

namespace tandem::jinja {

struct Arguments {
  Values positional;
  std::vector<std::pair<std::string, Value>> named;

  const Value* Named(std::string_view name) const;
  // Argument number `index` or the one called `name`; null where neither was given.
  const Value* Get(size_t index, std::string_view name) const;
  // INVALID_ARGUMENT where more were given, or one of a name that is not in `names` (in order of position).
  absl::Status Expect(std::string_view function, const std::vector<std::string>& names, size_t required = 0) const;
};

// Runs a callable, filter or test by name for those that take one (map, select ...).
class Evaluator {
 public:
  virtual ~Evaluator() = default;
  virtual Heap& heap() = 0;
  virtual absl::StatusOr<Value> CallValue(const Value& function, const Arguments& arguments) = 0;
  virtual absl::StatusOr<Value> ApplyFilter(const std::string& name, const Value& value,
                                            const Arguments& arguments) = 0;
  virtual absl::StatusOr<bool> ApplyTest(const std::string& name, const Value& value, const Arguments& arguments) = 0;
  virtual absl::StatusOr<Value> GetAttribute(const Value& object, const std::string& name) = 0;  // object.name
  virtual absl::StatusOr<Value> GetItem(const Value& object, const Value& key) = 0;              // object[key]
};

class Callable {
 public:
  virtual ~Callable() = default;
  virtual absl::StatusOr<Value> Call(const Arguments& arguments, Evaluator* evaluator) const = 0;
  virtual std::string name() const = 0;
};

}  // namespace tandem::jinja
