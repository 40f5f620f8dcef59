// A stream with what its operations use: host tables on their way, plans made of a step's sequences, scratch.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "backend/cuda/handles.h"
#include "backend/cuda/mirror.h"
#include "tandem/op_args.h"

namespace tandem::cuda {

// What operations have made of the rows of sequences in this step: every layer asks for the same.
class PlanCache {
 public:
  // The slot of these sequences, `variant` and `type`; null at first. Blocks are compared by where they lie.
  std::shared_ptr<const void>& Find(std::span<const SequenceRows> sequences, uint64_t variant, const void* type);
  void Clear() { plans_.clear(); }

 private:
  struct Plan {
    std::vector<SequenceRows> sequences;
    uint64_t variant;
    const void* type;
    std::shared_ptr<const void> value;  // shared for its deleter: the type is known to PlanOf only
  };
  std::vector<std::unique_ptr<Plan>> plans_;
};

struct ScratchBuffer {
  char* data = nullptr;
  size_t size = 0, used = 0;
};

struct Lane {
  explicit Lane(Arena& arena) : tables(arena) {}
  Stream stream;
  Mirror tables;
  PlanCache plans;
  ScratchBuffer scratch;
};

}  // namespace tandem::cuda
