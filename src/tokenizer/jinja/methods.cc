// Methods of dicts and lists, and the binding of methods to their objects.
#include <algorithm>
#include <array>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "tokenizer/jinja/builtins.h"
#include "tokenizer/jinja/operators.h"

namespace tandem::jinja {
namespace {

using Result = absl::StatusOr<Value>;
using Method = Result (*)(const Value& self, const Arguments& arguments, Heap* heap);

Result Get(const Value& self, const Arguments& arguments, Heap* heap) {
  RETURN_IF_ERROR(arguments.Expect("get", {"key", "default"}, 1));
  const Value& key = *arguments.Get(0, "key");
  RETURN_IF_ERROR(heap->ChargeWalk(key));
  RETURN_IF_ERROR(HashKey(key).status());
  if (const Value* value = FindKey(**self.As<Value::Dict>(), key); value != nullptr) return *value;
  const Value* fallback = arguments.Get(1, "default");
  return fallback != nullptr ? *fallback : Value();
}

Result Keys(const Value& self, const Arguments& arguments, Heap* heap) {
  RETURN_IF_ERROR(arguments.Expect("keys", {}));
  ASSIGN_OR_RETURN(Values keys, Iterate(self, heap));
  return heap->List(std::move(keys));
}

Result ValuesOf(const Value& self, const Arguments& arguments, Heap* heap) {
  RETURN_IF_ERROR(arguments.Expect("values", {}));
  Values values;
  for (const auto& [key, value] : (*self.As<Value::Dict>())->entries) values.push_back(value);
  return heap->List(std::move(values));
}

Result Items(const Value& self, const Arguments& arguments, Heap* heap) {
  RETURN_IF_ERROR(arguments.Expect("items", {}));
  Values pairs;
  for (const auto& [key, value] : (*self.As<Value::Dict>())->entries) {
    ASSIGN_OR_RETURN(pairs.emplace_back(), heap->Tuple({key, value}));
  }
  return heap->List(std::move(pairs));
}

Result Copy(const Value& self, const Arguments& arguments, Heap*) {
  RETURN_IF_ERROR(arguments.Expect("copy", {}));
  return self;  // nothing can change either
}

Result Index(const Value& self, const Arguments& arguments, Heap* heap) {
  RETURN_IF_ERROR(arguments.Expect("index", {"value"}, 1));
  const Values& items = *self.AsSequence();
  for (size_t i = 0; i < items.size(); ++i) {
    ASSIGN_OR_RETURN(const bool equal, EqualValues(items[i], *arguments.Get(0, "value"), heap));
    if (equal) return Value(i);
  }
  return absl::InvalidArgumentError("the value is not in the list");
}

Result Count(const Value& self, const Arguments& arguments, Heap* heap) {
  RETURN_IF_ERROR(arguments.Expect("count", {"value"}, 1));
  int64_t count = 0;
  for (const Value& item : *self.AsSequence()) {
    ASSIGN_OR_RETURN(const bool equal, EqualValues(item, *arguments.Get(0, "value"), heap));
    count += equal;
  }
  return Value(count);
}

struct NamedMethod {
  std::string_view name;
  Method method;
};
constexpr NamedMethod kDictMethods[] = {
    {"get", Get}, {"keys", Keys}, {"values", ValuesOf}, {"items", Items}, {"copy", Copy}};
constexpr NamedMethod kListMethods[] = {{"index", Index}, {"count", Count}, {"copy", Copy}};
// What jinja2's immutable sandbox refuses: these exist, but give an undefined value.
constexpr std::array<std::string_view, 5> kDictMutators = {"clear", "pop", "popitem", "setdefault", "update"};
constexpr std::array<std::string_view, 8> kListMutators = {"append", "clear",  "extend",  "insert",
                                                           "pop",    "remove", "reverse", "sort"};

class BoundMethod : public Callable {
 public:
  BoundMethod(Value self, std::string_view name, Method method)
      : self_(std::move(self)), name_(name), method_(method) {}
  Result Call(const Arguments& arguments, Evaluator* evaluator) const override {
    return method_(self_, arguments, &evaluator->heap());
  }
  std::string name() const override { return absl::StrCat("method ", name_, " of ", std::string(TypeName(self_))); }

 private:
  Value self_;
  std::string name_;
  Method method_;
};

class BoundStringMethod : public Callable {
 public:
  BoundStringMethod(Value self, std::string_view name, StringMethod method)
      : self_(std::move(self)), name_(name), method_(method) {}
  Result Call(const Arguments& arguments, Evaluator* evaluator) const override {
    return method_(*self_.AsString(), arguments, &evaluator->heap());
  }
  std::string name() const override { return absl::StrCat("method ", name_, " of str"); }

 private:
  Value self_;
  std::string name_;
  StringMethod method_;
};

template <size_t n, size_t m>
std::optional<Value> Bind(const NamedMethod (&methods)[n], const std::array<std::string_view, m>& mutators,
                          const Value& object, std::string_view name) {
  for (const NamedMethod& method : methods) {
    if (method.name != name) continue;
    return Value(Value::Function(std::make_shared<BoundMethod>(object, name, method.method)));
  }
  if (std::find(mutators.begin(), mutators.end(), name) == mutators.end()) return std::nullopt;
  return Value::MakeUndefined(absl::StrCat("access to attribute ", ReprString(name), " of '",
                                           std::string(TypeName(object)), "' object is unsafe."));
}

}  // namespace

std::optional<Value> FindMethod(const Value& object, std::string_view name) {
  if (object.AsString() != nullptr) {
    const StringMethod method = FindStringMethod(name);
    if (method == nullptr) return std::nullopt;
    return Value(Value::Function(std::make_shared<BoundStringMethod>(object, name, method)));
  }
  if (object.Is<Value::Dict>()) return Bind(kDictMethods, kDictMutators, object, name);
  if (object.AsSequence() != nullptr) return Bind(kListMethods, kListMutators, object, name);
  return std::nullopt;
}

}  // namespace tandem::jinja
