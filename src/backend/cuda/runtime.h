// What every family of operations of the CUDA backend is written with: launches, host tables on their way to the
// device, scratch, results on their way back. It knows streams, the step and its first error; it knows no operation.
//
//   void CudaBackend::Foo(...) {
//     const Runtime::Op op(runtime_, "Foo");
//     const std::span<const int32_t> ids = runtime_.ToDevice(host_ids);
//     float* partial = runtime_.Scratch<float>(n);
//     runtime_.Launch(kernels::LaunchFoo, kernels::FooArgs{.ids = ids.data(), .partial = partial, .x = x.data});
//   }
//
// A lane is a stream with its scratch and tables: one for inference and training's forward, one of lower priority for
// backward. They meet, on the device, at the end of every step. Nothing is allocated within a step but where scratch,
// tables or results grow, which ends with the first steps; and nothing waits but Fetch, and BeginBackward by design.
// Where a body is repeated (repeats.h) its operations are called without anything being launched.
#pragma once

#include <cuda_runtime.h>

#include <atomic>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "backend/cuda/arena.h"
#include "backend/cuda/fingerprint.h"
#include "backend/cuda/lane.h"
#include "backend/cuda/mirror.h"
#include "backend/cuda/repeats.h"
#include "tandem/op_args.h"

namespace tandem::cuda {

struct DeviceInfo {
  std::string name;  // "NVIDIA H200"
  int major = 0, minor = 0;
  int num_sms = 0;
  size_t memory_bytes = 0;
};

// "NVIDIA H200, sm_90, 139 GiB"
std::string Describe(const DeviceInfo& device);

// UNAVAILABLE where there is no driver or device, with the reason.
absl::StatusOr<DeviceInfo> FindDevice();

// Calls from the step thread, but for those that say otherwise.
class Runtime {
 public:
  static absl::StatusOr<std::unique_ptr<Runtime>> Create(size_t slab_bytes);
  ~Runtime();

  // The scope of one operation: names it for profilers and errors, and its Scratch is free again afterwards.
  class Op {
   public:
    Op(Runtime& runtime, const char* name);
    ~Op();
    Op(const Op&) = delete;
    Op& operator=(const Op&) = delete;

   private:
    Runtime& runtime_;
    const char* const outer_;
    const size_t scratch_used_;
  };

  // launcher(args..., the lane's stream).
  template <typename... Params, typename... Args>
  void Launch(cudaError_t (*launcher)(Params...), const Args&... args) {
    Fingerprint print;
    print.Add(launcher);
    (print.Add(args), ...);
    Enqueue(print, [&](cudaStream_t stream) { return launcher(args..., stream); });
  }
  // `enqueue(stream)` gives the stream work that `print` tells from all other work.
  void Enqueue(const Fingerprint& print, const std::function<cudaError_t(cudaStream_t)>& enqueue);

  // A copy of host values on the device, until the step's end; it is there for what is launched next.
  template <typename T>
  std::span<const T> ToDevice(std::span<const T> host) {
    return {static_cast<const T*>(AddTable(host.data(), host.size_bytes())), host.size()};
  }
  // make() of these sequences, called once in a step for each type Plan and `variant`. A Plan holds what ToDevice gave
  // and host figures. Until the step's end.
  template <typename Plan, typename Make>
  const Plan& PlanOf(std::span<const SequenceRows> sequences, uint64_t variant, Make&& make) {
    static const char kType = 0;
    std::shared_ptr<const void>& slot = plans().Find(sequences, variant, &kType);
    if (slot == nullptr) slot = std::make_shared<const Plan>(make());
    return *static_cast<const Plan*>(slot.get());
  }

  // Device memory until the end of the operation, 256-byte aligned, contents undefined.
  template <typename T>
  T* Scratch(size_t count) {
    return static_cast<T*>(AddScratch(count * sizeof(T)));
  }
  // For operations that choose how much they do at a time.
  static constexpr size_t kScratchGoal = size_t{256} << 20;

  // Device memory for `count` values which the step's end brings to the host, all results of a step in one copy, and
  // AwaitStep gives to `take`.
  template <typename T>
  T* Result(size_t count, std::function<void(std::span<const T>)> take) {
    return static_cast<T*>(AddResult(count * sizeof(T), [count, take = std::move(take)](const void* host) {
      take({static_cast<const T*>(host), count});
    }));
  }
  // Device values to the host, now: waits for the lane.
  template <typename T>
  void Fetch(const T* device, std::span<T> host) {
    FetchBytes(device, host.data(), host.size_bytes());
  }
  void FetchBytes(const void* device, void* host, size_t bytes);

