#include "backend/cuda/runtime.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/log.h"
#include "base/status.h"
#include "nvtx3/nvToolsExt.h"

namespace tandem::cuda {
namespace {

constexpr size_t kFirstScratch = size_t{64} << 20;  // twice a product's workspace
constexpr size_t kMostDrawn = size_t{1} << 16;      // ids of one step

absl::Status StatusOf(cudaError_t error, const char* what) {
  return absl::InternalError(
      absl::StrCat("cuda: ", what, ": ", cudaGetErrorName(error), " (", cudaGetErrorString(error), ")"));
}

absl::StatusOr<Stream> MakeStream(int priority) {
  cudaStream_t stream = nullptr;
  const cudaError_t error = cudaStreamCreateWithPriority(&stream, cudaStreamNonBlocking, priority);
  if (error != cudaSuccess) return StatusOf(error, "making a stream");
  return Stream(stream);
}

}  // namespace

std::string Describe(const DeviceInfo& device) {
  return absl::StrCat(device.name, ", sm_", device.major, device.minor, ", ", device.memory_bytes >> 30, " GiB");
}

absl::StatusOr<DeviceInfo> FindDevice() {
  int count = 0;
  cudaError_t error = cudaGetDeviceCount(&count);
  if (error == cudaSuccess && count == 0) error = cudaErrorNoDevice;
  cudaDeviceProp properties = {};
  if (error == cudaSuccess) error = cudaGetDeviceProperties(&properties, 0);
  if (error != cudaSuccess) {
    cudaGetLastError();
    return absl::UnavailableError(cudaGetErrorString(error));
  }
  return DeviceInfo{.name = properties.name,
                    .major = properties.major,
                    .minor = properties.minor,
                    .num_sms = properties.multiProcessorCount,
                    .memory_bytes = properties.totalGlobalMem};
}

Runtime::Runtime(DeviceInfo device, size_t slab_bytes)
    : device_(std::move(device)),
      arena_(slab_bytes),
      main_lane_(arena_),
      backward_lane_(arena_),
      repeats_(arena_),
      result_mirror_(arena_) {}

absl::StatusOr<std::unique_ptr<Runtime>> Runtime::Create(size_t slab_bytes) {
  ASSIGN_OR_RETURN(DeviceInfo device, FindDevice());
  auto runtime = std::unique_ptr<Runtime>(new Runtime(std::move(device), slab_bytes));
  RETURN_IF_ERROR(runtime->Init());
  return runtime;
}

absl::Status Runtime::Init() {
  int lowest = 0, highest = 0;
  cudaError_t error = cudaDeviceGetStreamPriorityRange(&lowest, &highest);
  if (error != cudaSuccess) return StatusOf(error, "asking for priorities");
  ASSIGN_OR_RETURN(main_lane_.stream, MakeStream(highest));
  ASSIGN_OR_RETURN(backward_lane_.stream, MakeStream(lowest));
  {
    const absl::MutexLock lock(&transfer_mutex_);
    ASSIGN_OR_RETURN(transfer_, MakeStream(lowest));
  }
  for (Event* event : {&units_ended_[0], &units_ended_[1], &step_ends_[0], &step_ends_[1]}) {
    cudaEvent_t made = nullptr;
    error = cudaEventCreateWithFlags(&made, cudaEventDisableTiming);
    if (error != cudaSuccess) return StatusOf(error, "making an event");
    event->reset(made);
  }
  drawn_ = static_cast<int32_t*>(Allocate(kMostDrawn * sizeof(int32_t)));
  return absl::OkStatus();
}

Runtime::~Runtime() {
  cudaDeviceSynchronize();
  Free(drawn_);
  const absl::MutexLock lock(&mutex_);
  over_ = step_.load();
  FreeRetired();
}

Runtime::Op::Op(Runtime& runtime, const char* name)
    : runtime_(runtime), outer_(runtime.op_name_.exchange(name)), scratch_used_(runtime.lane().scratch.used) {
  nvtxRangePushA(name);
}

Runtime::Op::~Op() {
  nvtxRangePop();
  runtime_.op_name_ = outer_;
  // Where it has grown meanwhile, the new one is as free as the old one was.
  ScratchBuffer& scratch = runtime_.lane().scratch;
  scratch.used = std::min(scratch_used_, scratch.used);
}

void Runtime::Check(cudaError_t error) {
  if (error != cudaSuccess) Fail(StatusOf(error, op_name_.load()));
}

void Runtime::Fail(absl::Status error) {
  const absl::MutexLock lock(&mutex_);
  absl::Status& first = completing_ != nullptr ? completing_->status : error_;
  if (first.ok()) first = std::move(error);
  if (completing_ == nullptr) failed_ = true;
}

absl::Status Runtime::step_error() const {
  const absl::MutexLock lock(&mutex_);
  return error_;
}

// After an error nothing more of the step is given to the device.
void Runtime::Enqueue(const Fingerprint& print, const std::function<cudaError_t(cudaStream_t)>& enqueue) {
  if (failed_) return;
  if (phase_ == Phase::kDry) return body_->print.Add(print.value());
  MarkUse();
  cudaStream_t stream = lane().stream.get();
  // Tables of a repeated body go over together, before its graph.
  if (body_ == nullptr) Check(lane().tables.CopyNewToDevice(stream));
  Check(enqueue(stream));
}

const void* Runtime::AddTable(const void* host, size_t bytes) {
  Mirror& tables = body_ != nullptr ? body_->tables : lane().tables;
  const Mirror::Place place = tables.Add(bytes);
  if (place.device == nullptr) {
    Check(cudaErrorMemoryAllocation);
    return nullptr;
  }
  std::memcpy(place.host, host, bytes);
  return place.device;
}

void* Runtime::AddScratch(size_t bytes) {
  ScratchBuffer& scratch = lane().scratch;
  bytes = (bytes + Arena::kAlignment - 1) / Arena::kAlignment * Arena::kAlignment;
  if (scratch.size - scratch.used < bytes) {
    const size_t size = std::max({kFirstScratch, scratch.size + scratch.size / 2, scratch.used + bytes});
    char* data = static_cast<char*>(arena_.Allocate(size));
    if (data == nullptr) {
      Check(cudaErrorMemoryAllocation);
      return nullptr;
    }
    if (scratch.data != nullptr) RetireScratch(scratch.data);
    scratch = {.data = data, .size = size, .used = 0};
  }
  void* const result = scratch.data + scratch.used;
  scratch.used += bytes;
  return result;
}

void* Runtime::AddResult(size_t bytes, std::function<void(const void*)> take) {
  if (body_ != nullptr) body_->repeatable = false;
  const Mirror::Place place = result_mirror_.Add(bytes);
  if (place.device == nullptr) {
    Check(cudaErrorMemoryAllocation);
    return nullptr;
  }
  results_.push_back({place.host, std::move(take)});
  return place.device;
}

void Runtime::FetchBytes(const void* device, void* host, size_t bytes) {
  if (body_ != nullptr) body_->repeatable = false;
  if (body_ != nullptr || failed_) {
    std::memset(host, 0, bytes);
    return;
  }
  cudaStream_t stream = lane().stream.get();
  Check(cudaMemcpyAsync(host, device, bytes, cudaMemcpyDeviceToHost, stream));
  Check(cudaStreamSynchronize(stream));
}

int32_t* Runtime::Drawn(size_t count) {
  CHECK_LE(num_drawn_ + count, kMostDrawn) << "tokens drawn in one step";
  return drawn_ + std::exchange(num_drawn_, num_drawn_ + count);
}

void* Runtime::Allocate(size_t bytes) {
  void* data = arena_.Allocate(bytes);
  if (data == nullptr) {
    // Slow, but a job that is too large must not take the daemon with it.
    LOG_WARN("cuda: no room on the device for {} MiB: taking host memory", bytes >> 20);
    // After a lost device's end nothing is computed with it any more: any memory will do.
    const bool pinned = cudaMallocHost(&data, std::max<size_t>(bytes, 1)) == cudaSuccess;
    if (!pinned && !alive_) data = std::malloc(std::max<size_t>(bytes, 1));
    CHECK(data != nullptr) << "out of memory: " << bytes << " bytes";
    const absl::MutexLock lock(&mutex_);
    host_memory_.emplace(data, pinned ? Memory::kPinned : Memory::kPlain);
  }
  const absl::MutexLock lock(&transfer_mutex_);
  Check(cudaMemsetAsync(data, 0, bytes, transfer_.get()));
  Check(cudaStreamSynchronize(transfer_.get()));
  return data;
}

void Runtime::Free(void* data) {
  const absl::MutexLock lock(&mutex_);
  if (in_use_ <= over_) return FreeNow(data);
  retired_.push_back({data, in_use_});
}

// The operation that outgrew it may not have launched yet what uses it.
void Runtime::RetireScratch(void* data) {
  const absl::MutexLock lock(&mutex_);
  retired_.push_back({data, step_});
}

void Runtime::FreeNow(void* data) {
  const auto found = host_memory_.find(data);
  if (found == host_memory_.end()) return arena_.Free(data);
  found->second == Memory::kPinned ? static_cast<void>(cudaFreeHost(data)) : std::free(data);
  host_memory_.erase(found);
}

void Runtime::FreeRetired() {
  for (; !retired_.empty() && retired_.front().step <= over_; retired_.pop_front()) FreeNow(retired_.front().data);
}

void Runtime::UploadBytes(const void* host, void* device, size_t bytes) {
  const absl::MutexLock lock(&transfer_mutex_);
  Check(cudaMemcpyAsync(device, host, bytes, cudaMemcpyHostToDevice, transfer_.get()));
  Check(cudaStreamSynchronize(transfer_.get()));
}

}  // namespace tandem::cuda
