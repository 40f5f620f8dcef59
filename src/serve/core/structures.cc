#include "serve/core/structures.h"

#include <algorithm>

#include "base/status.h"
#include "grammar/ebnf.h"
#include "grammar/json_schema.h"
#include "grammar/regex_rules.h"
#include "serve/core/validate.h"

namespace tandem {
namespace {

const char* FieldOf(StructureKind kind) {
  switch (kind) {
    case StructureKind::kJsonSchema:
      return "json_schema";
    case StructureKind::kRegex:
      return "regex";
    case StructureKind::kGrammar:
      return "grammar";
    case StructureKind::kJsonObject:
      return "json_object";
  }
  return "";
}

absl::StatusOr<grammar::Rules> Parse(const StructureInput& input) {
  switch (input.kind) {
    case StructureKind::kJsonSchema:
      return grammar::ParseJsonSchema(input.text);
    case StructureKind::kRegex:
      return grammar::ParseRegex(input.text);
    case StructureKind::kGrammar:
      return grammar::ParseEbnf(input.text);
    case StructureKind::kJsonObject:
      return grammar::AnyJsonObject();
  }
  return absl::InternalError("unknown kind of structure");
}

}  // namespace

// Special tokens are no text: they match nothing.
std::shared_ptr<const grammar::Tokens> Structures::Vocabulary() {
  const absl::MutexLock lock(&mutex_);
  if (tokens_ != nullptr) return tokens_;
  grammar::TokenBytes vocabulary;
  vocabulary.bytes.resize(std::min(vocab_, tokenizer_->vocab_size()));
  for (int32_t id = 0; id < static_cast<int32_t>(vocabulary.bytes.size()); ++id) {
    if (!tokenizer_->IsSpecial(id)) vocabulary.bytes[id] = tokenizer_->TokenBytes(id);
  }
  for (const int32_t end : end_tokens_) {
    if (end >= vocab_) continue;  // never drawn
    if (end >= static_cast<int32_t>(vocabulary.bytes.size())) vocabulary.bytes.resize(end + 1);
    vocabulary.bytes[end].clear();
    vocabulary.end_tokens.push_back(end);
  }
  tokens_ = std::make_shared<const grammar::Tokens>(std::move(vocabulary));
  return tokens_;
}

std::shared_ptr<grammar::Grammar> Structures::Find(const StructureInput& input) {
  const absl::MutexLock lock(&mutex_);
  const auto found = std::find_if(kept_.begin(), kept_.end(), [&](const Kept& kept) { return kept.input == input; });
  if (found == kept_.end()) return nullptr;
  std::rotate(kept_.begin(), found, found + 1);
  return kept_.front().grammar;
}

absl::StatusOr<std::shared_ptr<grammar::Grammar>> Structures::Compile(const StructureInput& input) {
  const char* const field = FieldOf(input.kind);
  RETURN_IF_ERROR(CheckUtf8(field, input.text));
  if (std::shared_ptr<grammar::Grammar> known = Find(input)) return known;
  const absl::StatusOr<grammar::Rules> rules = Parse(input);
  if (!rules.ok()) return Annotate(rules.status(), field);
  auto grammar = grammar::Grammar::Compile(*rules, Vocabulary());
  if (!grammar.ok()) return Annotate(grammar.status(), field);
  const absl::MutexLock lock(&mutex_);
  kept_.push_front({input, *grammar});
  if (kept_.size() > kMaxKept) kept_.pop_back();
  return grammar;
}

}  // namespace tandem
