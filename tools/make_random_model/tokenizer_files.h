// A byte-level BPE tokenizer of a given vocabulary size, made up: every byte has a token, so any text encodes, and
// every token decodes.
#pragma once

#include "base/json.h"

namespace tandem {

inline constexpr int kMinRandomVocab = 260;  // the specials and one token per byte
inline constexpr int kBosToken = 0, kEosToken = 1;

Json RandomTokenizer(int vocab);
Json RandomTokenizerConfig();  // with a chat template

}  // namespace tandem
