// Ctrl-C as a call: while one of these lives, SIGINT runs `on_interrupt` on a thread of its own instead of ending the
// process. A second one ends it as usual.
#pragma once

#include <functional>
#include <thread>

namespace tandem {

class InterruptHandler {
 public:
  explicit InterruptHandler(std::function<void()> on_interrupt);
  InterruptHandler(const InterruptHandler&) = delete;
  InterruptHandler& operator=(const InterruptHandler&) = delete;
  ~InterruptHandler();

 private:
  int stop_fd_ = -1;
  std::thread thread_;
};

// Blocks SIGINT in this thread and those it starts: call it before gRPC has threads of its own.
void HoldInterrupts();

}  // namespace tandem
