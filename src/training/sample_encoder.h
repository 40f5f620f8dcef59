// A parsed sample as tokens, and which of them are learned.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "tandem/job.h"
#include "tokenizer/chat_template.h"
#include "tokenizer/tokenizer.h"
#include "training/sample_parser.h"
#include "training/token_ranges.h"

namespace tandem {

struct EncodedSample {
  std::vector<int32_t> tokens;
  std::vector<bool> learned;  // [tokens]
};

// Borrows all it is given; thread-safe.
class SampleEncoder {
 public:
  // chat_template: null where the model has none. end_token: closes prompt + completion and text samples.
  SampleEncoder(const Tokenizer* tokenizer, const ChatTemplate* chat_template, std::optional<int32_t> end_token,
                LossMask loss_mask);

  // Chat: the rendered template; learned are the assistant's turns: what the template's {% generation %} blocks
  // produced or, without such, each turn's addition to the generation prompt before it. Completion: prompt, completion,
  // end token; learned are the last two. Text: all of it and the end token. LossMask::kAll learns every token.
  // INVALID_ARGUMENT says what does not fit.
  absl::StatusOr<EncodedSample> Encode(const ParsedSample& sample) const;

 private:
  absl::StatusOr<EncodedSample> EncodeChat(const ChatSample& sample) const;
  absl::StatusOr<EncodedSample> EncodeCompletion(const CompletionSample& sample) const;
  absl::StatusOr<EncodedSample> EncodeText(const TextSample& sample) const;
  absl::StatusOr<std::vector<ByteRange>> AssistantRanges(const ChatSample& sample, const RenderedChat& chat) const;

  const Tokenizer* const tokenizer_;
  const ChatTemplate* const chat_template_;
  const std::optional<int32_t> end_token_;
  const LossMask loss_mask_;
};

}  // namespace tandem
