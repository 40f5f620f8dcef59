#include "kv/block_pool.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/check.h"

namespace tandem {
namespace {

template <typename T>
void AppendBytes(const T& value, std::string& text) {
  text.append(reinterpret_cast<const char*>(&value), sizeof(value));
}

// Tokens of one block have one length, so parent and tokens can be told apart.
std::string KeyOf(const PrefixId& parent, std::span<const int32_t> tokens) {
  std::string key = parent;
  key.append(reinterpret_cast<const char*>(tokens.data()), tokens.size_bytes());
  return key;
}

PrefixId PrefixOf(uint64_t content) {
  PrefixId prefix = "c";
  AppendBytes(content, prefix);
  return prefix;
}

}  // namespace

PrefixId PrefixRoot(AdapterRef adapter, std::string_view salt) {
  PrefixId root = "r";
  AppendBytes(adapter.id, root);
  AppendBytes(adapter.generation, root);
  root.append(salt);
  return root;
}

BlockTable::BlockTable(BlockTable&& other) noexcept
    : pool_(std::exchange(other.pool_, nullptr)), blocks_(std::exchange(other.blocks_, {})) {}

BlockTable& BlockTable::operator=(BlockTable&& other) noexcept {
  if (this == &other) return *this;
  Release();
  pool_ = std::exchange(other.pool_, nullptr);
  blocks_ = std::exchange(other.blocks_, {});
  return *this;
}

BlockTable::~BlockTable() {
  Release();
}

void BlockTable::Release() {
  if (pool_ != nullptr) pool_->Return(blocks_);
  pool_ = nullptr;
  blocks_.clear();
}

BlockPool::BlockPool(int num_blocks, int block_size)
    : num_blocks_(num_blocks), block_size_(block_size), blocks_(std::max(num_blocks, 0)) {
  CHECK_GE(num_blocks, 0);
  CHECK_GE(block_size, 1);
  free_.reserve(num_blocks);
  for (BlockId id = num_blocks - 1; id >= 0; --id) free_.push_back(id);
}

BlockPool::~BlockPool() {
  CHECK_EQ(used(), 0) << "a BlockTable outlives its pool";
}

absl::StatusOr<BlockTable> BlockPool::Allocate(int n) {
  BlockTable table(this, {});
  const absl::Status status = Extend(table, n);
  if (!status.ok()) return status;
  return table;
}

absl::Status BlockPool::Extend(BlockTable& table, int n) {
  CHECK_GE(n, 0);
  CHECK(table.pool_ == this || table.empty());
  if (n > free()) {
    return absl::ResourceExhaustedError(
        absl::StrCat("KV pool: ", free(), " of ", num_blocks_, " blocks are free, want ", n));
  }
  table.pool_ = this;
  for (int i = 0; i < n; ++i) table.blocks_.push_back(Take());
  high_water_mark_ = std::max(high_water_mark_, used());
  return absl::OkStatus();
}

BlockId BlockPool::Take() {
  BlockId id;
  if (!free_.empty()) {
    id = free_.back();
    free_.pop_back();
  } else {
    id = unused_.front();
    unused_.pop_front();
    by_content_.erase(blocks_[id].key);
    blocks_[id].key.clear();
  }
  CHECK_EQ(blocks_[id].holders, 0);
  blocks_[id].holders = 1;
  return id;
}

// Reversed, so that a table that is taken again right away gets the same ids in the same order, and so that of a cached
// prefix the end is taken first: without its beginning it could not be found.
void BlockPool::Return(const std::vector<BlockId>& blocks) {
  for (auto id = blocks.rbegin(); id != blocks.rend(); ++id) {
    Block& block = blocks_[*id];
    CHECK_GE(block.holders, 1) << "a block was returned twice";
    if (--block.holders > 0) continue;
    if (block.key.empty()) {
      free_.push_back(*id);
    } else {
      block.position = unused_.insert(unused_.end(), *id);
    }
  }
}

PrefixId BlockPool::Remember(BlockId id, const PrefixId& parent, std::span<const int32_t> tokens) {
  CHECK_EQ(tokens.size(), block_size_);
  Block& block = blocks_[id];
  CHECK_GE(block.holders, 1);
  std::string key = KeyOf(parent, tokens);
  const auto [found, added] = by_content_.try_emplace(key, id);
  if (!added) return PrefixOf(blocks_[found->second].content);
  CHECK(block.key.empty()) << "block " << id << " is written to a second time";
  block.key = std::move(key);
  block.content = ++last_content_;
  return PrefixOf(block.content);
}

BlockPool::Match BlockPool::Find(const PrefixId& root, std::span<const int32_t> tokens, int max_blocks) const {
  Match match{.blocks = {}, .prefix = root};
  const int limit = std::min(max_blocks, static_cast<int>(tokens.size()) / block_size_);
  while (static_cast<int>(match.blocks.size()) < limit) {
    const auto found =
        by_content_.find(KeyOf(match.prefix, tokens.subspan(match.blocks.size() * block_size_, block_size_)));
    if (found == by_content_.end()) break;
    const Block& block = blocks_[found->second];
    if (block.holders > 0 && match.held == static_cast<int>(match.blocks.size())) ++match.held;
    match.blocks.push_back(found->second);
    match.prefix = PrefixOf(block.content);
  }
  return match;
}

BlockTable BlockPool::Share(const Match& match) {
  for (const BlockId id : match.blocks) {
    Block& block = blocks_[id];
    CHECK(!block.key.empty()) << "block " << id << " is no longer cached";
    if (block.holders++ == 0) unused_.erase(block.position);
  }
  high_water_mark_ = std::max(high_water_mark_, used());
  return BlockTable(this, match.blocks);
}

int BlockPool::HeldAlone(const BlockTable& table) const {
  return static_cast<int>(
      std::count_if(table.blocks_.begin(), table.blocks_.end(), [&](BlockId id) { return blocks_[id].holders == 1; }));
}

}  // namespace tandem
