// Text to token ids and back, as a Hugging Face tokenizer.json describes it.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace tandem {

enum class SpecialTokens { kNone, kAdd };  // kAdd: what the post-processor adds (a BOS, say)

// Detokenizes ids one by one: the concatenation of all that is returned equals Decode of all ids.
class DecodeStream {
 public:
  virtual ~DecodeStream() = default;
  virtual std::string Append(int32_t id) = 0;
  virtual std::string Flush() = 0;
};

// Immutable after Load; all methods are thread-safe.
class Tokenizer {
 public:
  // Reads `directory`/tokenizer.json. INVALID_ARGUMENT names the field and the value of whatever is not supported.
  static absl::StatusOr<std::unique_ptr<Tokenizer>> Load(const std::string& directory);
  virtual ~Tokenizer() = default;

  // Special tokens written out inside the text are recognised. INVALID_ARGUMENT where text is not UTF-8 (byte offset).
  virtual absl::StatusOr<std::vector<int32_t>> Encode(std::string_view text, SpecialTokens special) const = 0;

  // As transformers decodes with clean_up_tokenization_spaces=False. Ids outside the vocabulary give "".
  virtual std::string Decode(std::span<const int32_t> ids, bool skip_special_tokens) const = 0;

  virtual int vocab_size() const = 0;  // highest id + 1
  virtual std::optional<int32_t> TokenToId(std::string_view token) const = 0;
  virtual std::string IdToToken(int32_t id) const = 0;  // "" for an unknown id
  virtual bool IsSpecial(int32_t id) const = 0;

  // The bytes that the token adds inside a text, whole characters or not; "" for an unknown id. This one is for
  // vocabularies of whole characters.
  virtual std::string TokenBytes(int32_t id) const { return Decode({&id, 1}, false); }

  // The stream must not outlive the tokenizer. This one decodes every id by itself: for vocabularies of whole
  // characters.
  virtual std::unique_ptr<DecodeStream> NewDecodeStream(bool skip_special_tokens) const;
};

// Detokenizes a stream: every byte comes out once, whole UTF-8 characters only; the concatenation of all pieces equals
// Decode of all ids.
class StreamDecoder {
 public:
  StreamDecoder(const Tokenizer* tokenizer, bool skip_special_tokens)
      : stream_(tokenizer->NewDecodeStream(skip_special_tokens)) {}
  // The text that `id` completes; "" while a character is unfinished.
  std::string Append(int32_t id) { return stream_->Append(id); }
  // What is left at the end (an unfinished character as U+FFFD).
  std::string Flush() { return stream_->Flush(); }

 private:
  std::unique_ptr<DecodeStream> stream_;
};

}  // namespace tandem
