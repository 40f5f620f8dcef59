// The runtime's sense of order: the step's end, backward's lane, and what is repeated.
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "backend/cuda/runtime.h"
#include "base/check.h"
#include "base/log.h"
#include "nvtx3/nvToolsExt.h"

namespace tandem::cuda {
namespace {

// A phase of a step, for profilers: "step 17: backward".
class PhaseRange {
 public:
  PhaseRange(int64_t step, const char* phase) { nvtxRangePushA(absl::StrCat("step ", step, ": ", phase).c_str()); }
  ~PhaseRange() { nvtxRangePop(); }
  PhaseRange(const PhaseRange&) = delete;
  PhaseRange& operator=(const PhaseRange&) = delete;
};

}  // namespace

// What later work needs of a step is ordered on the device: the main lane goes on when both lanes are through with it.
void Runtime::EndStep() {
  CHECK(!backward_ && body_ == nullptr);
  CHECK(ended_.empty() || ended_.back().over) << "the step before has not been awaited";
  op_name_ = "the step's end";
  cudaStream_t stream = main_lane_.stream.get();
  if (units_ > 0) Check(cudaStreamWaitEvent(stream, units_ended_[(units_ - 1) % 2].get(), 0));
  if (!failed_ && !results_.empty()) Check(result_mirror_.CopyToHost(stream));
  cudaEvent_t end = step_ends_[step_ % 2].get();
  Check(cudaEventRecord(end, stream));
  units_ = 0;
  num_drawn_ = 0;
  result_mirror_.Flip();
  for (Lane* lane : {&main_lane_, &backward_lane_}) {
    lane->tables.Flip();
    lane->plans.Clear();
  }
  op_name_ = "between steps";
  const absl::MutexLock lock(&mutex_);
  ended_.push_back({.number = step_,
                    .end = end,
                    .results = std::exchange(results_, {}),
                    .status = std::exchange(error_, absl::OkStatus())});
  failed_ = !alive_;
  ++step_;
}

// Waits for it, takes its results, gives back what it was the last to use.
void Runtime::Complete(Step& step) {
  if (step.over) return;
  {
    const absl::MutexLock lock(&mutex_);
    completing_ = &step;
  }
  const PhaseRange range(step.number, "await");
  const char* const name = op_name_.exchange("the step's end");
  Check(cudaEventSynchronize(step.end));
  // Taking results may itself find what is an error.
  for (const PendingResult& result : std::exchange(step.results, {})) {
    if (step.status.ok()) result.take(result.host);
  }
  op_name_ = name;
  step.over = true;

  const absl::MutexLock lock(&mutex_);
  completing_ = nullptr;
  over_ = step.number;
  FreeRetired();
  if (step.status.ok()) return;
  cudaGetLastError();
  // An error that stays has taken the device's whole state with it.
  if (const cudaError_t still = cudaDeviceSynchronize(); still != cudaSuccess) {
    alive_ = false;
    failed_ = true;
    step.status = absl::InternalError(absl::StrCat(step.status.message(), "; the device is lost to this process"));
    LOG_ERROR("{}", std::string(step.status.message()));
  }
}

absl::Status Runtime::AwaitStep() {
  CHECK(!ended_.empty()) << "no step has ended";
  Complete(ended_.front());
  absl::Status status = std::move(ended_.front().status);
  ended_.pop_front();
  return status;
}

absl::Status Runtime::Finish() {
  for (Step& step : ended_) Complete(step);
  EndStep();
  Complete(ended_.back());
  absl::Status status = std::move(ended_.back().status);
  ended_.pop_back();
  return status;
}

// The host runs at most two units ahead of the device, so that backward gives way soon when it is asked to.
void Runtime::BeginBackward() {
  CHECK(!backward_);
  nvtxRangePushA(absl::StrCat("step ", step_.load(), ": backward").c_str());
  if (units_ == 0 && step_ > 0 && !failed_) {
    Check(cudaStreamWaitEvent(backward_lane_.stream.get(), step_ends_[(step_ - 1) % 2].get(), 0));
  }
  if (units_ >= 2 && !failed_) Check(cudaEventSynchronize(units_ended_[units_ % 2].get()));
  backward_ = true;
}

void Runtime::EndBackward() {
  CHECK(backward_);
  if (!failed_) Check(cudaEventRecord(units_ended_[units_ % 2].get(), backward_lane_.stream.get()));
  ++units_;
  backward_ = false;
  nvtxRangePop();
}

void Runtime::RunBody(Phase phase, Repeats::Body& repeated, const std::function<void()>& body) {
  repeated.tables.Reset();
  repeated.plans.Clear();
  repeated.print = {};
  body_ = &repeated;
  phase_ = phase;
  body();
  phase_ = Phase::kRun;
  body_ = nullptr;
}

// Null where that fails: the body runs as it is then, and its key from now on.
GraphExec Runtime::Capture(Repeats::Body& repeated, const std::function<void()>& body) {
  cudaStream_t stream = main_lane_.stream.get();
  Check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
  RunBody(Phase::kCapture, repeated, body);
  cudaGraph_t graph = nullptr;
  cudaError_t error = cudaStreamEndCapture(stream, &graph);
  cudaGraphExec_t exec = nullptr;
  if (error == cudaSuccess) error = cudaGraphInstantiate(&exec, graph, 0);
  if (graph != nullptr) cudaGraphDestroy(graph);
  if (error == cudaSuccess && !failed_) return GraphExec(exec);
  cudaGetLastError();
  LOG_WARN("cuda: a step could not be captured ({}): it runs without a graph",
           cudaGetErrorString(error == cudaSuccess ? cudaErrorUnknown : error));
  const absl::MutexLock lock(&mutex_);
  failed_ = false;
  error_ = absl::OkStatus();
  return nullptr;
}

void Runtime::RunRepeated(uint64_t key, const std::function<void()>& body) {
  CHECK(!backward_ && body_ == nullptr);
  const PhaseRange range(step_, "decode");
  Repeats::Body& repeated = repeats_.BodyOf(key);
  if (!repeated.repeatable || failed_) return body();
  cudaStream_t stream = main_lane_.stream.get();
  // Of one key once in a step, its tables from two steps ago have been copied.
  repeated.tables.Flip();
  int64_t& launched = repeated.launched[repeated.tables.half()];
  if (launched > over_) Check(cudaStreamSynchronize(stream));
  RunBody(Phase::kDry, repeated, body);
  if (!repeated.repeatable || failed_) return body();
  const uint64_t print = repeated.print.value();
  cudaGraphExec_t graph = repeats_.Find(key, print);
  if (graph == nullptr) {
    if (repeated.seen.insert(print).second) return body();
    GraphExec captured = Capture(repeated, body);
    repeated.repeatable = captured != nullptr;
    if (captured == nullptr) return body();
    graph = captured.get();
    repeats_.Insert(key, print, std::move(captured));
  }
  op_name_ = "a repeated step";
  MarkUse();
  launched = step_;
  Check(repeated.tables.CopyNewToDevice(stream));
  if (!failed_) Check(cudaGraphLaunch(graph, stream));
  ++graphs_launched_;
}

}  // namespace tandem::cuda
