#include "base/thread_pool.h"

#include "base/check.h"

namespace tandem {
namespace {

// About 50 us on current machines: longer than the gap between two loops of a step, far shorter than an idle pause.
constexpr int kSpins = 20000;

inline void Pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

}  // namespace

ThreadPool::ThreadPool(int num_threads) {
  CHECK_GE(num_threads, 1);
  for (int thread = 1; thread < num_threads; ++thread) {
    workers_.emplace_back([this, thread] { WorkerLoop(thread); });
  }
}

ThreadPool::~ThreadPool() {
  stop_.store(true);
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    epoch_.fetch_add(1);
  }
  wake_.notify_all();
  for (std::thread& worker : workers_) worker.join();
}

void ThreadPool::Run(int64_t count, Call call, const void* fn) {
  if (workers_.empty() || count <= 1) {
    for (int64_t i = 0; i < count; ++i) call(const_cast<void*>(fn), i, 0);
    return;
  }
  call_ = call;
  fn_ = const_cast<void*>(fn);
  count_ = count;
  next_.store(0, std::memory_order_relaxed);
  busy_.store(static_cast<int>(workers_.size()), std::memory_order_relaxed);
  epoch_.fetch_add(1);
  if (sleeping_.load() > 0) {
    const std::lock_guard<std::mutex> lock(mutex_);
    wake_.notify_all();
  }
  Drain(0);
  // A worker that was put aside (more threads than cores, a busy neighbour) should not wait for our time slice to end.
  for (int spin = 0; busy_.load(std::memory_order_acquire) != 0; ++spin) {
    if (spin < kSpins) {
      Pause();
    } else {
      std::this_thread::yield();
    }
  }
}

void ThreadPool::Drain(int thread) {
  for (int64_t i; (i = next_.fetch_add(1, std::memory_order_relaxed)) < count_;) call_(fn_, i, thread);
}

void ThreadPool::WorkerLoop(int thread) {
  uint64_t seen = 0;
  while (true) {
    for (int spin = 0; spin < kSpins && epoch_.load(std::memory_order_acquire) == seen; ++spin) Pause();
    if (epoch_.load(std::memory_order_acquire) == seen) {
      std::unique_lock<std::mutex> lock(mutex_);
      sleeping_.fetch_add(1);
      wake_.wait(lock, [&] { return epoch_.load() != seen; });
      sleeping_.fetch_sub(1);
    }
    seen = epoch_.load(std::memory_order_acquire);
    if (stop_.load()) return;
    Drain(thread);
    busy_.fetch_sub(1, std::memory_order_release);
  }
}

}  // namespace tandem
