// Streams as queues of work that runs when somebody waits for it: what a host reads too early, or changes too early, is
// then wrong every time. Events, graphs, kernels and copies on top of that.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <deque>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "block.h"
#include "emulation.h"
#include "settings.h"
#include "symbols.h"

using cuda_emulation::DeviceAccess;
using cuda_emulation::DeviceState;
using cuda_emulation::Lock;
using cuda_emulation::Remember;
using Work = std::function<void()>;

// Of each stream of a capture, how many of its nodes something comes after.
using Coverage = std::map<cudaStream_t, int64_t>;

struct CUgraph_st {
  std::vector<Work> nodes;  // in an order that respects their dependencies: that of the calls
  cudaStreamCaptureMode mode = cudaStreamCaptureModeGlobal;
  std::thread::id thread;  // that began the capture
  bool invalid = false;
};
struct CUgraphExec_st {
  std::vector<Work> nodes;
};
struct CUstream_st {
  std::deque<Work> queue;
  int64_t enqueued = 0, done = 0;
  bool blocking = true;  // ordered with the null stream
  std::shared_ptr<CUgraph_st> capture;
  bool capture_origin = false;
  Coverage captured;  // what its next work comes after, its own work included
};
struct CUevent_st {
  // What of which stream has to be done.
  cudaStream_t stream = nullptr;
  int64_t ticket = 0;
  std::shared_ptr<CUgraph_st> capture;  // recorded in one
  Coverage captured;
  std::chrono::steady_clock::time_point time;
};

namespace {

struct Streams {
  CUstream_st null_stream;
  std::set<cudaStream_t> created;
};
Streams& All() {
  static Streams streams;
  return streams;
}

cudaStream_t StreamOf(cudaStream_t stream) {
  return stream == nullptr ? &All().null_stream : stream;
}
bool Exists(cudaStream_t stream) {
  return stream == &All().null_stream || All().created.contains(stream);
}

void RunUntil(cudaStream_t stream, int64_t ticket) {
  if (!Exists(stream)) return;  // destroyed, which waited for all of it
  const DeviceAccess access;
  while (stream->done < ticket && !stream->queue.empty()) {
    const Work work = std::move(stream->queue.front());
    stream->queue.pop_front();
    ++stream->done;
    work();
  }
}
void RunAll(cudaStream_t stream) {
  RunUntil(stream, stream->enqueued);
}
void RunEverything() {
  RunAll(&All().null_stream);
  const std::set<cudaStream_t> streams = All().created;
  for (const cudaStream_t stream : streams) RunAll(stream);
}

// A host that never waits would pile up work without end.
constexpr size_t kMostQueued = 4096;

cudaError_t Enqueue(cudaStream_t stream, Work work) {
  stream = StreamOf(stream);
  if (const cudaError_t error = DeviceState(); error != cudaSuccess) return Remember(error);
  if (!Exists(stream)) return Remember(cudaErrorInvalidResourceHandle);
  if (stream->capture != nullptr) {
    stream->capture->nodes.push_back(std::move(work));
    ++stream->captured[stream];
    return cudaSuccess;
  }
  // The null stream and the blocking ones wait for each other.
  if (stream == &All().null_stream) {
    for (const cudaStream_t other : All().created) {
      if (!other->blocking) continue;
      stream->queue.push_back([other, ticket = other->enqueued] { RunUntil(other, ticket); });
      ++stream->enqueued;
    }
  } else if (stream->blocking && All().null_stream.enqueued > All().null_stream.done) {
    stream->queue.push_back([ticket = All().null_stream.enqueued] { RunUntil(&All().null_stream, ticket); });
    ++stream->enqueued;
  }
  stream->queue.push_back(std::move(work));
  ++stream->enqueued;
  if (stream->queue.size() > kMostQueued) RunAll(stream);
  return cudaSuccess;
}

// Waiting is not allowed while a stream is captured, and spoils the capture.
cudaError_t RefuseInCapture(cudaStream_t stream) {
  if (stream->capture == nullptr) return cudaSuccess;
  stream->capture->invalid = true;
  return Remember(cudaErrorStreamCaptureUnsupported);
}

}  // namespace

