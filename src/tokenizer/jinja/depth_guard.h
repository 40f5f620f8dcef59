// Counts a level of the interpreter's own recursion while it lives, and puts positions on errors.
#pragma once

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "tokenizer/jinja/heap.h"
#include "tokenizer/jinja/lexer.h"

namespace tandem::jinja {

class DepthGuard {
 public:
  explicit DepthGuard(int* depth) : depth_(depth) { ++*depth_; }
  DepthGuard(const DepthGuard&) = delete;
  ~DepthGuard() { --*depth_; }

  // One step; RESOURCE_EXHAUSTED where it is one too many or too deep.
  absl::Status Check(Heap* heap) const {
    const int max_depth = heap->limits().max_depth;
    if (*depth_ <= max_depth) return heap->Charge(1);
    return absl::ResourceExhaustedError(absl::StrCat("the chat template nests deeper than ", max_depth, " levels"));
  }

 private:
  int* depth_;
};

inline absl::Status At(const Position& at, const absl::Status& status) {
  return absl::Status(status.code(), absl::StrCat("line ", at.line, ", column ", at.column, ": ", status.message()));
}

}  // namespace tandem::jinja
