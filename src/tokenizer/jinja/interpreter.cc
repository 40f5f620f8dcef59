#include "tokenizer/jinja/interpreter.h"

#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "tokenizer/jinja/builtins.h"
#include "tokenizer/jinja/depth_guard.h"
#include "tokenizer/jinja/loop.h"
#include "tokenizer/jinja/operators.h"

namespace tandem::jinja {
namespace {

constexpr int kBytesPerStep = 64;

}  // namespace

// A macro and the scope it was defined in.
class Interpreter::Macro : public Callable {
 public:
  Macro(Interpreter* interpreter, const MacroDefinition* definition, ScopePtr scope)
      : interpreter_(interpreter), definition_(*definition), scope_(std::move(scope)) {}
  absl::StatusOr<Value> Call(const Arguments& arguments, Evaluator*) const override {
    return interpreter_->CallMacro(*this, arguments);
  }
  std::string name() const override { return absl::StrCat("Macro ", ReprString(definition_.name)); }
  const MacroDefinition& definition() const { return definition_; }
  const ScopePtr& scope() const { return scope_; }

 private:
  Interpreter* interpreter_;
  const MacroDefinition& definition_;
  ScopePtr scope_;
};

Interpreter::Interpreter(const Limits& limits, absl::Time now)
    : heap_(limits), root_(std::make_shared<Scope>(nullptr)), globals_(MakeGlobals(now)) {}

Interpreter::~Interpreter() {
  for (const ScopePtr& scope : macro_scopes_) scope->Clear();
}

absl::StatusOr<Rendering> Interpreter::Render(const Block& body) {
  Rendering rendering;
  out_ = &rendering.text;
  RETURN_IF_ERROR(Run(body, root_).status());
  rendering.generation_ranges = std::move(generation_ranges_);
  return rendering;
}

absl::Status Interpreter::Write(std::string_view text) {
  output_bytes_ += text.size();
  if (output_bytes_ > heap_.limits().max_output_bytes) {
    return absl::ResourceExhaustedError(
        absl::StrCat("the chat template writes more than ", heap_.limits().max_output_bytes, " bytes"));
  }
  RETURN_IF_ERROR(heap_.Charge(text.size() / kBytesPerStep));
  out_->append(text);
  return absl::OkStatus();
}

// What `body` writes, as a string.
absl::StatusOr<Value> Interpreter::Capture(const Block& body, const ScopePtr& scope) {
  std::string text;
  std::string* const outer = std::exchange(out_, &text);
  ++captures_;
  const absl::Status status = Run(body, scope).status();
  --captures_;
  out_ = outer;
  output_bytes_ -= text.size();
  RETURN_IF_ERROR(status);
  return heap_.String(std::move(text));
}

absl::StatusOr<Interpreter::Flow> Interpreter::Run(const Block& body, const ScopePtr& scope) {
  for (const Statement& statement : body) {
    ASSIGN_OR_RETURN(const Flow flow, RunStatement(statement, scope));
    if (flow != Flow::kNormal) return flow;
  }
  return Flow::kNormal;
}

absl::StatusOr<Interpreter::Flow> Interpreter::RunStatement(const Statement& statement, const ScopePtr& scope) {
  const DepthGuard guard(&depth_);
  absl::Status admitted = guard.Check(&heap_);
  absl::StatusOr<Flow> flow = Flow::kNormal;
  if (admitted.ok()) {
    flow = std::visit([&](const auto& node) { return RunNode(node, scope); }, statement.node);
  } else {
    flow = std::move(admitted);
  }
  if (!flow.ok() && !std::exchange(error_is_located_, true)) return At(statement.at, flow.status());
  return flow;
}

absl::StatusOr<Interpreter::Flow> Interpreter::RunNode(const Text& node, const ScopePtr&) {
  RETURN_IF_ERROR(Write(node.text));
  return Flow::kNormal;
}

absl::StatusOr<Interpreter::Flow> Interpreter::RunNode(const Output& node, const ScopePtr& scope) {
  ASSIGN_OR_RETURN(const Value value, Evaluate(*node.value, scope));
  if (const std::string* text = value.AsString()) {
    RETURN_IF_ERROR(Write(*text));
  } else {
    RETURN_IF_ERROR(heap_.ChargeWalk(value));
    RETURN_IF_ERROR(Write(Str(value)));
  }
  return Flow::kNormal;
}

absl::StatusOr<Interpreter::Flow> Interpreter::RunNode(const If& node, const ScopePtr& scope) {
  for (const auto& [condition, body] : node.branches) {
    ASSIGN_OR_RETURN(const Value value, Evaluate(*condition, scope));
    if (IsTrue(value)) return Run(body, scope);
  }
  return Run(node.otherwise, scope);
}

absl::StatusOr<Interpreter::Flow> Interpreter::RunNode(const For& node, const ScopePtr& scope) {
  ASSIGN_OR_RETURN(const Value iterable, Evaluate(*node.iterable, scope));
  ASSIGN_OR_RETURN(const Values items, Iterate(iterable, &heap_));
  const auto loop = std::make_shared<LoopContext>();
  // The context may live on in a namespace, but not what its fetch borrows.
  struct Detach {
    LoopContext* loop;
    ~Detach() { loop->fetch = nullptr; }
  } const detach{loop.get()};
  size_t next = 0;
  loop->fetch = [&]() -> absl::StatusOr<std::optional<Value>> {
    while (next < items.size()) {
      const Value& item = items[next++];
      if (node.condition == nullptr) return std::optional<Value>(item);
      const auto candidate = std::make_shared<Scope>(scope);
      RETURN_IF_ERROR(Assign(node.target, item, candidate));
      ASSIGN_OR_RETURN(const Value passes, Evaluate(*node.condition, candidate));
      if (IsTrue(passes)) return std::optional<Value>(item);
    }
    return std::optional<Value>();
  };
  bool completed = false;  // an iteration; as in jinja2, one that is left early does not count
  while (true) {
    ASSIGN_OR_RETURN(const bool more, loop->Advance());
    if (!more) break;
    const auto inner = std::make_shared<Scope>(scope);
    RETURN_IF_ERROR(Assign(node.target, loop->current, inner));
    inner->Set("loop", Value(Value::Loop(loop)));
    ASSIGN_OR_RETURN(const Flow flow, Run(node.body, inner));
    if (flow == Flow::kBreak) break;
    completed |= flow == Flow::kNormal;
  }
  if (completed) return Flow::kNormal;
  return Run(node.otherwise, scope);
}

absl::Status Interpreter::Assign(const Target& target, Value value, const ScopePtr& scope) {
  if (!target.parts.empty()) {
    ASSIGN_OR_RETURN(Values items, Iterate(value, &heap_));
    if (items.size() != target.parts.size()) {
      return absl::InvalidArgumentError(
          absl::StrCat("got ", items.size(), " values to unpack, want ", target.parts.size()));
    }
    for (size_t i = 0; i < items.size(); ++i) RETURN_IF_ERROR(Assign(target.parts[i], std::move(items[i]), scope));
    return absl::OkStatus();
  }
  if (target.attribute.empty()) {
    scope->Set(target.name, std::move(value));
    return absl::OkStatus();
  }
  const Value* object = scope->Find(target.name);
  if (object == nullptr || !object->Is<Value::Namespace>()) {
    return TypeError("cannot assign attribute on non-namespace object");
  }
  if (target.attribute.starts_with('_')) {
    return absl::InvalidArgumentError(
        absl::StrCat("a namespace attribute must not begin with '_', got ", Quoted(target.attribute)));
  }
  (*object->As<Value::Namespace>())->attributes[target.attribute] = std::move(value);
  return absl::OkStatus();
}

absl::StatusOr<Interpreter::Flow> Interpreter::RunNode(const Set& node, const ScopePtr& scope) {
  ASSIGN_OR_RETURN(Value value, Evaluate(*node.value, scope));
  RETURN_IF_ERROR(Assign(node.target, std::move(value), scope));
  return Flow::kNormal;
}

absl::StatusOr<Interpreter::Flow> Interpreter::RunNode(const SetBlock& node, const ScopePtr& scope) {
  ASSIGN_OR_RETURN(Value value, Capture(node.body, std::make_shared<Scope>(scope)));
  if (node.filter != nullptr) {
    ASSIGN_OR_RETURN(value, ApplyChain(*node.filter, value, scope));
  }
  RETURN_IF_ERROR(Assign(node.target, std::move(value), scope));
  return Flow::kNormal;
}

absl::StatusOr<Interpreter::Flow> Interpreter::RunNode(const FilterBlock& node, const ScopePtr& scope) {
  ASSIGN_OR_RETURN(Value value, Capture(node.body, std::make_shared<Scope>(scope)));
  ASSIGN_OR_RETURN(value, ApplyChain(*node.filter, value, scope));
  RETURN_IF_ERROR(heap_.ChargeWalk(value));
  RETURN_IF_ERROR(Write(Str(value)));
  return Flow::kNormal;
}

absl::StatusOr<Value> Interpreter::ApplyChain(const Expression& chain, const Value& value, const ScopePtr& scope) {
  const Filter& filter = std::get<Filter>(chain.node);
  Value input = value;
  if (filter.value != nullptr) {
    ASSIGN_OR_RETURN(input, ApplyChain(*filter.value, value, scope));
  }
  ASSIGN_OR_RETURN(const Arguments arguments, EvaluateArguments(filter.arguments, scope));
  return ApplyFilter(filter.name, input, arguments);
}

absl::StatusOr<Interpreter::Flow> Interpreter::RunNode(const MacroDefinition& node, const ScopePtr& scope) {
  scope->Set(node.name, MakeMacro(node, scope));
  return Flow::kNormal;
}

Value Interpreter::MakeMacro(const MacroDefinition& node, const ScopePtr& scope) {
  if (macro_scopes_.empty() || macro_scopes_.back() != scope) macro_scopes_.push_back(scope);
  return Value(Value::Function(std::make_shared<Macro>(this, &node, scope)));
}

absl::StatusOr<Interpreter::Flow> Interpreter::RunNode(const CallBlock& node, const ScopePtr& scope) {
  const Call& call = std::get<Call>(node.call->node);
  ASSIGN_OR_RETURN(const Value function, Evaluate(*call.function, scope));
  ASSIGN_OR_RETURN(Arguments arguments, EvaluateArguments(call.arguments, scope));
  arguments.named.emplace_back("caller", MakeMacro(node.caller, scope));
  ASSIGN_OR_RETURN(const Value value, CallValue(function, arguments));
  RETURN_IF_ERROR(heap_.ChargeWalk(value));
  RETURN_IF_ERROR(Write(Str(value)));
  return Flow::kNormal;
}

absl::StatusOr<Value> Interpreter::CallMacro(const Macro& macro, const Arguments& arguments) {
  const DepthGuard guard(&depth_);
  RETURN_IF_ERROR(guard.Check(&heap_));
  const MacroDefinition& node = macro.definition();
  const auto scope = std::make_shared<Scope>(macro.scope());
  const size_t num_parameters = node.parameters.size();
  if (arguments.positional.size() > num_parameters && !node.uses_varargs) {
    return TypeError(absl::StrCat("macro ", ReprString(node.name), " got ", arguments.positional.size(),
                                  " arguments, takes at most ", num_parameters));
  }
  std::vector<std::pair<Value, Value>> rest;
  for (const auto& [name, value] : arguments.named) {
    bool known = false;
    for (const Parameter& parameter : node.parameters) known |= parameter.name == name;
    if (known) continue;
    if (name == "caller" && node.uses_caller) {
      scope->Set("caller", value);
    } else if (node.uses_kwargs) {
      ASSIGN_OR_RETURN(Value key, heap_.String(name));
      rest.emplace_back(std::move(key), value);
    } else {
      return TypeError(absl::StrCat("macro ", ReprString(node.name), " takes no keyword argument ", ReprString(name)));
    }
  }
  for (size_t i = 0; i < num_parameters; ++i) {
    const Parameter& parameter = node.parameters[i];
    Value value = Value::MakeUndefined(absl::StrCat("parameter ", ReprString(parameter.name), " was not provided"));
    if (const Value* given = arguments.Get(i, parameter.name); given != nullptr) {
      value = *given;
    } else if (parameter.fallback != nullptr) {
      ASSIGN_OR_RETURN(value, Evaluate(*parameter.fallback, scope));
    }
    scope->Set(parameter.name, std::move(value));
  }
  if (node.uses_varargs) {
    const size_t first = std::min(num_parameters, arguments.positional.size());
    ASSIGN_OR_RETURN(Value varargs,
                     heap_.Tuple(Values(arguments.positional.begin() + first, arguments.positional.end())));
    scope->Set("varargs", std::move(varargs));
  }
  if (node.uses_kwargs) {
    ASSIGN_OR_RETURN(Value kwargs, heap_.Dict(std::move(rest)));
    scope->Set("kwargs", std::move(kwargs));
  }
  return Capture(node.body, scope);
}

absl::StatusOr<Interpreter::Flow> Interpreter::RunNode(const With& node, const ScopePtr& scope) {
  const auto inner = std::make_shared<Scope>(scope);
  for (const auto& [target, expression] : node.variables) {
    ASSIGN_OR_RETURN(Value value, Evaluate(*expression, scope));
    RETURN_IF_ERROR(Assign(target, std::move(value), inner));
  }
  return Run(node.body, inner);
}

absl::StatusOr<Interpreter::Flow> Interpreter::RunNode(const Generation& node, const ScopePtr& scope) {
  const size_t begin = out_->size();
  ASSIGN_OR_RETURN(const Flow flow, Run(node.body, std::make_shared<Scope>(scope)));
  // Where text is captured, its place in the rendering is not known.
  if (captures_ == 0) generation_ranges_.emplace_back(begin, out_->size());
  return flow;
}

absl::StatusOr<Interpreter::Flow> Interpreter::RunNode(const Break&, const ScopePtr&) {
  return Flow::kBreak;
}
absl::StatusOr<Interpreter::Flow> Interpreter::RunNode(const Continue&, const ScopePtr&) {
  return Flow::kContinue;
}

}  // namespace tandem::jinja
