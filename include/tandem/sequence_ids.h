// Where sequence ids come from: one counter for all sources, so that an id names one sequence of the whole process.
#pragma once

#include "tandem/batch.h"

namespace tandem {

// Shared by the sources of one step loop; step thread only. Ids are never used twice and rise with time.
class SequenceIds {
 public:
  SequenceIds() = default;
  SequenceIds(const SequenceIds&) = delete;
  SequenceIds& operator=(const SequenceIds&) = delete;
  SequenceId Next() { return ++last_; }

 private:
  SequenceId last_ = 0;
};

}  // namespace tandem
