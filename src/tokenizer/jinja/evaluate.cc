// The expression half of the interpreter.
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/names.h"
#include "base/status.h"
#include "tokenizer/jinja/builtins.h"
#include "tokenizer/jinja/depth_guard.h"
#include "tokenizer/jinja/interpreter.h"
#include "tokenizer/jinja/loop.h"
#include "tokenizer/jinja/operators.h"
#include "tokenizer/utf8.h"

namespace tandem::jinja {
namespace {

// "'dict object' has no attribute 'x'": what jinja2 says of an undefined attribute.
Value Missing(const Value& object, const std::string& what) {
  const std::string type = object.Is<None>() ? "None" : absl::StrCat("'", std::string(TypeName(object)), " object'");
  return Value::MakeUndefined(absl::StrCat(type, " has no ", what));
}

}  // namespace

absl::StatusOr<Value> Interpreter::Evaluate(const Expression& expression, const ScopePtr& scope) {
  const DepthGuard guard(&depth_);
  absl::Status admitted = guard.Check(&heap_);
  absl::StatusOr<Value> value = Value();
  if (admitted.ok()) {
    value = std::visit([&](const auto& node) { return EvaluateNode(node, scope); }, expression.node);
  } else {
    value = std::move(admitted);
  }
  if (!value.ok() && !std::exchange(error_is_located_, true)) return At(expression.at, value.status());
  return value;
}

absl::StatusOr<Values> Interpreter::EvaluateAll(const std::vector<ExpressionPtr>& expressions, const ScopePtr& scope) {
  Values values;
  values.reserve(expressions.size());
  for (const ExpressionPtr& expression : expressions) {
    ASSIGN_OR_RETURN(values.emplace_back(), Evaluate(*expression, scope));
  }
  return values;
}

absl::StatusOr<Arguments> Interpreter::EvaluateArguments(const CallArguments& call, const ScopePtr& scope) {
  Arguments arguments;
  ASSIGN_OR_RETURN(arguments.positional, EvaluateAll(call.positional, scope));
  for (const auto& [name, expression] : call.named) {
    ASSIGN_OR_RETURN(Value value, Evaluate(*expression, scope));
    arguments.named.emplace_back(name, std::move(value));
  }
  if (call.star != nullptr) {
    ASSIGN_OR_RETURN(const Value list, Evaluate(*call.star, scope));
    ASSIGN_OR_RETURN(const Values items, Iterate(list, &heap_));
    arguments.positional.insert(arguments.positional.end(), items.begin(), items.end());
  }
  if (call.double_star != nullptr) {
    ASSIGN_OR_RETURN(const Value value, Evaluate(*call.double_star, scope));
    const auto* dict = value.As<Value::Dict>();
    if (dict == nullptr) return TypeError(absl::StrCat("got ", Quoted(TypeName(value)), " behind **, want a dict"));
    for (const auto& [key, item] : (*dict)->entries) {
      if (key.AsString() == nullptr) return TypeError("keywords must be strings");
      arguments.named.emplace_back(*key.AsString(), item);
    }
  }
  return arguments;
}

absl::StatusOr<Value> Interpreter::EvaluateNode(const Literal& node, const ScopePtr&) {
  if (const auto* text = std::get_if<std::string>(&node.value)) return heap_.String(*text);
  if (const auto* truth = std::get_if<bool>(&node.value)) return Value(*truth);
  if (const auto* integer = std::get_if<int64_t>(&node.value)) return Value(*integer);
  if (const auto* number = std::get_if<double>(&node.value)) return Value(*number);
  return Value();
}

absl::StatusOr<Value> Interpreter::EvaluateNode(const Name& node, const ScopePtr& scope) {
  if (const Value* value = scope->Find(node.name); value != nullptr) return *value;
  if (const auto global = globals_.find(node.name); global != globals_.end()) return global->second;
  return Value::MakeUndefined(absl::StrCat(ReprString(node.name), " is undefined"));
}

absl::StatusOr<Value> Interpreter::EvaluateNode(const ListLiteral& node, const ScopePtr& scope) {
  ASSIGN_OR_RETURN(Values items, EvaluateAll(node.items, scope));
  return heap_.List(std::move(items));
}

absl::StatusOr<Value> Interpreter::EvaluateNode(const TupleLiteral& node, const ScopePtr& scope) {
  ASSIGN_OR_RETURN(Values items, EvaluateAll(node.items, scope));
  return heap_.Tuple(std::move(items));
}

absl::StatusOr<Value> Interpreter::EvaluateNode(const DictLiteral& node, const ScopePtr& scope) {
  std::vector<std::pair<Value, Value>> entries;
  for (const auto& [key_expression, value_expression] : node.items) {
    ASSIGN_OR_RETURN(Value key, Evaluate(*key_expression, scope));
    ASSIGN_OR_RETURN(Value value, Evaluate(*value_expression, scope));
    entries.emplace_back(std::move(key), std::move(value));
  }
  return heap_.Dict(std::move(entries));
}

absl::StatusOr<Value> Interpreter::EvaluateNode(const Unary& node, const ScopePtr& scope) {
  ASSIGN_OR_RETURN(const Value operand, Evaluate(*node.operand, scope));
  return ApplyUnary(node.op, operand);
}

absl::StatusOr<Value> Interpreter::EvaluateNode(const Binary& node, const ScopePtr& scope) {
  ASSIGN_OR_RETURN(const Value left, Evaluate(*node.left, scope));
  ASSIGN_OR_RETURN(const Value right, Evaluate(*node.right, scope));
  return ApplyBinary(node.op, left, right, &heap_);
}

absl::StatusOr<Value> Interpreter::EvaluateNode(const Logic& node, const ScopePtr& scope) {
  ASSIGN_OR_RETURN(Value left, Evaluate(*node.left, scope));
  if (IsTrue(left) != node.is_and) return left;
  return Evaluate(*node.right, scope);
}

absl::StatusOr<Value> Interpreter::EvaluateNode(const Concat& node, const ScopePtr& scope) {
  std::string joined;
  for (const ExpressionPtr& part : node.parts) {
    ASSIGN_OR_RETURN(const Value value, Evaluate(*part, scope));
    RETURN_IF_ERROR(heap_.ChargeWalk(value));
    joined += Str(value);
    RETURN_IF_ERROR(heap_.CheckBytes(joined.size()));
  }
  return heap_.String(std::move(joined));
}

absl::StatusOr<Value> Interpreter::EvaluateNode(const Comparison& node, const ScopePtr& scope) {
  ASSIGN_OR_RETURN(Value left, Evaluate(*node.first, scope));
  for (const auto& [op, expression] : node.rest) {
    ASSIGN_OR_RETURN(Value right, Evaluate(*expression, scope));
    ASSIGN_OR_RETURN(const bool holds, ApplyComparison(op, left, right, &heap_));
    if (!holds) return Value(false);
    left = std::move(right);
  }
  return Value(true);
}

absl::StatusOr<Value> Interpreter::EvaluateNode(const Attribute& node, const ScopePtr& scope) {
  ASSIGN_OR_RETURN(const Value object, Evaluate(*node.object, scope));
  return GetAttribute(object, node.name);
}

absl::StatusOr<Value> Interpreter::EvaluateNode(const Item& node, const ScopePtr& scope) {
  ASSIGN_OR_RETURN(const Value object, Evaluate(*node.object, scope));
  ASSIGN_OR_RETURN(const Value key, Evaluate(*node.key, scope));
  return GetItem(object, key);
}

absl::StatusOr<Value> Interpreter::EvaluateNode(const Slice& node, const ScopePtr& scope) {
  ASSIGN_OR_RETURN(const Value object, Evaluate(*node.object, scope));
  Value bounds[3];
  const ExpressionPtr* const expressions[3] = {&node.start, &node.stop, &node.step};
  for (int i = 0; i < 3; ++i) {
    if (*expressions[i] == nullptr) continue;
    ASSIGN_OR_RETURN(bounds[i], Evaluate(**expressions[i], scope));
  }
  return ApplySlice(object, bounds[0], bounds[1], bounds[2], &heap_);
}

absl::StatusOr<Value> Interpreter::EvaluateNode(const Call& node, const ScopePtr& scope) {
  ASSIGN_OR_RETURN(const Value function, Evaluate(*node.function, scope));
  ASSIGN_OR_RETURN(const Arguments arguments, EvaluateArguments(node.arguments, scope));
  return CallValue(function, arguments);
}

absl::StatusOr<Value> Interpreter::EvaluateNode(const Filter& node, const ScopePtr& scope) {
  ASSIGN_OR_RETURN(const Value value, Evaluate(*node.value, scope));
  ASSIGN_OR_RETURN(const Arguments arguments, EvaluateArguments(node.arguments, scope));
  return ApplyFilter(node.name, value, arguments);
}

absl::StatusOr<Value> Interpreter::EvaluateNode(const Test& node, const ScopePtr& scope) {
  ASSIGN_OR_RETURN(const Value value, Evaluate(*node.value, scope));
  ASSIGN_OR_RETURN(const Arguments arguments, EvaluateArguments(node.arguments, scope));
  ASSIGN_OR_RETURN(const bool passes, ApplyTest(node.name, value, arguments));
  return Value(passes != node.negated);
}

absl::StatusOr<Value> Interpreter::EvaluateNode(const Conditional& node, const ScopePtr& scope) {
  ASSIGN_OR_RETURN(const Value condition, Evaluate(*node.condition, scope));
  if (IsTrue(condition)) return Evaluate(*node.then, scope);
  if (node.otherwise != nullptr) return Evaluate(*node.otherwise, scope);
  return Value::MakeUndefined("the inline if-expression evaluated to false and no else section was defined");
}

absl::StatusOr<Value> Interpreter::CallValue(const Value& function, const Arguments& arguments) {
  RETURN_IF_ERROR(CheckDefined(function));
  const auto* callable = function.As<Value::Function>();
  if (callable == nullptr) return TypeError(absl::StrCat(Quoted(TypeName(function)), " object is not callable"));
  return (*callable)->Call(arguments, this);
}

absl::StatusOr<Value> Interpreter::ApplyFilter(const std::string& name, const Value& value,
                                               const Arguments& arguments) {
  const FilterFunction filter = FindFilter(name);
  if (filter != nullptr) return filter(value, arguments, this);
  return absl::InvalidArgumentError(absl::StrCat("no filter named '", name, "'", SuggestNames(name, FilterNames())));
}

absl::StatusOr<bool> Interpreter::ApplyTest(const std::string& name, const Value& value, const Arguments& arguments) {
  const TestFunction test = FindTest(name);
  if (test != nullptr) return test(value, arguments, this);
  return absl::InvalidArgumentError(absl::StrCat("no test named '", name, "'", SuggestNames(name, TestNames())));
}

absl::StatusOr<Value> Interpreter::GetAttribute(const Value& object, const std::string& name) {
  RETURN_IF_ERROR(CheckDefined(object));
  if (const auto* space = object.As<Value::Namespace>()) {
    const auto found = (*space)->attributes.find(name);
    if (found != (*space)->attributes.end()) return found->second;
  } else if (const auto* loop = object.As<Value::Loop>()) {
    ASSIGN_OR_RETURN(std::optional<Value> value, LoopAttribute(*loop, name));
    if (value.has_value()) return *std::move(value);
  } else if (std::optional<Value> method = FindMethod(object, name); method.has_value()) {
    return *std::move(method);
  } else if (const auto* dict = object.As<Value::Dict>()) {
    if (const Value* value = FindKey(**dict, name); value != nullptr) return *value;
  }
  return Missing(object, absl::StrCat("attribute ", ReprString(name)));
}

absl::StatusOr<Value> Interpreter::GetItem(const Value& object, const Value& key) {
  RETURN_IF_ERROR(CheckDefined(object));
  RETURN_IF_ERROR(heap_.ChargeWalk(key));
  if (const auto* dict = object.As<Value::Dict>()) {
    if (const Value* value = FindKey(**dict, key); value != nullptr) return *value;
  }
  const Values* items = object.AsSequence();
  const std::string* text = object.AsString();
  if (key.IsInteger() && (items != nullptr || text != nullptr)) {
    if (text != nullptr) RETURN_IF_ERROR(heap_.Charge(text->size() / 64));
    const int64_t size = items != nullptr ? items->size() : CountCodePoints(*text);
    const int64_t index = key.ToInteger() < 0 ? key.ToInteger() + size : key.ToInteger();
    if (index >= 0 && index < size) {
      if (items != nullptr) return (*items)[index];
      const size_t at = ByteOfCodePoint(*text, 0, index);
      return heap_.String(text->substr(at, ByteOfCodePoint(*text, at, 1) - at));
    }
  }
  // As jinja2: what is no item may be an attribute, a method for instance.
  if (key.AsString() != nullptr && !object.Is<Value::Dict>()) return GetAttribute(object, *key.AsString());
  if (key.AsString() != nullptr) {
    if (std::optional<Value> method = FindMethod(object, *key.AsString()); method.has_value())
      return *std::move(method);
    return Missing(object, absl::StrCat("attribute ", Repr(key)));
  }
  return Missing(object, absl::StrCat("element ", Repr(key)));
}

}  // namespace tandem::jinja
