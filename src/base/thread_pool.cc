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

ThreadPool::ThreadPool(int num_threads) : limit_(num_threads) {
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
  limit_changed_.notify_all();
  for (std::thread& worker : workers_) worker.join();
}

void ThreadPool::SetLimit(int threads) {
  CHECK(threads >= 0 && threads <= num_threads()) << threads;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    limit_.store(threads);
  }
  limit_changed_.notify_all();
}

void ThreadPool::Run(int64_t count, Call call, const void* fn) {
  if (limit_.load(std::memory_order_relaxed) == 0) {
    std::unique_lock<std::mutex> lock(mutex_);
    limit_changed_.wait(lock, [&] { return limit_.load() > 0; });
  }
  if (limit_.load(std::memory_order_relaxed) == 1 || count <= 1) {
    for (int64_t i = 0; i < count; ++i) call(const_cast<void*>(fn), i, 0);
    return;
  }
  CHECK_LT(count, int64_t{1} << 31);
  call_ = call;
  fn_ = const_cast<void*>(fn);
  done_.store(0, std::memory_order_relaxed);
  tickets_.store(static_cast<uint64_t>(count) << 32, std::memory_order_release);
  epoch_.fetch_add(1);
  if (sleeping_.load() > 0) {
    const std::lock_guard<std::mutex> lock(mutex_);
    wake_.notify_all();
  }
  Drain(0);
  for (int spin = 0; done_.load(std::memory_order_acquire) != count; ++spin) {
    if (spin < kSpins) {
      Pause();
    } else {
      std::this_thread::yield();  // a worker was preempted in the middle of its piece
    }
  }
}

// Whoever comes late finds no ticket left, or one of the next loop, which is as good: nobody waits for a worker that
// the system has not scheduled.
void ThreadPool::Drain(int thread) {
  int64_t done = 0;
  while (true) {
    const uint64_t ticket = tickets_.fetch_add(1, std::memory_order_acq_rel);
    const auto index = static_cast<int64_t>(ticket & 0xFFFFFFFF);
    if (index >= static_cast<int64_t>(ticket >> 32)) break;
    call_(fn_, index, thread);
    ++done;
  }
  if (done > 0) done_.fetch_add(done, std::memory_order_release);
}

bool ThreadPool::WaitForTurn(int thread) {
  if (thread < limit_.load(std::memory_order_relaxed)) return true;
  std::unique_lock<std::mutex> lock(mutex_);
  limit_changed_.wait(lock, [&] { return thread < limit_.load() || stop_.load(); });
  return !stop_.load();
}

void ThreadPool::WorkerLoop(int thread) {
  uint64_t seen = 0;
  while (WaitForTurn(thread)) {
    for (int spin = 0; spin < kSpins && epoch_.load(std::memory_order_acquire) == seen; ++spin) Pause();
    if (epoch_.load(std::memory_order_acquire) == seen) {
      std::unique_lock<std::mutex> lock(mutex_);
      sleeping_.fetch_add(1);
      wake_.wait(lock, [&] { return epoch_.load() != seen; });
      sleeping_.fetch_sub(1);
    }
    seen = epoch_.load(std::memory_order_acquire);
    if (stop_.load()) return;
    if (thread < limit_.load(std::memory_order_relaxed)) Drain(thread);
  }
}

}  // namespace tandem
