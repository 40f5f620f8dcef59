// Chat templates: the Jinja of tokenizer_config.json or chat_template.jinja, rendered as transformers does
// (jinja2 sandbox, trim_blocks, lstrip_blocks). Bounded in steps, depth and output.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/json.h"

namespace tandem {

// Keys stay in the order in which they were written: a template shows them in it (tojson).
using OrderedJson = nlohmann::ordered_json;

struct RenderedChat {
  std::string text;
  // Byte ranges of text that {% generation %} blocks produced: the assistant's own words, for the loss mask. Not of
  // blocks within a macro or {% set %}, whose place in the text is not known.
  std::vector<std::pair<size_t, size_t>> generation_ranges;
};

// Immutable after Parse; thread-safe.
class ChatTemplate {
 public:
  // The template of a model directory: chat_template.jinja, else tokenizer_config.json's chat_template (its "default"
  // entry where that is a list), with bos_token, eos_token ... bound. NOT_FOUND where the model has none.
  static absl::StatusOr<std::unique_ptr<ChatTemplate>> Load(const std::string& directory);
  // `special_tokens`: an object of strings such as {"bos_token": "<s>"}. INVALID_ARGUMENT with line and column.
  static absl::StatusOr<std::unique_ptr<ChatTemplate>> Parse(std::string source, Json special_tokens);
  ~ChatTemplate();

  // `variables`: {"messages": [...], "add_generation_prompt": bool, "tools": ..., more}; they override the special
  // tokens. As apply_chat_template does, keys of a message whose value is null are dropped, its reasoning is found
  // under each of its names, and tools and documents are none where they are not given. `now`: what strftime_now tells.
  // INVALID_ARGUMENT carries line, column and the template's own raise_exception message; RESOURCE_EXHAUSTED a bound.
  absl::StatusOr<RenderedChat> Render(const OrderedJson& variables, absl::Time now = absl::Now()) const;
  bool has_generation_blocks() const;

 private:
  class Impl;
  explicit ChatTemplate(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace tandem
