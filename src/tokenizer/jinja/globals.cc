// The functions that transformers gives every template.
#include <algorithm>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/time/clock.h"
#include "base/status.h"
#include "tokenizer/jinja/builtins.h"
#include "tokenizer/jinja/operators.h"

namespace tandem::jinja {
namespace {

using Result = absl::StatusOr<Value>;

constexpr int64_t kMaxRange = 100000;  // of jinja2's sandbox

class Global : public Callable {
 public:
  using Function = Result (*)(const Arguments& arguments, Evaluator* evaluator);
  Global(std::string_view name, Function function) : name_(name), function_(function) {}
  Result Call(const Arguments& arguments, Evaluator* evaluator) const override {
    return function_(arguments, evaluator);
  }
  std::string name() const override { return absl::StrCat("function ", name_); }

 private:
  std::string name_;
  Function function_;
};

Result RaiseException(const Arguments& arguments, Evaluator* evaluator) {
  RETURN_IF_ERROR(arguments.Expect("raise_exception", {"message"}, 1));
  const Value& message = *arguments.Get(0, "message");
  RETURN_IF_ERROR(evaluator->heap().ChargeWalk(message));
  return absl::InvalidArgumentError(Str(message));
}

Result Range(const Arguments& arguments, Evaluator* evaluator) {
  const Values& given = arguments.positional;
  if (given.empty() || given.size() > 3 || !arguments.named.empty()) {
    return TypeError(absl::StrCat("range got ", given.size(), " arguments, want 1 to 3"));
  }
  for (const Value& value : given) {
    RETURN_IF_ERROR(CheckDefined(value));
    if (!value.IsInteger()) {
      return TypeError(absl::StrCat(Quoted(TypeName(value)), " object cannot be interpreted as an integer"));
    }
  }
  const int64_t start = given.size() > 1 ? given[0].ToInteger() : 0;
  const int64_t stop = given[given.size() > 1 ? 1 : 0].ToInteger();
  const int64_t step = given.size() > 2 ? given[2].ToInteger() : 1;
  if (step == 0) return absl::InvalidArgumentError("range() arg 3 must not be zero");
  Values items;
  for (__int128 i = start; step > 0 ? i < stop : i > stop; i += step) {
    if (static_cast<int64_t>(items.size()) == kMaxRange) {
      return absl::InvalidArgumentError(
          absl::StrCat("Range too big. The sandbox blocks ranges larger than ", kMaxRange));
    }
    items.emplace_back(static_cast<int64_t>(i));
  }
  return evaluator->heap().List(std::move(items));
}

// The entries of dict(...) and namespace(...): a mapping or pairs, then names.
absl::StatusOr<std::vector<std::pair<Value, Value>>> Entries(const Arguments& arguments, Evaluator* evaluator) {
  std::vector<std::pair<Value, Value>> entries;
  if (arguments.positional.size() > 1) {
    return TypeError(absl::StrCat("dict expected at most 1 argument, got ", arguments.positional.size()));
  }
  Heap& heap = evaluator->heap();
  if (!arguments.positional.empty()) {
    const Value& source = arguments.positional[0];
    if (const auto* dict = source.As<Value::Dict>()) {
      entries = (*dict)->entries;
    } else {
      ASSIGN_OR_RETURN(const Values pairs, Iterate(source, &heap));
      for (const Value& pair : pairs) {
        ASSIGN_OR_RETURN(Values parts, Iterate(pair, &heap));
        if (parts.size() != 2) return TypeError(absl::StrCat("a pair has length ", parts.size(), ", want 2"));
        entries.emplace_back(std::move(parts[0]), std::move(parts[1]));
      }
    }
  }
  for (const auto& [name, value] : arguments.named) {
    ASSIGN_OR_RETURN(Value key, heap.String(name));
    entries.emplace_back(std::move(key), value);
  }
  return entries;
}

Result MakeDict(const Arguments& arguments, Evaluator* evaluator) {
  ASSIGN_OR_RETURN(auto entries, Entries(arguments, evaluator));
  return evaluator->heap().Dict(std::move(entries));
}

Result MakeNamespace(const Arguments& arguments, Evaluator* evaluator) {
  ASSIGN_OR_RETURN(const auto entries, Entries(arguments, evaluator));
  std::map<std::string, Value> attributes;
  for (const auto& [key, value] : entries) {
    const std::string name = Str(key);
    if (name.starts_with('_')) {
      return absl::InvalidArgumentError(
          absl::StrCat("a namespace attribute must not begin with '_', got ", ReprString(name)));
    }
    attributes[name] = value;
  }
  return evaluator->heap().Namespace(std::move(attributes));
}

// strftime of the time of the rendering, in the local zone.
class Strftime : public Callable {
 public:
  explicit Strftime(absl::Time now) : now_(now) {}
  Result Call(const Arguments& arguments, Evaluator* evaluator) const override {
    RETURN_IF_ERROR(arguments.Expect("strftime_now", {"format"}, 1));
    const Value& format = *arguments.Get(0, "format");
    if (format.AsString() == nullptr) {
      return TypeError(absl::StrCat("strftime() argument 1 must be str, not ", std::string(TypeName(format))));
    }
    if (format.AsString()->size() > 1000) return absl::InvalidArgumentError("strftime_now's format is too long");
    const std::string absl_format = absl::StrReplaceAll(*format.AsString(), {{"%%", "%%"}, {"%f", "%E6f"}});
    return evaluator->heap().String(absl::FormatTime(absl_format, now_, absl::LocalTimeZone()));
  }
  std::string name() const override { return "function strftime_now"; }

 private:
  absl::Time now_;
};

}  // namespace

absl::flat_hash_map<std::string, Value> MakeGlobals(absl::Time now) {
  absl::flat_hash_map<std::string, Value> globals;
  const auto add = [&globals](std::string_view name, Global::Function function) {
    globals[std::string(name)] = Value(Value::Function(std::make_shared<Global>(name, function)));
  };
  add("raise_exception", RaiseException);
  add("range", Range);
  add("dict", MakeDict);
  add("namespace", MakeNamespace);
  globals["strftime_now"] = Value(Value::Function(std::make_shared<Strftime>(now)));
  return globals;
}

}  // namespace tandem::jinja
