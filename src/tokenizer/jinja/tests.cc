// What stands behind `is`.
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "tokenizer/jinja/builtins.h"
#include "tokenizer/jinja/operators.h"
#include "tokenizer/unicode.h"
#include "tokenizer/utf8.h"

namespace tandem::jinja {
namespace {

using Result = absl::StatusOr<bool>;

// A test without arguments, from a predicate.
template <bool (*predicate)(const Value&)>
Result Holds(const Value& value, const Arguments& arguments, Evaluator*) {
  RETURN_IF_ERROR(arguments.Expect("the test", {}));
  return predicate(value);
}

bool IsDefined(const Value& v) {
  return !v.Is<Undefined>();
}
bool IsUndefined(const Value& v) {
  return v.Is<Undefined>();
}
bool IsNone(const Value& v) {
  return v.Is<None>();
}
bool IsBoolean(const Value& v) {
  return v.Is<bool>();
}
bool IsTrueItself(const Value& v) {
  return v.Is<bool>() && *v.As<bool>();
}
bool IsFalseItself(const Value& v) {
  return v.Is<bool>() && !*v.As<bool>();
}
bool IsInt(const Value& v) {
  return v.Is<int64_t>();
}
bool IsFloat(const Value& v) {
  return v.Is<double>();
}
bool IsNumber(const Value& v) {
  return v.IsNumber();
}
bool IsText(const Value& v) {
  return v.AsString() != nullptr;
}
bool IsMapping(const Value& v) {
  return v.Is<Value::Dict>();
}
bool IsSequence(const Value& v) {
  return v.AsSequence() != nullptr || v.AsString() != nullptr || v.Is<Value::Dict>() || v.Is<Undefined>();
}
bool IsIterable(const Value& v) {
  return IsSequence(v) || v.Is<Value::Generator>() || v.Is<Value::Loop>();
}
bool IsCallable(const Value& v) {
  return v.Is<Value::Function>();
}
bool IsEscaped(const Value& v) {
  return v.AsString() != nullptr && (*v.As<Value::String>())->is_markup;
}

// str(value).islower(), .isupper(): some cased character, and none of the other case.
template <bool (*is_case)(char32_t), bool (*is_other)(char32_t)>
Result HasCase(const Value& value, const Arguments& arguments, Evaluator* evaluator) {
  RETURN_IF_ERROR(arguments.Expect("the test", {}));
  RETURN_IF_ERROR(evaluator->heap().ChargeWalk(value));
  const std::string text = Str(value);
  bool found = false;
  for (size_t at = 0; at < text.size();) {
    const Utf8Char c = DecodeUtf8(text, at);
    if (is_other(c.code_point)) return false;
    found |= is_case(c.code_point);
    at += std::max(1, c.num_bytes);
  }
  return found;
}

template <Comparison::Op op>
Result Compares(const Value& value, const Arguments& arguments, Evaluator* evaluator) {
  RETURN_IF_ERROR(arguments.Expect("the test", {"other"}, 1));
  return ApplyComparison(op, value, *arguments.Get(0, "other"), &evaluator->heap());
}

Result IsSameAs(const Value& value, const Arguments& arguments, Evaluator*) {
  RETURN_IF_ERROR(arguments.Expect("sameas", {"other"}, 1));
  const Value& other = *arguments.Get(0, "other");
  if (TypeName(value) != TypeName(other)) return false;
  if (value.Is<Value::List>()) return value.As<Value::List>()->object == other.As<Value::List>()->object;
  if (value.Is<Value::Tuple>()) return value.As<Value::Tuple>()->object == other.As<Value::Tuple>()->object;
  if (value.Is<Value::Dict>()) return *value.As<Value::Dict>() == *other.As<Value::Dict>();
  return Equal(value, other);
}

absl::StatusOr<bool> DivisibleBy(const Value& value, const Value& divisor, int64_t remainder, Evaluator* evaluator) {
  ASSIGN_OR_RETURN(const Value rest, ApplyBinary(Binary::Op::kModulo, value, divisor, &evaluator->heap()));
  return Equal(rest, Value(remainder));
}

Result IsDivisibleBy(const Value& value, const Arguments& arguments, Evaluator* evaluator) {
  RETURN_IF_ERROR(arguments.Expect("divisibleby", {"num"}, 1));
  return DivisibleBy(value, *arguments.Get(0, "num"), 0, evaluator);
}

template <int64_t remainder>
Result HasParity(const Value& value, const Arguments& arguments, Evaluator* evaluator) {
  RETURN_IF_ERROR(arguments.Expect("the test", {}));
  return DivisibleBy(value, Value(2), remainder, evaluator);
}

Result IsFilter(const Value& value, const Arguments& arguments, Evaluator*) {
  RETURN_IF_ERROR(arguments.Expect("filter", {}));
  return value.AsString() != nullptr && FindFilter(*value.AsString()) != nullptr;
}

Result IsTest(const Value& value, const Arguments& arguments, Evaluator*) {
  RETURN_IF_ERROR(arguments.Expect("test", {}));
  return value.AsString() != nullptr && FindTest(*value.AsString()) != nullptr;
}

constexpr struct {
  std::string_view name;
  TestFunction function;
} kTests[] = {
    {"defined", Holds<IsDefined>},
    {"undefined", Holds<IsUndefined>},
    {"none", Holds<IsNone>},
    {"boolean", Holds<IsBoolean>},
    {"true", Holds<IsTrueItself>},
    {"false", Holds<IsFalseItself>},
    {"integer", Holds<IsInt>},
    {"float", Holds<IsFloat>},
    {"number", Holds<IsNumber>},
    {"string", Holds<IsText>},
    {"mapping", Holds<IsMapping>},
    {"sequence", Holds<IsSequence>},
    {"iterable", Holds<IsIterable>},
    {"callable", Holds<IsCallable>},
    {"escaped", Holds<IsEscaped>},
    {"lower", HasCase<IsLower, IsUpper>},
    {"upper", HasCase<IsUpper, IsLower>},
    {"odd", HasParity<1>},
    {"even", HasParity<0>},
    {"divisibleby", IsDivisibleBy},
    {"sameas", IsSameAs},
    {"filter", IsFilter},
    {"test", IsTest},
    {"in", Compares<Comparison::Op::kIn>},
    {"eq", Compares<Comparison::Op::kEqual>},
    {"equalto", Compares<Comparison::Op::kEqual>},
    {"==", Compares<Comparison::Op::kEqual>},
    {"ne", Compares<Comparison::Op::kNotEqual>},
    {"!=", Compares<Comparison::Op::kNotEqual>},
    {"lt", Compares<Comparison::Op::kLess>},
    {"lessthan", Compares<Comparison::Op::kLess>},
    {"<", Compares<Comparison::Op::kLess>},
    {"le", Compares<Comparison::Op::kLessEqual>},
    {"<=", Compares<Comparison::Op::kLessEqual>},
    {"gt", Compares<Comparison::Op::kGreater>},
    {"greaterthan", Compares<Comparison::Op::kGreater>},
    {">", Compares<Comparison::Op::kGreater>},
    {"ge", Compares<Comparison::Op::kGreaterEqual>},
    {">=", Compares<Comparison::Op::kGreaterEqual>},
};

}  // namespace

TestFunction FindTest(std::string_view name) {
  for (const auto& test : kTests) {
    if (test.name == name) return test.function;
  }
  return nullptr;
}

std::vector<std::string> TestNames() {
  std::vector<std::string> names;
  for (const auto& test : kTests) names.emplace_back(test.name);
  return names;
}

}  // namespace tandem::jinja
