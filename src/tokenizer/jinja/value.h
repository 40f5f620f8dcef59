// Values of a chat template: Python's, as far as templates can see them. Immutable but for namespaces, loops and
// generators.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"

namespace tandem::jinja {

class Value;
class Callable;      // callable.h
struct LoopContext;  // loop.h
using Values = std::vector<Value>;

struct Undefined {
  std::shared_ptr<const std::string> why;  // "'x' is undefined"
};
struct None {};

// Bytes alive in one rendering; strings and containers give theirs back when they die.
struct MemoryMeter {
  int64_t live_bytes = 0;
};

// What is shared between Values: several names refer to one object, as in Python.
struct StringObject {
  std::string text;
  bool is_markup = false;  // |safe: + escapes what is not
  std::shared_ptr<MemoryMeter> meter;
  ~StringObject();
};
// How far a walk through a value goes. An object that is referred to twice counts twice: walks do not know of sharing.
struct Extent {
  int depth = 0;       // of nesting
  int64_t weight = 1;  // values and 64-byte pieces of text; saturates
};
struct SequenceObject {
  Values items;
  Extent extent;
  std::shared_ptr<MemoryMeter> meter;
  ~SequenceObject();
};
struct DictObject {
  std::vector<std::pair<Value, Value>> entries;        // in order of insertion
  absl::flat_hash_map<std::string, size_t> positions;  // by HashKey
  Extent extent;
  std::shared_ptr<MemoryMeter> meter;
  ~DictObject();
};
struct NamespaceObject {
  std::map<std::string, Value> attributes;
};
// map, select and their like: is true, has no length, and can be walked once.
struct GeneratorObject;

class Value {
 public:
  struct List {
    std::shared_ptr<const SequenceObject> object;
  };
  struct Tuple {
    std::shared_ptr<const SequenceObject> object;
  };
  using String = std::shared_ptr<const StringObject>;
  using Dict = std::shared_ptr<const DictObject>;
  using Namespace = std::shared_ptr<NamespaceObject>;
  using Generator = std::shared_ptr<GeneratorObject>;
  using Loop = std::shared_ptr<LoopContext>;
  using Function = std::shared_ptr<const Callable>;
  using Variant = std::variant<Undefined, None, bool, int64_t, double, String, List, Tuple, Dict, Namespace, Generator,
                               Loop, Function>;

  Value() : data_(None{}) {}
  Value(bool b) : data_(b) {}
  Value(int64_t i) : data_(i) {}
  Value(int i) : data_(int64_t{i}) {}
  Value(size_t i) : data_(static_cast<int64_t>(i)) {}
  Value(double d) : data_(d) {}
  Value(const char*) = delete;  // would be a bool: strings are made by the Heap
  template <typename T>
  requires std::is_constructible_v<Variant, std::in_place_type_t<T>, T>
  explicit Value(T object) : data_(std::in_place_type<T>, std::move(object)) {}
  static Value MakeUndefined(std::string why);

  template <typename T>
  const T* As() const {
    return std::get_if<T>(&data_);
  }
  template <typename T>
  bool Is() const {
    return std::holds_alternative<T>(data_);
  }
  const std::string* AsString() const { return Is<String>() ? &(*As<String>())->text : nullptr; }
  // The items of a list or a tuple; null for anything else.
  const Values* AsSequence() const;
  bool IsNumber() const { return Is<bool>() || Is<int64_t>() || Is<double>(); }
  bool IsInteger() const { return Is<bool>() || Is<int64_t>(); }
  int64_t ToInteger() const;  // of an integer
  double ToDouble() const;    // of a number

 private:
  Variant data_;
};

struct GeneratorObject {
  Value list;
  size_t next = 0;
};

// Python's name of the type: "str", "NoneType" ...
std::string_view TypeName(const Value& value);
bool IsTrue(const Value& value);
std::string Str(const Value& value);   // what {{ value }} writes
std::string Repr(const Value& value);  // as inside a printed list
std::string ReprFloat(double value);
std::string ReprString(std::string_view text);
bool Equal(const Value& a, const Value& b);
// Negative, 0 or positive. INVALID_ARGUMENT where Python raises TypeError.
absl::StatusOr<int> Compare(const Value& a, const Value& b);
Extent ExtentOf(const Value& value);
void Include(const Extent& part, Extent* whole);

// What makes two keys of a dict the same. INVALID_ARGUMENT for what is not hashable.
absl::StatusOr<std::string> HashKey(const Value& key);
// Null where there is no such key.
const Value* FindKey(const DictObject& dict, const Value& key);
const Value* FindKey(const DictObject& dict, std::string_view key);

// What an object of that size takes, roughly: its own and the allocator's share included.
constexpr int64_t StringBytes(int64_t size) {
  return 96 + size;
}
constexpr int64_t SequenceBytes(int64_t size) {
  return 96 + size * static_cast<int64_t>(sizeof(Value));
}
constexpr int64_t DictBytes(int64_t size) {
  return 160 + size * (2 * static_cast<int64_t>(sizeof(Value)) + 64);
}

// What Python raises as a TypeError (or ValueError): INVALID_ARGUMENT.
absl::Status TypeError(std::string message);
std::string Quoted(std::string_view name);

}  // namespace tandem::jinja
