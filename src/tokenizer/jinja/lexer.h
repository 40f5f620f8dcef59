// Jinja's lexer under transformers' settings: trim_blocks, lstrip_blocks, no trailing newline kept.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace tandem::jinja {

struct Position {
  int line = 1, column = 1;
};

struct Token {
  enum class Type {
    kData,
    kVariableBegin,
    kVariableEnd,
    kBlockBegin,
    kBlockEnd,
    kName,
    kString,
    kInteger,
    kFloat,
    kOperator,
    kEnd
  };
  Type type = Type::kEnd;
  std::string text;  // data, name, decoded string, digits, operator
  Position at;

  bool IsOperator(std::string_view op) const { return type == Type::kOperator && text == op; }
  bool IsName(std::string_view name) const { return type == Type::kName && text == name; }
};

// The tokens of `source`, valid UTF-8, ended by kEnd. INVALID_ARGUMENT with line and column.
absl::StatusOr<std::vector<Token>> Tokenize(std::string_view source);

// "end of template", "'%}'", "name 'foo'": for messages.
std::string Describe(const Token& token);

// INVALID_ARGUMENT "line 3, column 7: message".
absl::Status ErrorAt(const Position& at, std::string_view message);

}  // namespace tandem::jinja
