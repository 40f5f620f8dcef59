// A thread of control with its own stack that is entered and left by hand.
#pragma once

#include <cstddef>

namespace cuda_emulation {

class Fiber {
 public:
  Fiber();  // maps a stack with a page below it that nobody may touch
  ~Fiber();
  Fiber(const Fiber&) = delete;
  Fiber& operator=(const Fiber&) = delete;

  // The next Resume calls entry(), which must never return: its last act is Leave().
  void Start(void (*entry)());
  // From outside: runs the fiber until it calls Leave().
  void Resume();
  // From inside: back to who called Resume().
  void Leave();

 private:
  char* mapping_ = nullptr;
  void *inside_ = nullptr, *outside_ = nullptr;  // saved stack pointers
};

}  // namespace cuda_emulation
