// Filters that take or give sequences and mappings.
#include <algorithm>
#include <functional>
#include <optional>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/status.h"
#include "tokenizer/jinja/builtins.h"
#include "tokenizer/jinja/operators.h"
#include "tokenizer/unicode.h"

namespace tandem::jinja {
namespace {

using Result = absl::StatusOr<Value>;

// A value's key for sorting and comparing: itself or one of its attributes ("a.b.0"), in lower case unless told
// otherwise.
class KeyGetter {
 public:
  KeyGetter(const Value* attribute, const Value* case_sensitive, Evaluator* evaluator)
      : attribute_(attribute),
        ignores_case_(case_sensitive == nullptr || !IsTrue(*case_sensitive)),
        evaluator_(evaluator) {}

  Result operator()(const Value& value) const {
    ASSIGN_OR_RETURN(Value key, Attribute(value));
    if (!ignores_case_ || key.AsString() == nullptr) return key;
    return evaluator_->heap().String(ToLower(*key.AsString()));
  }

  Result Attribute(const Value& value) const {
    if (attribute_ == nullptr || attribute_->Is<None>()) return value;
    if (attribute_->IsInteger()) return evaluator_->GetItem(value, *attribute_);
    Value item = value;
    for (const std::string& part : std::vector<std::string>(absl::StrSplit(Str(*attribute_), '.'))) {
      int64_t index = 0;
      Value key;
      if (absl::SimpleAtoi(part, &index)) {
        key = Value(index);
      } else {
        ASSIGN_OR_RETURN(key, evaluator_->heap().String(part));
      }
      ASSIGN_OR_RETURN(item, evaluator_->GetItem(item, key));
    }
    return item;
  }

