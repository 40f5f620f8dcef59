// Variables of a running template. Scopes nest as blocks do; a macro keeps the scope it was defined in.
#pragma once

#include <memory>
#include <string>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "tokenizer/jinja/value.h"

namespace tandem::jinja {

class Scope {
 public:
  explicit Scope(std::shared_ptr<Scope> parent) : parent_(std::move(parent)) {}
  // Null where no scope up to the outermost has it.
  const Value* Find(const std::string& name) const {
    for (const Scope* scope = this; scope != nullptr; scope = scope->parent_.get()) {
      const auto found = scope->variables_.find(name);
      if (found != scope->variables_.end()) return &found->second;
    }
    return nullptr;
  }
  void Set(const std::string& name, Value value) { variables_[name] = std::move(value); }
  // Breaks the cycle between a scope and the macros it holds.
  void Clear() { variables_.clear(); }

 private:
  std::shared_ptr<Scope> parent_;  // shared with the macros that close over it
  absl::flat_hash_map<std::string, Value> variables_;
};

using ScopePtr = std::shared_ptr<Scope>;

}  // namespace tandem::jinja
