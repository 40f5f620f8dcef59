#include "engine/command_queue.h"

namespace tandem {

bool CommandQueue::Post(Command command) {
  const absl::MutexLock lock(&mutex_);
  if (closed_) return false;
  commands_.push_back(std::move(command));
  return true;
}

void CommandQueue::RunAll() {
  std::deque<Command> commands;
  {
    const absl::MutexLock lock(&mutex_);
    commands.swap(commands_);
  }
  for (const Command& command : commands) command();
}

void CommandQueue::Wait(absl::Duration timeout) {
  const absl::MutexLock lock(&mutex_);
  mutex_.AwaitWithTimeout(absl::Condition(
                              +[](CommandQueue* queue) ABSL_NO_THREAD_SAFETY_ANALYSIS {
                                return queue->closed_ || !queue->commands_.empty();
                              },
                              this),
                          timeout);
}

void CommandQueue::Close() {
  const absl::MutexLock lock(&mutex_);
  closed_ = true;
}

bool CommandQueue::closed() const {
  const absl::MutexLock lock(&mutex_);
  return closed_;
}

}  // namespace tandem
