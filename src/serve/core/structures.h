// Structured output as requests ask for it: texts made grammars over the model's vocabulary, the last ones kept.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "grammar/grammar.h"
#include "tokenizer/tokenizer.h"

namespace tandem {

enum class StructureKind { kJsonSchema, kRegex, kGrammar, kJsonObject };

struct StructureInput {
  StructureKind kind = StructureKind::kJsonSchema;
  std::string text;  // of kJsonObject: ""
  bool operator==(const StructureInput&) const = default;
};

// Thread-safe.
class Structures {
 public:
  static constexpr size_t kMaxKept = 16;

  // `tokenizer` is borrowed; the text may end with any of `end_tokens`, of the model's `vocab` tokens.
  Structures(const Tokenizer* tokenizer, std::vector<int32_t> end_tokens, int vocab)
      : tokenizer_(tokenizer), end_tokens_(std::move(end_tokens)), vocab_(vocab) {}

  // INVALID_ARGUMENT names the field and, of a text that is wrong or not supported, the place; RESOURCE_EXHAUSTED:
  // too large or too ambiguous.
  absl::StatusOr<std::shared_ptr<grammar::Grammar>> Compile(const StructureInput& input);

 private:
  struct Kept {
    StructureInput input;
    std::shared_ptr<grammar::Grammar> grammar;  // shared: with the requests that use it
  };

  std::shared_ptr<const grammar::Tokens> Vocabulary();
  std::shared_ptr<grammar::Grammar> Find(const StructureInput& input);

  const Tokenizer* const tokenizer_;
  const std::vector<int32_t> end_tokens_;
  const int vocab_;
  absl::Mutex mutex_;
  std::shared_ptr<const grammar::Tokens> tokens_ ABSL_GUARDED_BY(mutex_);  // made for the first request that needs it
  std::deque<Kept> kept_ ABSL_GUARDED_BY(mutex_);                          // the one used last in front
};

}  // namespace tandem
