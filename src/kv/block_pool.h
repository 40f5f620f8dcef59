// The KV pool as ids: which blocks of block_size tokens are free, who holds the others, and what full blocks still hold
// that nobody uses any more (the prefix cache). The bytes behind the ids are KvStorage's. Invariant: every id is free,
// or cached and unused, or in one or more BlockTables, and comes back when the last of them goes. Not synchronized:
// pool and tables belong to the step thread.
#pragma once

#include <cstdint>
#include <list>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "tandem/batch.h"

namespace tandem {

class BlockPool;

// The blocks of one sequence, in the order of its positions: position p lies in blocks()[p / block_size]. Holds them:
// its destruction lets go of them; the pool must live longer. The first ones may be shared with other tables: nobody
// writes to a block that is full.
class BlockTable {
 public:
  BlockTable() = default;
  BlockTable(BlockTable&& other) noexcept;
  BlockTable& operator=(BlockTable&& other) noexcept;
  ~BlockTable();

  // Stays valid, when the table is moved too, until it is extended or released.
  std::span<const BlockId> blocks() const { return blocks_; }
  int size() const { return static_cast<int>(blocks_.size()); }
  bool empty() const { return blocks_.empty(); }

  // Lets go of all blocks now; the table is empty afterwards.
  void Release();

 private:
  friend class BlockPool;
  BlockTable(BlockPool* pool, std::vector<BlockId> blocks) : pool_(pool), blocks_(std::move(blocks)) {}

  BlockPool* pool_ = nullptr;
  std::vector<BlockId> blocks_;
};

// Names what the blocks of a sequence hold up to some block's end: everything that its K and V depend on. Exact, no
// hash: equal ids mean equal content.
using PrefixId = std::string;

// Before the first token. K and V depend on the adapter's generation too; what has another salt is never shared.
PrefixId PrefixRoot(AdapterRef adapter, std::string_view salt);

// The free list is a stack: what was used last is used next, while it may still be in a processor's cache. Cached
// blocks are taken when no other is left, the least recently used first.
class BlockPool {
 public:
  // Ids 0 .. num_blocks - 1, handed out in that order at first.
  BlockPool(int num_blocks, int block_size);
  BlockPool(const BlockPool&) = delete;
  BlockPool& operator=(const BlockPool&) = delete;
  ~BlockPool();  // all tables must be gone

  // Takes n >= 0 blocks, all or none. RESOURCE_EXHAUSTED where fewer are free.
  absl::StatusOr<BlockTable> Allocate(int n);
  absl::Status Extend(BlockTable& table, int n);

  // Blocks that hold num_tokens >= 0.
  int64_t BlocksFor(int64_t num_tokens) const { return (num_tokens + block_size_ - 1) / block_size_; }

  // --- the prefix cache

  // A full block now holds `tokens` (block_size of them) behind `parent`; it can be found from now on, also when nobody
  // holds it any more, until it is taken for something else. Returns the id of the whole prefix. Where another block
  // holds the same, that one stays the one that is found.
  PrefixId Remember(BlockId block, const PrefixId& parent, std::span<const int32_t> tokens);

  struct Match {
    std::vector<BlockId> blocks;  // that hold the first tokens
    PrefixId prefix;              // of the last of them; the root where there is none
    // Of the blocks, from the first: held by somebody, so that they stay while others take blocks, and sharing them
    // takes nothing from free(). Behind one that is taken for something else the rest can no longer be found.
    int held = 0;
  };
  // The longest prefix of `tokens` in full blocks that is still there, at most max_blocks of them.
  Match Find(const PrefixId& root, std::span<const int32_t> tokens, int max_blocks) const;

  // A table that holds the match's blocks, which are still cached.
  BlockTable Share(const Match& match);

  // Blocks of the table that nobody else holds: what its release would free.
  int HeldAlone(const BlockTable& table) const;

  int num_blocks() const { return num_blocks_; }
  int block_size() const { return block_size_; }  // tokens
  int free() const { return static_cast<int>(free_.size() + unused_.size()); }
  int cached() const { return static_cast<int>(unused_.size()); }  // of free(): hold a prefix that can be found
  int used() const { return num_blocks_ - free(); }
  int high_water_mark() const { return high_water_mark_; }  // the most that were ever used at once

 private:
  friend class BlockTable;
  struct Block {
    int holders = 0;                        // tables
    std::string key;                        // in by_content_; "" where it cannot be found
    uint64_t content = 0;                   // number of what it holds, never used twice
    std::list<BlockId>::iterator position;  // in unused_, where it is there
  };

  BlockId Take();
  void Return(const std::vector<BlockId>& blocks);

  const int num_blocks_;
  const int block_size_;
  std::vector<Block> blocks_;
  std::vector<BlockId> free_;                             // hold nothing; the last is the next to go
  std::list<BlockId> unused_;                             // hold a prefix; the first is the next to go
  absl::flat_hash_map<std::string, BlockId> by_content_;  // parent's PrefixId and the block's tokens
  uint64_t last_content_ = 0;
  int high_water_mark_ = 0;
};

}  // namespace tandem
