// A fixed pool for data-parallel loops of microseconds: workers spin briefly before they sleep, so that the hundreds of
// loops of one step cost no wake-ups. Work is cut into the same pieces whatever the timing: results are reproducible.
//
// Workers are not bound to cores. Binding them, but not the caller, let the scheduler keep both on one: a decode step
// took half as long again (1.1 G model, two threads: 16 to 20 tokens/s instead of 25 at one sequence, 118 instead of
// 152 at 8).
#pragma once

#include <algorithm>
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

  // From the next loop on at most `threads` of them take part; 0: loops wait until some may. Any thread may call it.
  void SetLimit(int threads);
  // For how many threads a loop is best cut up now; at least 1.
  int usable_threads() const { return std::max(1, limit_.load(std::memory_order_relaxed)); }

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
  // Until it is below the limit; false where the pool ends.
  bool WaitForTurn(int thread);

  // The current loop: written by the caller while no ticket is out, read by holders of a ticket only.
  Call call_ = nullptr;
  void* fn_ = nullptr;
  std::atomic<uint64_t> tickets_{0};  // count in the upper half, the next index in the lower
  std::atomic<int64_t> done_{0};      // indices
  std::atomic<uint64_t> epoch_{0};
  std::atomic<bool> stop_{false};

  std::mutex mutex_;
  std::condition_variable wake_;
  std::atomic<int> limit_;                 // written under the mutex
  std::condition_variable limit_changed_;  // what the limit keeps from working waits here, and costs no loop a wake-up
  std::atomic<int> sleeping_{0};
  std::vector<std::thread> workers_;
};

}  // namespace tandem
