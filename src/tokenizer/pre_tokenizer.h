// pre_tokenizer of tokenizer.json: cuts text into the words within which a model may merge.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "base/json.h"

namespace tandem {

// One text and the words it is cut into, in order; what a step removes lies between words.
struct Words {
  struct Word {
    size_t begin = 0, end = 0;      // bytes of text; never empty
    bool starts_the_input = false;  // its first character is the input's first
  };
  std::string text;
  std::vector<Word> words;

  std::string_view Text(const Word& word) const {
    return std::string_view(text).substr(word.begin, word.end - word.begin);
  }
};

// Immutable; thread-safe.
class PreTokenizer {
 public:
  virtual ~PreTokenizer() = default;
  virtual absl::Status Apply(Words* words) const = 0;
};

// INVALID_ARGUMENT names the field, under `path`, that is wrong or not supported.
absl::StatusOr<std::unique_ptr<PreTokenizer>> MakePreTokenizer(const Json& config, const std::string& path);

}  // namespace tandem