 private:
  const Value* attribute_;
  bool ignores_case_;
  Evaluator* evaluator_;
};

Result Default(const Value& value, const Arguments& arguments, Evaluator* evaluator) {
  RETURN_IF_ERROR(arguments.Expect("default", {"default_value", "boolean"}));
  const Value* boolean = arguments.Get(1, "boolean");
  const bool missing = value.Is<Undefined>() || (boolean != nullptr && IsTrue(*boolean) && !IsTrue(value));
  if (!missing) return value;
  const Value* fallback = arguments.Get(0, "default_value");
  return fallback != nullptr ? Result(*fallback) : evaluator->heap().String("");
}

Result LengthOf(const Value& value, const Arguments& arguments, Evaluator*) {
  RETURN_IF_ERROR(arguments.Expect("length", {}));
  ASSIGN_OR_RETURN(const int64_t length, Length(value));
  return Value(length);
}

Result ListOf(const Value& value, const Arguments& arguments, Evaluator* evaluator) {
  RETURN_IF_ERROR(arguments.Expect("list", {}));
  ASSIGN_OR_RETURN(Values items, Iterate(value, &evaluator->heap()));
  return evaluator->heap().List(std::move(items));
}

Result First(const Value& value, const Arguments& arguments, Evaluator* evaluator) {
  RETURN_IF_ERROR(arguments.Expect("first", {}));
  ASSIGN_OR_RETURN(const Values items, Iterate(value, &evaluator->heap()));
  return items.empty() ? Value::MakeUndefined("No first item, sequence was empty.") : items.front();
}

Result Last(const Value& value, const Arguments& arguments, Evaluator* evaluator) {
  RETURN_IF_ERROR(arguments.Expect("last", {}));
  if (value.Is<Value::Generator>()) return TypeError("'generator' object is not reversible");
  ASSIGN_OR_RETURN(const Values items, Iterate(value, &evaluator->heap()));
  return items.empty() ? Value::MakeUndefined("No last item, sequence was empty.") : items.back();
}

Result Join(const Value& value, const Arguments& arguments, Evaluator* evaluator) {
  RETURN_IF_ERROR(arguments.Expect("join", {"d", "attribute"}));
  Heap& heap = evaluator->heap();
  const Value* separator = arguments.Get(0, "d");
  const std::string between = separator == nullptr ? "" : Str(*separator);
  const KeyGetter attribute(arguments.Get(1, "attribute"), nullptr, evaluator);
  ASSIGN_OR_RETURN(const Values items, Iterate(value, &heap));
  std::string joined;
  for (size_t i = 0; i < items.size(); ++i) {
    if (i > 0) joined += between;
    ASSIGN_OR_RETURN(const Value item, attribute.Attribute(items[i]));
    RETURN_IF_ERROR(heap.ChargeWalk(item));
    joined += Str(item);
    RETURN_IF_ERROR(heap.CheckBytes(joined.size()));
  }
  return heap.String(std::move(joined));
}

Result Items(const Value& value, const Arguments& arguments, Evaluator* evaluator) {
  RETURN_IF_ERROR(arguments.Expect("items", {}));
  if (value.Is<Undefined>()) return evaluator->heap().Generator({});
  const auto* dict = value.As<Value::Dict>();
  if (dict == nullptr) return TypeError("Can only get item pairs from a mapping.");
  Values pairs;
  for (const auto& [key, item] : (*dict)->entries) {
    ASSIGN_OR_RETURN(pairs.emplace_back(), evaluator->heap().Tuple({key, item}));
  }
  return evaluator->heap().Generator(std::move(pairs));
}

Result Map(const Value& value, const Arguments& arguments, Evaluator* evaluator) {
  ASSIGN_OR_RETURN(Values items, Iterate(value, &evaluator->heap()));
  if (arguments.positional.empty()) {
    const Value* attribute = arguments.Named("attribute");
    const Value* fallback = arguments.Named("default");
    if (attribute == nullptr) return TypeError("map requires a filter argument");
    const KeyGetter getter(attribute, nullptr, evaluator);
    for (Value& item : items) {
      ASSIGN_OR_RETURN(item, getter.Attribute(item));
      if (item.Is<Undefined>() && fallback != nullptr && !fallback->Is<None>()) item = *fallback;
    }
    return evaluator->heap().Generator(std::move(items));
  }
  const std::string name = Str(arguments.positional[0]);
  Arguments rest;
  rest.positional.assign(arguments.positional.begin() + 1, arguments.positional.end());
  rest.named = arguments.named;
  for (Value& item : items) {
    ASSIGN_OR_RETURN(item, evaluator->ApplyFilter(name, item, rest));
  }
  return evaluator->heap().Generator(std::move(items));
}

// select, reject (by the items themselves), selectattr, rejectattr (by an attribute).
template <bool by_attribute, bool keeps>
Result Select(const Value& value, const Arguments& arguments, Evaluator* evaluator) {
  ASSIGN_OR_RETURN(const Values items, Iterate(value, &evaluator->heap()));
  Values rest = arguments.positional;
  std::optional<Value> attribute;
  if (by_attribute) {
    if (rest.empty()) return TypeError("missing parameter for attribute name");
    attribute = rest.front();
    rest.erase(rest.begin());
  }
  std::optional<std::string> test;
  if (!rest.empty()) {
    test = Str(rest.front());
    rest.erase(rest.begin());
  }
  const KeyGetter getter(attribute.has_value() ? &*attribute : nullptr, nullptr, evaluator);
  const Arguments test_arguments{std::move(rest), arguments.named};
  Values kept;
  for (const Value& item : items) {
    ASSIGN_OR_RETURN(const Value tested, getter.Attribute(item));
    bool passes = IsTrue(tested);
    if (test.has_value()) {
      ASSIGN_OR_RETURN(passes, evaluator->ApplyTest(*test, tested, test_arguments));
    }
    if (passes == keeps) kept.push_back(item);
  }
  return evaluator->heap().Generator(std::move(kept));
}

// Sorts by keys; stable, as Python's sorted. The keys' order may not exist.
absl::Status SortByKeys(std::vector<std::pair<Value, Value>>* keyed, bool reverse, Heap* heap) {
  int64_t rounds = 1;
  while ((size_t{1} << rounds) < keyed->size()) ++rounds;
  for (const auto& [key, value] : *keyed) RETURN_IF_ERROR(heap->Charge(rounds * ExtentOf(key).weight));
  absl::Status status;
  std::stable_sort(keyed->begin(), keyed->end(), [&](const auto& a, const auto& b) {
    const absl::StatusOr<int> order = reverse ? Compare(b.first, a.first) : Compare(a.first, b.first);
    if (!order.ok()) status = order.status();
    return order.ok() && *order < 0;
  });
  return status;
}

Result Sort(const Value& value, const Arguments& arguments, Evaluator* evaluator) {
  RETURN_IF_ERROR(arguments.Expect("sort", {"reverse", "case_sensitive", "attribute"}));
  const Value* reverse = arguments.Get(0, "reverse");
  const KeyGetter getter(arguments.Get(2, "attribute"), arguments.Get(1, "case_sensitive"), evaluator);
  ASSIGN_OR_RETURN(Values items, Iterate(value, &evaluator->heap()));
  std::vector<std::pair<Value, Value>> keyed;
  for (Value& item : items) {
    ASSIGN_OR_RETURN(Value key, getter(item));
    keyed.emplace_back(std::move(key), std::move(item));
  }
  RETURN_IF_ERROR(SortByKeys(&keyed, reverse != nullptr && IsTrue(*reverse), &evaluator->heap()));
  for (size_t i = 0; i < keyed.size(); ++i) items[i] = std::move(keyed[i].second);
  return evaluator->heap().List(std::move(items));
}

Result DictSort(const Value& value, const Arguments& arguments, Evaluator* evaluator) {
  RETURN_IF_ERROR(arguments.Expect("dictsort", {"case_sensitive", "by", "reverse"}));
  const auto* dict = value.As<Value::Dict>();
  if (dict == nullptr) return TypeError(absl::StrCat(Quoted(TypeName(value)), " object has no items to sort"));
  const Value* by = arguments.Get(1, "by");
  const Value* reverse = arguments.Get(2, "reverse");
  const std::string name = by == nullptr ? "key" : Str(*by);
  if (name != "key" && name != "value")
    return absl::InvalidArgumentError("you can only sort by either \"key\" or \"value\"");
  const KeyGetter getter(nullptr, arguments.Get(0, "case_sensitive"), evaluator);
  std::vector<std::pair<Value, Value>> keyed;
  for (const auto& [key, item] : (*dict)->entries) {
    ASSIGN_OR_RETURN(Value sort_key, getter(name == "key" ? key : item));
    ASSIGN_OR_RETURN(Value pair, evaluator->heap().Tuple({key, item}));
    keyed.emplace_back(std::move(sort_key), std::move(pair));
  }
  RETURN_IF_ERROR(SortByKeys(&keyed, reverse != nullptr && IsTrue(*reverse), &evaluator->heap()));
  Values pairs;
  for (auto& [key, pair] : keyed) pairs.push_back(std::move(pair));
  return evaluator->heap().List(std::move(pairs));
}

Result Unique(const Value& value, const Arguments& arguments, Evaluator* evaluator) {
  RETURN_IF_ERROR(arguments.Expect("unique", {"case_sensitive", "attribute"}));
  const KeyGetter getter(arguments.Get(1, "attribute"), arguments.Get(0, "case_sensitive"), evaluator);
  ASSIGN_OR_RETURN(const Values items, Iterate(value, &evaluator->heap()));
  absl::flat_hash_map<std::string, bool> seen;
  Values unique;
  for (const Value& item : items) {
    ASSIGN_OR_RETURN(const Value key, getter(item));
    RETURN_IF_ERROR(evaluator->heap().ChargeWalk(key));
    ASSIGN_OR_RETURN(std::string hash, HashKey(key));
    if (seen.emplace(std::move(hash), true).second) unique.push_back(item);
  }
  return evaluator->heap().Generator(std::move(unique));
}

template <bool want_max>
Result Extreme(const Value& value, const Arguments& arguments, Evaluator* evaluator) {
  RETURN_IF_ERROR(arguments.Expect(want_max ? "max" : "min", {"case_sensitive", "attribute"}));
  const KeyGetter getter(arguments.Get(1, "attribute"), arguments.Get(0, "case_sensitive"), evaluator);
  ASSIGN_OR_RETURN(const Values items, Iterate(value, &evaluator->heap()));
  if (items.empty()) return Value::MakeUndefined("No aggregated item, sequence was empty.");
  Value best = items[0];
  ASSIGN_OR_RETURN(Value best_key, getter(best));
  for (size_t i = 1; i < items.size(); ++i) {
    ASSIGN_OR_RETURN(Value key, getter(items[i]));
    RETURN_IF_ERROR(evaluator->heap().ChargeWalk(key));
    ASSIGN_OR_RETURN(const int order, Compare(key, best_key));
    if (want_max ? order <= 0 : order >= 0) continue;
    best = items[i];
    best_key = std::move(key);
  }
  return best;
}

Result Sum(const Value& value, const Arguments& arguments, Evaluator* evaluator) {
  RETURN_IF_ERROR(arguments.Expect("sum", {"attribute", "start"}));
  const KeyGetter getter(arguments.Get(0, "attribute"), nullptr, evaluator);
  const Value* start = arguments.Get(1, "start");
  Value sum = start == nullptr ? Value(0) : *start;
  ASSIGN_OR_RETURN(const Values items, Iterate(value, &evaluator->heap()));
  for (const Value& item : items) {
    ASSIGN_OR_RETURN(const Value part, getter.Attribute(item));
    ASSIGN_OR_RETURN(sum, ApplyBinary(Binary::Op::kAdd, sum, part, &evaluator->heap()));
  }
  return sum;
}

Result Reverse(const Value& value, const Arguments& arguments, Evaluator* evaluator) {
  RETURN_IF_ERROR(arguments.Expect("reverse", {}));
  if (value.AsString() != nullptr) return ApplySlice(value, Value(), Value(), Value(-1), &evaluator->heap());
  ASSIGN_OR_RETURN(Values items, Iterate(value, &evaluator->heap()));
  std::reverse(items.begin(), items.end());
  return evaluator->heap().Generator(std::move(items));
}

// object.name, but never an item.
Result Attr(const Value& value, const Arguments& arguments, Evaluator* evaluator) {
  RETURN_IF_ERROR(arguments.Expect("attr", {"name"}, 1));
  const std::string name = Str(*arguments.Get(0, "name"));
  if (!value.Is<Value::Dict>()) return evaluator->GetAttribute(value, name);
  if (std::optional<Value> method = FindMethod(value, name)) return *std::move(method);
  return Value::MakeUndefined(absl::StrCat("'dict object' has no attribute ", ReprString(name)));
}

constexpr NamedFilter kFilters[] = {
    {"default", Default},
    {"d", Default},
    {"length", LengthOf},
    {"count", LengthOf},
    {"list", ListOf},
    {"first", First},
    {"last", Last},
    {"join", Join},
    {"items", Items},
    {"map", Map},
    {"select", Select<false, true>},
    {"reject", Select<false, false>},
    {"selectattr", Select<true, true>},
    {"rejectattr", Select<true, false>},
    {"sort", Sort},
    {"dictsort", DictSort},
    {"unique", Unique},
    {"min", Extreme<false>},
    {"max", Extreme<true>},
    {"sum", Sum},
    {"reverse", Reverse},
    {"attr", Attr},
};

}  // namespace

std::span<const NamedFilter> SequenceFilters() {
  return kFilters;
}

}  // namespace tandem::jinja
