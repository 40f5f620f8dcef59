#include "grammar/grammar.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "grammar/masks.h"
#include "grammar/network.h"

namespace tandem::grammar {

struct Grammar::Parts {
  Network network;
  std::shared_ptr<const Tokens> tokens;  // shared by all grammars of a model
};

Grammar::Grammar(std::unique_ptr<const Parts> parts) : parts_(std::move(parts)) {}
Grammar::~Grammar() = default;

size_t Grammar::mask_words() const {
  return parts_->tokens->mask_words();
}

absl::StatusOr<std::shared_ptr<Grammar>> Grammar::Compile(const Rules& rules, std::shared_ptr<const Tokens> tokens) {
  ASSIGN_OR_RETURN(Network network, BuildNetwork(rules));
  std::shared_ptr<Grammar> grammar(
      new Grammar(std::unique_ptr<const Parts>(new Parts{std::move(network), std::move(tokens)})));
  Matcher first(grammar);
  std::vector<uint64_t> mask(grammar->parts_->tokens->mask_words());
  RETURN_IF_ERROR(first.FillMask(mask));
  return grammar;
}

// A fresh one once the last has grown large: what was found is found again.
std::shared_ptr<Automaton> Grammar::CurrentAutomaton() {
  absl::MutexLock lock(&mutex_);
  bool large = automaton_ == nullptr;
  if (!large) {
    absl::MutexLock automaton_lock(&automaton_->mutex);
    large = automaton_->configurations().frames_held() > Configurations::kMaxFrames / 4;
  }
  if (large) automaton_ = std::make_shared<Automaton>(&parts_->network, parts_->tokens.get());
  return automaton_;
}

Matcher::Matcher(std::shared_ptr<Grammar> grammar)
    : grammar_(std::move(grammar)), automaton_(grammar_->CurrentAutomaton()) {
  absl::MutexLock lock(&automaton_->mutex);
  automaton_->configurations().Allow(Automaton::kWorkPerMask);
  at_ = automaton_->configurations().Start();
}

absl::Status Matcher::AcceptBytes(std::string_view bytes) {
  if (ended_) return absl::InvalidArgumentError("the text has ended");
  absl::MutexLock lock(&automaton_->mutex);
  Configurations& configurations = automaton_->configurations();
  int at = at_;
  for (size_t i = 0; i < bytes.size(); ++i) {
    configurations.Allow(Automaton::kWorkPerMask);
    at = configurations.Next(at, static_cast<uint8_t>(bytes[i]));
    if (configurations.exhausted()) {
      return absl::ResourceExhaustedError("the grammar is too ambiguous: following it takes too much work or memory");
    }
    if (at == Configurations::kDead) {
      return absl::InvalidArgumentError(absl::StrCat("byte ", i, " does not fit the grammar"));
    }
  }
  at_ = at;
  return absl::OkStatus();
}

absl::Status Matcher::Accept(int32_t token) {
  const TokenBytes& vocabulary = grammar_->parts_->tokens->vocabulary();
  const std::vector<int32_t>& ends = vocabulary.end_tokens;
  if (std::find(ends.begin(), ends.end(), token) != ends.end()) {
    if (ended_ || !MayEnd()) return absl::InvalidArgumentError("the text is not complete");
    ended_ = true;
    return absl::OkStatus();
  }
  if (token < 0 || token >= static_cast<int32_t>(vocabulary.bytes.size()) || vocabulary.bytes[token].empty()) {
    return absl::InvalidArgumentError(absl::StrCat("token ", token, " is no text"));
  }
  return AcceptBytes(vocabulary.bytes[token]);
}

absl::Status Matcher::FillMask(std::span<uint64_t> mask) {
  if (ended_) {
    std::fill(mask.begin(), mask.end(), 0);
    return absl::OkStatus();
  }
  absl::MutexLock lock(&automaton_->mutex);
  if (automaton_->FillMask(at_, mask)) return absl::OkStatus();
  return absl::ResourceExhaustedError("the grammar is too ambiguous: its masks take too much work or memory");
}

bool Matcher::MayEnd() const {
  absl::MutexLock lock(&automaton_->mutex);
  return automaton_->configurations().accepts(at_);
}

bool Matcher::MustEnd() const {
  absl::MutexLock lock(&automaton_->mutex);
  const std::vector<Frame>& frames = automaton_->configurations().frames(at_);
  return std::all_of(frames.begin(), frames.end(), [](const Frame& frame) { return frame.state < 0; });
}

}  // namespace tandem::grammar
