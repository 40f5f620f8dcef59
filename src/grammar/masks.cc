#include "grammar/masks.h"

#include <algorithm>
#include <array>
#include <bit>

namespace tandem::grammar {
namespace {

constexpr size_t kMaxMaskBytes = 64 << 20;  // of whole masks; they are found again when dropped

void Set(std::span<uint64_t> mask, int32_t token) {
  mask[token / 64] |= uint64_t{1} << (token % 64);
}

// Counts of a repetition that no short token can tell apart get one representative: a token of n bytes does at most n
// turns.
int Representative(const Network::Rule& rule, int count) {
  constexpr int kFar = Tokens::kShortBytes + 1;
  if (rule.min - count >= kFar) return 1;
  if (rule.max == Network::kForever) return count;
  if (count >= rule.min && rule.max - count >= kFar) return rule.min;
  return count;
}

}  // namespace

TokenSet::TokenSet(std::span<const uint64_t> mask, int num_tokens) {
  size_t count = 0;
  for (const uint64_t word : mask) count += std::popcount(word);
  if (count * 4 >= mask.size() * 8) {
    words_.assign(mask.begin(), mask.end());
    return;
  }
  for (size_t i = 0; i < mask.size(); ++i) {
    for (uint64_t word = mask[i]; word != 0; word &= word - 1) {
      members_.push_back(static_cast<int32_t>(i * 64 + std::countr_zero(word)));
    }
  }
}

void TokenSet::AddTo(std::span<uint64_t> mask) const {
  for (size_t i = 0; i < words_.size(); ++i) mask[i] |= words_[i];
  for (const int32_t token : members_) Set(mask, token);
}

// Every node strictly below `from` that `configuration` reaches: its tokens go into the mask, and where `escapes` is
// given, nodes at which the stack's unknown part would go on are noted.
void Automaton::Walk(const TokenTrie& trie, uint32_t from, int configuration, std::span<uint64_t> mask,
                     std::vector<uint32_t>* escapes) {
  std::array<int, TokenTrie::kMaxDepth + 1> at;
  at[trie[from].depth] = configuration;
  int64_t visited = 0;
  for (uint32_t i = from + 1; i < trie[from].end && !configurations_.exhausted();) {
    const TokenTrie::Node& node = trie[i];
    const int next = configurations_.Next(at[node.depth - 1], node.byte);
    ++visited;
    if (next == Configurations::kDead) {
      i = node.end;
      continue;
    }
    at[node.depth] = next;
    for (const int32_t token : trie.tokens(i)) Set(mask, token);
    if (escapes != nullptr && configurations_.escapes(next) && node.end > i + 1) escapes->push_back(i);
    ++i;
  }
}

const LocalMask& Automaton::Local(const LocalKey& key) {
  std::unique_ptr<LocalMask>& local = locals_[key];
  if (local != nullptr) return *local;
  const auto [state, counted, count] = key;
  int node = Configurations::kBottomNode;
  if (counted >= 0) node = configurations_.InternNode({{counted, count, Configurations::kBottomNode}});
  std::vector<uint64_t> mask(tokens_->mask_words());
  std::vector<uint32_t> escapes, long_escapes;
  const int start = configurations_.Close({{state, 0, node}});
  Walk(tokens_->short_tokens(), 0, start, mask, &escapes);
  if (counted < 0) Walk(tokens_->long_tokens(), 0, start, mask, &long_escapes);
  local = std::make_unique<LocalMask>(TokenSet(mask, tokens_->size()), std::move(escapes), std::move(long_escapes));
  return *local;
}

// A token is allowed from (state, stack) if it stays above the stack, or if it leaves the state's rule after some
// beginning and the rest is allowed from where the stack returns to.
void Automaton::AddItem(const Frame& item, std::span<uint64_t> mask, bool* walk_long) {
  const std::vector<Frame>& below = configurations_.node(item.node);
  LocalKey key{item.state, -1, 0};
  int stack = item.node;
  if (below.size() == 1 && below[0].state >= 0) {
    const Network::Rule& rule = network_->rules[network_->states[below[0].state].rule];
    if (rule.counted) {
      key = {item.state, below[0].state, Representative(rule, below[0].count)};
      stack = below[0].node;
      *walk_long = true;
    }
  }
  const LocalMask& local = Local(key);
  local.allowed.AddTo(mask);
  if (local.escapes.empty() && local.long_escapes.empty()) return;
  auto behind = behind_.find(stack);
  if (behind == behind_.end())
    behind = behind_.emplace(stack, configurations_.Close(configurations_.node(stack))).first;
  const int configuration = behind->second;
  for (const uint32_t node : local.escapes) Walk(tokens_->short_tokens(), node, configuration, mask, nullptr);
  for (const uint32_t node : local.long_escapes) Walk(tokens_->long_tokens(), node, configuration, mask, nullptr);
}

bool Automaton::FillMask(int configuration, std::span<uint64_t> mask) {
  std::fill(mask.begin(), mask.end(), 0);
  if (const auto found = masks_.find(configuration); found != masks_.end()) {
    found->second.AddTo(mask);
    return true;
  }
  configurations_.Allow(kWorkPerMask);
  bool walk_long = false;
  const std::vector<Frame> items = configurations_.frames(configuration);
  for (const Frame& item : items) {
    if (item.state >= 0) AddItem(item, mask, &walk_long);
  }
  if (walk_long) Walk(tokens_->long_tokens(), 0, configuration, mask, nullptr);
  if (configurations_.accepts(configuration)) {
    for (const int32_t token : tokens_->vocabulary().end_tokens) Set(mask, token);
  }
  if (configurations_.exhausted()) {
    locals_.clear();  // some of them may be cut short
    behind_.clear();
    return false;
  }
  TokenSet set(mask, tokens_->size());
  mask_bytes_ += set.size_bytes();
  if (mask_bytes_ > kMaxMaskBytes) {
    masks_.clear();
    mask_bytes_ = set.size_bytes();
  }
  masks_.emplace(configuration, std::move(set));
  return true;
}

}  // namespace tandem::grammar
