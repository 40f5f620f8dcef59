#include "kv/block_pool.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/check.h"

namespace tandem {

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

BlockPool::BlockPool(int num_blocks, int block_size) : num_blocks_(num_blocks), block_size_(block_size) {
  CHECK_GE(num_blocks, 0);
  CHECK_GE(block_size, 1);
  free_.reserve(num_blocks);
  for (BlockId id = num_blocks - 1; id >= 0; --id) free_.push_back(id);
}

BlockPool::~BlockPool() {
  CHECK_EQ(used(), 0) << "a BlockTable outlives its pool";
}

absl::StatusOr<BlockTable> BlockPool::Allocate(int n) {
  CHECK_GE(n, 0);
  if (n > free()) {
    return absl::ResourceExhaustedError(
        absl::StrCat("KV pool: ", free(), " of ", num_blocks_, " blocks are free, want ", n));
  }
  std::vector<BlockId> blocks(free_.rbegin(), free_.rbegin() + n);
  free_.resize(free_.size() - n);
  high_water_mark_ = std::max(high_water_mark_, used());
  return BlockTable(this, std::move(blocks));
}

// Reversed, so that a table that is taken again right away gets the same ids in the same order.
void BlockPool::Return(const std::vector<BlockId>& blocks) {
  CHECK_LE(blocks.size(), used()) << "a block was returned twice";
  free_.insert(free_.end(), blocks.rbegin(), blocks.rend());
}

}  // namespace tandem
