// The structure that a request asked of its text: where its sequence stands in it, and the masks of its next tokens,
// each computed on a thread of its own while the step thread goes on.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <span>
#include <thread>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"
#include "grammar/grammar.h"
#include "tandem/sampling.h"

namespace tandem {

// The mask behind one token.
class StructureMask final : public TokenMaskSource {
 public:
  // At the beginning of the text.
  explicit StructureMask(std::shared_ptr<grammar::Grammar> grammar) : grammar_(std::move(grammar)) {}
  // Behind `token`, which was drawn by `before`, a mask that is there.
  StructureMask(const StructureMask& before, int32_t token)
      : grammar_(before.grammar_), matcher_(before.matcher_), token_(token) {}

  // Once, on any thread.
  void Compute();

  // Empty where no token may come.
  std::span<const uint32_t> Wait() override {
    done_.WaitForNotification();
    return words_;
  }

  // Behind Wait. Not OK: the structure took too much work to follow, or the token did not fit.
  const absl::Status& status() const { return status_; }
  bool complete() const { return complete_; }  // the text may end here

 private:
  const std::shared_ptr<grammar::Grammar> grammar_;  // shared: as in GenerateRequest
  std::optional<grammar::Matcher> matcher_;          // made by Compute: it may have to wait for another mask
  const std::optional<int32_t> token_;
  std::vector<uint32_t> words_;
  absl::Status status_;
  bool complete_ = false;
  absl::Notification done_;
};

// One thread, started with the first mask. What was posted is computed even where this ends before: somebody may wait.
// Thread-safe.
class MaskThread {
 public:
  MaskThread() = default;
  ~MaskThread();
  void Post(std::shared_ptr<StructureMask> mask);

 private:
  void Loop();

  absl::Mutex mutex_;
  std::deque<std::shared_ptr<StructureMask>> queue_ ABSL_GUARDED_BY(mutex_);  // shared: with the sequence
  bool stop_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_ ABSL_GUARDED_BY(mutex_);
};

// Of one sequence; it stays while the sequence is preempted. Step thread only.
class Structure {
 public:
  // `thread` is borrowed.
  Structure(std::shared_ptr<grammar::Grammar> grammar, MaskThread* thread);

  // Takes the token that was drawn by the current mask; posts the next one.
  void Advance(int32_t token);
  const std::shared_ptr<StructureMask>& mask() const { return mask_; }

 private:
  MaskThread* thread_;
  std::shared_ptr<StructureMask> mask_;  // shared: with the thread that computes it and the batch that waits for it
};

}  // namespace tandem
