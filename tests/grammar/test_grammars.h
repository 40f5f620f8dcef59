// Grammars and small vocabularies for the tests.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "grammar/ebnf.h"
#include "grammar/grammar.h"

namespace tandem::grammar {

// Token i is texts[i]; the one behind them is the end token.
inline std::shared_ptr<const Tokens> MakeTokens(std::vector<std::string> texts) {
  TokenBytes bytes{.bytes = std::move(texts)};
  bytes.end_tokens = {static_cast<int32_t>(bytes.bytes.size())};
  bytes.bytes.push_back("");
  return std::make_shared<const Tokens>(std::move(bytes));
}

inline std::shared_ptr<const Tokens> ByteTokens() {
  std::vector<std::string> texts;
  for (int byte = 0; byte < 256; ++byte) texts.push_back(std::string(1, static_cast<char>(byte)));
  return MakeTokens(std::move(texts));
}

inline bool Matches(const std::shared_ptr<Grammar>& grammar, std::string_view text) {
  Matcher matcher(grammar);
  return matcher.AcceptBytes(text).ok() && matcher.MayEnd();
}

// "" where it compiles.
inline std::string CompileError(const absl::StatusOr<Rules>& rules) {
  if (!rules.ok()) return std::string(rules.status().message());
  return std::string(Grammar::Compile(*rules, ByteTokens()).status().message());
}

}  // namespace tandem::grammar
