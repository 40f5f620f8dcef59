// What the three notations share: rules that parse are compiled, and a text is written by their masks.
#pragma once

#include <memory>
#include <vector>

#include "fuzz/fuzz.h"
#include "grammar/grammar.h"

namespace tandem {

// Every byte is a token, and some words are; token 0 ends the text.
inline std::shared_ptr<const grammar::Tokens> FuzzTokens() {
  grammar::TokenBytes vocabulary;
  vocabulary.bytes.emplace_back();
  for (int byte = 0; byte < 256; ++byte) vocabulary.bytes.emplace_back(1, static_cast<char>(byte));
  for (const char* word : {"true", "null", "\": \"", "},{", "1234", "a long token of more than sixteen bytes"}) {
    vocabulary.bytes.emplace_back(word);
  }
  vocabulary.end_tokens.push_back(0);
  return std::make_shared<const grammar::Tokens>(std::move(vocabulary));
}

inline void WriteByMasks(const absl::StatusOr<grammar::Rules>& rules) {
  static const std::shared_ptr<const grammar::Tokens> tokens = FuzzTokens();
  if (!rules.ok()) return;
  const auto compiled = grammar::Grammar::Compile(*rules, tokens);
  if (!compiled.ok()) return;
  grammar::Matcher matcher(*compiled);
  std::vector<uint64_t> mask(tokens->mask_words());
  for (int step = 0; step < 16; ++step) {
    if (!matcher.FillMask(mask).ok()) return;
    // A different allowed token at every step; every one that the mask allows is accepted.
    int32_t chosen = -1;
    for (int32_t i = 0; i < tokens->size(); ++i) {
      const int32_t token = (i + 37 * step) % tokens->size();
      if ((mask[token / 64] >> (token % 64) & 1) != 0) chosen = token;
    }
    if (chosen < 0) return;
    CHECK(matcher.Accept(chosen).ok()) << "the mask allows token " << chosen << ", Accept does not";
    if (chosen == 0) return;
  }
}

}  // namespace tandem
