// The KV pool as ids: which blocks of block_size tokens are free, and who holds the others. The bytes behind the ids
// are KvStorage's. Invariant: every id is either free or in exactly one BlockTable, and comes back when the table goes.
// Not synchronized: pool and tables belong to the step thread.
#pragma once

#include <span>
#include <vector>

#include "absl/status/statusor.h"
#include "tandem/batch.h"

namespace tandem {

class BlockPool;

// The blocks of one sequence, in the order of its positions: position p lies in blocks()[p / block_size]. Owns them:
// its destruction returns them to the pool, which must live longer.
class BlockTable {
 public:
  BlockTable() = default;
  BlockTable(BlockTable&& other) noexcept;
  BlockTable& operator=(BlockTable&& other) noexcept;
  ~BlockTable();

  // Stays valid, when the table is moved too, until the blocks are released.
  std::span<const BlockId> blocks() const { return blocks_; }
  int size() const { return static_cast<int>(blocks_.size()); }
  bool empty() const { return blocks_.empty(); }

  // Returns all blocks now; the table is empty afterwards.
  void Release();

 private:
  friend class BlockPool;
  BlockTable(BlockPool* pool, std::vector<BlockId> blocks) : pool_(pool), blocks_(std::move(blocks)) {}

  BlockPool* pool_ = nullptr;
  std::vector<BlockId> blocks_;
};

// The free list is a stack: what was used last is used next, while it may still be in a cache.
class BlockPool {
 public:
  // Ids 0 .. num_blocks - 1, handed out in that order at first.
  BlockPool(int num_blocks, int block_size);
  BlockPool(const BlockPool&) = delete;
  BlockPool& operator=(const BlockPool&) = delete;
  ~BlockPool();  // all tables must be gone

  // Takes n >= 0 blocks, all or none. RESOURCE_EXHAUSTED where fewer are free.
  absl::StatusOr<BlockTable> Allocate(int n);

  // Blocks that hold num_tokens >= 0.
  int64_t BlocksFor(int64_t num_tokens) const { return (num_tokens + block_size_ - 1) / block_size_; }

  int num_blocks() const { return num_blocks_; }
  int block_size() const { return block_size_; }  // tokens
  int free() const { return static_cast<int>(free_.size()); }
  int used() const { return num_blocks_ - free(); }
  int high_water_mark() const { return high_water_mark_; }  // the most that were ever used at once

 private:
  friend class BlockTable;
  void Return(const std::vector<BlockId>& blocks);

  const int num_blocks_;
  const int block_size_;
  std::vector<BlockId> free_;  // the last is the next to go
  int high_water_mark_ = 0;
};

}  // namespace tandem
