// A fixed pool for data-parallel loops of microseconds: workers spin briefly before they sleep, so that the hundreds of
// loops of one step cost no wake-ups. Work is cut into the same pieces whatever the timing: results are reproducible.
//
// Workers are not bound to cores. Binding them, but not the caller, let the scheduler keep both on one: a decode step
// took half as long again (1.1 G model, two threads: 16 to 20 tokens/s instead of 25 at one sequence, 118 instead of
// 152 at 8).
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <thread>
#include <type_traits>
#include <vector>

namespace tandem {

class ThreadPool {
 public:
  // num_threads >= 1 counts the caller, who always takes part.
  explicit ThreadPool(int num_threads);
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;
  ~ThreadPool();

  int num_threads() const { return static_cast<int>(workers_.size()) + 1; }

  // Calls fn(index, thread) for each index in [0, count); returns when all are done. Indices are handed out in order,
  // one at a time. Not reentrant; one caller at a time.
  template <typename Fn>
  void For(int64_t count, Fn&& fn) {
    using F = std::remove_reference_t<Fn>;
    Run(
        count, [](void* f, int64_t index, int thread) { (*static_cast<F*>(f))(index, thread); }, &fn);
  }

 private:
  using Call = void (*)(void* fn, int64_t index, int thread);
  void Run(int64_t count, Call call, const void* fn);
  void Drain(int thread);
  void WorkerLoop(int thread);

  // The current loop: written by the caller while no ticket is out, read by holders of a ticket only.
  Call call_ = nullptr;
  void* fn_ = nullptr;
  std::atomic<uint64_t> tickets_{0};  // count in the upper half, the next index in the lower
  std::atomic<int64_t> done_{0};      // indices
  std::atomic<uint64_t> epoch_{0};
  std::atomic<bool> stop_{false};

  std::mutex mutex_;
  std::condition_variable wake_;
  std::atomic<int> sleeping_{0};
  std::vector<std::thread> workers_;
};

}  // namespace tandem
