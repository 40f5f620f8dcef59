// Runs a parsed template: one Interpreter for each rendering.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "tokenizer/jinja/ast.h"
#include "tokenizer/jinja/callable.h"
#include "tokenizer/jinja/heap.h"
#include "tokenizer/jinja/scope.h"

namespace tandem::jinja {

struct Rendering {
  std::string text;
  std::vector<std::pair<size_t, size_t>> generation_ranges;  // bytes of text
};

class Interpreter : public Evaluator {
 public:
  // `now` is what strftime_now tells.
  Interpreter(const Limits& limits, absl::Time now);
  ~Interpreter() override;

  void SetVariable(const std::string& name, Value value) { root_->Set(name, std::move(value)); }
  // Errors carry line and column. INVALID_ARGUMENT: what Python's jinja2 would raise; RESOURCE_EXHAUSTED: a limit.
  absl::StatusOr<Rendering> Render(const Block& body);

  Heap& heap() override { return heap_; }
  absl::StatusOr<Value> CallValue(const Value& function, const Arguments& arguments) override;
  absl::StatusOr<Value> ApplyFilter(const std::string& name, const Value& value, const Arguments& arguments) override;
  absl::StatusOr<bool> ApplyTest(const std::string& name, const Value& value, const Arguments& arguments) override;
  absl::StatusOr<Value> GetAttribute(const Value& object, const std::string& name) override;
  absl::StatusOr<Value> GetItem(const Value& object, const Value& key) override;

 private:
  class Macro;
  enum class Flow { kNormal, kBreak, kContinue };

  // Statements (interpreter.cc).
  absl::StatusOr<Flow> Run(const Block& body, const ScopePtr& scope);
  absl::StatusOr<Flow> RunStatement(const Statement& statement, const ScopePtr& scope);
  absl::StatusOr<Flow> RunNode(const Text& node, const ScopePtr& scope);
  absl::StatusOr<Flow> RunNode(const Output& node, const ScopePtr& scope);
  absl::StatusOr<Flow> RunNode(const If& node, const ScopePtr& scope);
  absl::StatusOr<Flow> RunNode(const For& node, const ScopePtr& scope);
  absl::StatusOr<Flow> RunNode(const Set& node, const ScopePtr& scope);
  absl::StatusOr<Flow> RunNode(const SetBlock& node, const ScopePtr& scope);
  absl::StatusOr<Flow> RunNode(const MacroDefinition& node, const ScopePtr& scope);
  absl::StatusOr<Flow> RunNode(const CallBlock& node, const ScopePtr& scope);
  absl::StatusOr<Flow> RunNode(const FilterBlock& node, const ScopePtr& scope);
  absl::StatusOr<Flow> RunNode(const With& node, const ScopePtr& scope);
  absl::StatusOr<Flow> RunNode(const Generation& node, const ScopePtr& scope);
  absl::StatusOr<Flow> RunNode(const Break& node, const ScopePtr& scope);
  absl::StatusOr<Flow> RunNode(const Continue& node, const ScopePtr& scope);
  absl::Status Assign(const Target& target, Value value, const ScopePtr& scope);
  absl::Status Write(std::string_view text);
  absl::StatusOr<Value> Capture(const Block& body, const ScopePtr& scope);
  Value MakeMacro(const MacroDefinition& node, const ScopePtr& scope);
  absl::StatusOr<Value> CallMacro(const Macro& macro, const Arguments& arguments);
  absl::StatusOr<Value> ApplyChain(const Expression& filter, const Value& value, const ScopePtr& scope);

  // Expressions (evaluate.cc).
  absl::StatusOr<Value> Evaluate(const Expression& expression, const ScopePtr& scope);
  absl::StatusOr<Value> EvaluateNode(const Literal& node, const ScopePtr& scope);
  absl::StatusOr<Value> EvaluateNode(const Name& node, const ScopePtr& scope);
  absl::StatusOr<Value> EvaluateNode(const ListLiteral& node, const ScopePtr& scope);
  absl::StatusOr<Value> EvaluateNode(const TupleLiteral& node, const ScopePtr& scope);
  absl::StatusOr<Value> EvaluateNode(const DictLiteral& node, const ScopePtr& scope);
  absl::StatusOr<Value> EvaluateNode(const Unary& node, const ScopePtr& scope);
  absl::StatusOr<Value> EvaluateNode(const Binary& node, const ScopePtr& scope);
  absl::StatusOr<Value> EvaluateNode(const Logic& node, const ScopePtr& scope);
  absl::StatusOr<Value> EvaluateNode(const Concat& node, const ScopePtr& scope);
  absl::StatusOr<Value> EvaluateNode(const Comparison& node, const ScopePtr& scope);
  absl::StatusOr<Value> EvaluateNode(const Attribute& node, const ScopePtr& scope);
  absl::StatusOr<Value> EvaluateNode(const Item& node, const ScopePtr& scope);
  absl::StatusOr<Value> EvaluateNode(const Slice& node, const ScopePtr& scope);
  absl::StatusOr<Value> EvaluateNode(const Call& node, const ScopePtr& scope);
  absl::StatusOr<Value> EvaluateNode(const Filter& node, const ScopePtr& scope);
  absl::StatusOr<Value> EvaluateNode(const Test& node, const ScopePtr& scope);
  absl::StatusOr<Value> EvaluateNode(const Conditional& node, const ScopePtr& scope);
  absl::StatusOr<Values> EvaluateAll(const std::vector<ExpressionPtr>& expressions, const ScopePtr& scope);
  absl::StatusOr<Arguments> EvaluateArguments(const CallArguments& arguments, const ScopePtr& scope);

  Heap heap_;
  ScopePtr root_;
  absl::flat_hash_map<std::string, Value> globals_;
  std::vector<ScopePtr> macro_scopes_;  // cleared at the end: they and their macros hold each other
  std::string* out_ = nullptr;          // where text goes now
  int captures_ = 0;                    // 0: out_ is the rendering itself
  int64_t output_bytes_ = 0;            // in all buffers
  std::vector<std::pair<size_t, size_t>> generation_ranges_;
  int depth_ = 0;
  bool error_is_located_ = false;  // an error that passes up already names its line
};

}  // namespace tandem::jinja