  // The `count` ids that Sample draws now: device memory that the next step's Embedding reads. They are counted over
  // the step: the first of these is number drawn().
  int32_t* Drawn(size_t count);
  const int32_t* drawn() const { return drawn_; }

  // Zeroed memory of the device; of the host, where it has no more. What is freed may be in use by what was launched so
  // far: others get it when that is over. Any thread.
  void* Allocate(size_t bytes);
  void Free(void* data);
  // Host memory to the device, beside the lanes; it is there on return. Any thread.
  void UploadBytes(const void* host, void* device, size_t bytes);

  // As Backend has them.
  void EndStep();
  absl::Status AwaitStep();
  absl::Status Finish();
  absl::Status step_error() const;
  bool alive() const { return alive_; }
  void BeginBackward();
  void EndBackward();
  void RunRepeated(uint64_t key, const std::function<void()>& body);

  // Keeps the first error of the step, under the operation's name. Any thread.
  void Check(cudaError_t error);
  void Fail(absl::Status error);
  bool failed() const { return failed_; }
  const DeviceInfo& device() const { return device_; }
  int64_t graphs_launched() const { return graphs_launched_; }

 private:
  struct PendingResult {
    const void* host;
    std::function<void(const void*)> take;
  };
  // That has ended. `over`: its status is known, its results have been taken.
  struct Step {
    int64_t number = 0;
    cudaEvent_t end = nullptr;  // one of step_ends_
    std::vector<PendingResult> results;
    absl::Status status;
    bool over = false;
  };

  Runtime(DeviceInfo device, size_t slab_bytes);
  absl::Status Init();
  Lane& lane() { return backward_ ? backward_lane_ : main_lane_; }
  PlanCache& plans() { return body_ != nullptr ? body_->plans : lane().plans; }
  const void* AddTable(const void* host, size_t bytes);
  void* AddScratch(size_t bytes);
  void* AddResult(size_t bytes, std::function<void(const void*)> take);
  void RunBody(Phase phase, Repeats::Body& repeated, const std::function<void()>& body);
  GraphExec Capture(Repeats::Body& repeated, const std::function<void()>& body);
  void Complete(Step& step);
  void MarkUse() { in_use_.store(step_, std::memory_order_relaxed); }  // the device is given something in this step
  void RetireScratch(void* data);
  void FreeNow(void* data) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void FreeRetired() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const DeviceInfo device_;
  Arena arena_;
  Lane main_lane_, backward_lane_;
  Event units_ended_[2];  // of the last two of backward
  Repeats repeats_;
  Mirror result_mirror_;
  std::vector<PendingResult> results_;         // of the step that has not ended
  Event step_ends_[2];                         // of steps, by turns
  std::atomic<int64_t> step_{0};               // that has not ended
  std::deque<Step> ended_;                     // and not awaited, oldest first
  int32_t* drawn_ = nullptr;                   // [kMostDrawn]
  size_t num_drawn_ = 0;                       // in the step that has not ended
  std::atomic<const char*> op_name_{"start"};  // innermost
  bool backward_ = false;
  int units_ = 0;                  // of backward in this step
  Phase phase_ = Phase::kRun;      // of body_
  Repeats::Body* body_ = nullptr;  // that is being repeated
  int64_t graphs_launched_ = 0;

  std::atomic<bool> failed_{false}, alive_{true};
  mutable absl::Mutex mutex_;
  absl::Status error_ ABSL_GUARDED_BY(mutex_);          // of the step that has not ended
  Step* completing_ ABSL_GUARDED_BY(mutex_) = nullptr;  // whose errors they are instead, while its results are taken
  struct Retired {
    void* data;
    int64_t step;  // whose end it waits for
  };
  std::deque<Retired> retired_ ABSL_GUARDED_BY(mutex_);
  std::atomic<int64_t> over_{-1};    // the last step that is over
  std::atomic<int64_t> in_use_{-1};  // the last step in which anything was given to the device
  enum class Memory { kPinned, kPlain };
  std::unordered_map<void*, Memory> host_memory_ ABSL_GUARDED_BY(mutex_);  // that Allocate took instead
  Stream transfer_ ABSL_GUARDED_BY(transfer_mutex_);
  absl::Mutex transfer_mutex_;
};

}  // namespace tandem::cuda
