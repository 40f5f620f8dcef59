#include "inference/structure.h"

namespace tandem {

void StructureMask::Compute() {
  std::vector<uint64_t> mask(grammar_->mask_words());
  if (!matcher_.has_value()) matcher_.emplace(grammar_);
  if (token_.has_value()) status_ = matcher_->Accept(*token_);
  if (status_.ok()) status_ = matcher_->FillMask(std::span(mask));
  if (status_.ok()) {
    complete_ = matcher_->MayEnd();
    words_.resize(2 * mask.size());
    for (size_t i = 0; i < mask.size(); ++i) {
      words_[2 * i] = static_cast<uint32_t>(mask[i]);
      words_[2 * i + 1] = static_cast<uint32_t>(mask[i] >> 32);
    }
  }
  done_.Notify();
}

MaskThread::~MaskThread() {
  std::thread thread;
  {
    const absl::MutexLock lock(&mutex_);
    stop_ = true;
    thread = std::move(thread_);
  }
  if (thread.joinable()) thread.join();
}

void MaskThread::Post(std::shared_ptr<StructureMask> mask) {
  const absl::MutexLock lock(&mutex_);
  queue_.push_back(std::move(mask));
  if (!thread_.joinable()) thread_ = std::thread([this] { Loop(); });
}

void MaskThread::Loop() {
  const auto called = [this] {
    mutex_.AssertHeld();
    return stop_ || !queue_.empty();
  };
  for (;;) {
    std::shared_ptr<StructureMask> next;
    {
      const absl::MutexLock lock(&mutex_);
      mutex_.Await(absl::Condition(&called));
      if (queue_.empty()) return;
      next = std::move(queue_.front());
      queue_.pop_front();
    }
    next->Compute();
  }
}

Structure::Structure(std::shared_ptr<grammar::Grammar> grammar, MaskThread* thread)
    : thread_(thread), mask_(std::make_shared<StructureMask>(std::move(grammar))) {
  thread_->Post(mask_);
}

void Structure::Advance(int32_t token) {
  mask_->Wait();  // it has been waited for before the token was drawn
  mask_ = std::make_shared<StructureMask>(*mask_, token);
  thread_->Post(mask_);
}

}  // namespace tandem