namespace cuda_emulation {

cudaError_t EnqueueWork(cudaStream_t stream, Work work) {
  const std::lock_guard lock(Lock());
  return Enqueue(stream, std::move(work));
}

bool RefusedInCapture(cudaStream_t stream) {
  const std::lock_guard lock(Lock());
  return RefuseInCapture(StreamOf(stream)) != cudaSuccess;
}

bool RefusedInAnyCapture() {
  const std::lock_guard lock(Lock());
  bool refused = false;
  for (const cudaStream_t stream : All().created) {
    if (!stream->capture_origin) continue;
    const CUgraph_st& capture = *stream->capture;
    const bool forbids =
        capture.mode == cudaStreamCaptureModeGlobal ||
        (capture.mode == cudaStreamCaptureModeThreadLocal && capture.thread == std::this_thread::get_id());
    if (forbids) refused = RefuseInCapture(stream) != cudaSuccess;
  }
  return refused;
}

void WaitForDevice() {
  RunEverything();
}

}  // namespace cuda_emulation

// --- streams -----------------------------------------------------------------------------------------------------

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned flags) {
  const std::lock_guard lock(Lock());
  *stream = nullptr;
  if (const cudaError_t error = DeviceState(); error != cudaSuccess) return Remember(error);
  *stream = new CUstream_st;
  (*stream)->blocking = !(flags & cudaStreamNonBlocking);
  All().created.insert(*stream);
  return cudaSuccess;
}

cudaError_t cudaStreamCreateWithPriority(cudaStream_t* stream, unsigned flags, int) {
  return cudaStreamCreateWithFlags(stream, flags);
}

cudaError_t cudaStreamCreate(cudaStream_t* stream) {
  return cudaStreamCreateWithFlags(stream, cudaStreamDefault);
}

cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  const std::lock_guard lock(Lock());
  if (stream == nullptr || !Exists(stream)) return Remember(cudaErrorInvalidResourceHandle);
  RunAll(stream);
  All().created.erase(stream);
  delete stream;
  return cudaSuccess;
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  const std::lock_guard lock(Lock());
  stream = StreamOf(stream);
  if (!Exists(stream)) return Remember(cudaErrorInvalidResourceHandle);
  if (const cudaError_t error = RefuseInCapture(stream); error != cudaSuccess) return error;
  RunAll(stream);
  return Remember(DeviceState());
}

cudaError_t cudaStreamQuery(cudaStream_t stream) {
  const std::lock_guard lock(Lock());
  stream = StreamOf(stream);
  if (const cudaError_t error = RefuseInCapture(stream); error != cudaSuccess) return error;
  if (stream->done >= stream->enqueued) return DeviceState();
  RunUntil(stream, stream->done + 1);  // somebody who polls gets there
  return cudaErrorNotReady;
}

cudaError_t cudaDeviceSynchronize() {
  const std::lock_guard lock(Lock());
  if (cuda_emulation::RefusedInAnyCapture()) return cudaErrorStreamCaptureUnsupported;
  RunEverything();
  return Remember(DeviceState());
}

// --- events ------------------------------------------------------------------------------------------------------

cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned) {
  const std::lock_guard lock(Lock());
  *event = nullptr;
  if (const cudaError_t error = DeviceState(); error != cudaSuccess) return Remember(error);
  *event = new CUevent_st;
  return cudaSuccess;
}

cudaError_t cudaEventCreate(cudaEvent_t* event) {
  return cudaEventCreateWithFlags(event, cudaEventDefault);
}

cudaError_t cudaEventDestroy(cudaEvent_t event) {
  const std::lock_guard lock(Lock());
  if (event->stream != nullptr) RunUntil(event->stream, event->ticket);  // its time is still to be written
  delete event;
  return cudaSuccess;
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  const std::lock_guard lock(Lock());
  stream = StreamOf(stream);
  if (stream->capture != nullptr) {
    event->capture = stream->capture;
    event->captured = stream->captured;
    event->stream = nullptr;
    return cudaSuccess;
  }
  if (event->stream != nullptr) RunUntil(event->stream, event->ticket);
  const cudaError_t error = Enqueue(stream, [event] { event->time = std::chrono::steady_clock::now(); });
  event->capture = nullptr;
  event->stream = stream;
  event->ticket = stream->enqueued;
  return error;
}

cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned) {
  const std::lock_guard lock(Lock());
  stream = StreamOf(stream);
  if (event->capture != nullptr) {  // the stream joins the capture; calls are in order there
    if (stream->capture == nullptr) stream->captured.clear();
    stream->capture = event->capture;
    for (const auto& [other, nodes] : event->captured) {
      stream->captured[other] = std::max(stream->captured[other], nodes);
    }
    return cudaSuccess;
  }
  if (event->stream == nullptr) return cudaSuccess;
  if (stream->capture != nullptr) return RefuseInCapture(stream);  // a dependency on work outside of the graph
  return Enqueue(stream, [other = event->stream, ticket = event->ticket] { RunUntil(other, ticket); });
}

cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  const std::lock_guard lock(Lock());
  if (event->capture != nullptr) return Remember(cudaErrorStreamCaptureUnsupported);
  if (event->stream != nullptr) RunUntil(event->stream, event->ticket);
  return Remember(DeviceState());
}

cudaError_t cudaEventQuery(cudaEvent_t event) {
  const std::lock_guard lock(Lock());
  if (event->capture != nullptr) return Remember(cudaErrorStreamCaptureUnsupported);
  if (event->stream == nullptr || !Exists(event->stream) || event->stream->done >= event->ticket) return DeviceState();
  RunUntil(event->stream, event->stream->done + 1);
  return cudaErrorNotReady;
}

cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t from, cudaEvent_t to) {
  const std::lock_guard lock(Lock());
  for (const cudaEvent_t event : {from, to}) {
    if (event->stream == nullptr) return Remember(cudaErrorInvalidResourceHandle);
    if (Exists(event->stream) && event->stream->done < event->ticket) return cudaErrorNotReady;
  }
  *milliseconds = std::chrono::duration<float, std::milli>(to->time - from->time).count();
  return cudaSuccess;
}

// --- graphs ------------------------------------------------------------------------------------------------------

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode mode) {
  const std::lock_guard lock(Lock());
  if (stream == nullptr || stream->capture != nullptr) return Remember(cudaErrorStreamCaptureUnsupported);
  stream->capture = std::make_shared<CUgraph_st>();
  stream->capture->mode = mode;
  stream->capture->thread = std::this_thread::get_id();
  stream->capture_origin = true;
  stream->captured.clear();
  return cudaSuccess;
}

cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph) {
  const std::lock_guard lock(Lock());
  *graph = nullptr;
  if (stream == nullptr || stream->capture == nullptr || !stream->capture_origin)
    return Remember(cudaErrorInvalidValue);
  const std::shared_ptr<CUgraph_st> capture = stream->capture;
  bool joined = true;
  for (const cudaStream_t other : All().created) {
    if (other->capture != capture) continue;
    joined = joined && stream->captured[other] == other->captured[other];
    other->capture = nullptr;
  }
  stream->capture_origin = false;
  if (capture->invalid) return Remember(cudaErrorStreamCaptureInvalidated);
  if (!joined) return Remember(cudaErrorStreamCaptureUnjoined);
  *graph = new CUgraph_st(*capture);
  return cudaSuccess;
}

cudaError_t cudaStreamIsCapturing(cudaStream_t stream, cudaStreamCaptureStatus* status) {
  const std::lock_guard lock(Lock());
  const auto& capture = StreamOf(stream)->capture;
  *status = capture == nullptr
                ? cudaStreamCaptureStatusNone
                : (capture->invalid ? cudaStreamCaptureStatusInvalidated : cudaStreamCaptureStatusActive);
  return cudaSuccess;
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t* exec, cudaGraph_t graph, unsigned long long) {
  const std::lock_guard lock(Lock());
  *exec = new CUgraphExec_st{graph->nodes};
  return cudaSuccess;
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t stream) {
  const std::lock_guard lock(Lock());
  return Enqueue(stream, [nodes = exec->nodes] {
    for (const Work& node : nodes) node();
  });
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  delete graph;
  return cudaSuccess;
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec) {
  delete exec;
  return cudaSuccess;
}
