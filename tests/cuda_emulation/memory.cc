// Device and pinned memory. Every allocation ends where a page ends that nobody may touch, and device memory as a whole
// can be touched by kernels and copies only.
#include <signal.h>
#include <sys/mman.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <string>

#include "block.h"
#include "emulation.h"
#include "settings.h"

namespace cuda_emulation {
namespace {

constexpr size_t kPage = 4096, kAlignment = 256, kGuardBytes = 256;
constexpr size_t kAddresses = size_t{1} << 38;  // never used twice, so that a freed pointer stays a fault
// Pages that were touched cost time whenever access to them changes. So of large blocks (weights, workspaces) only the
// beginning is poisoned, and the host is not kept from them.
constexpr size_t kLarge = size_t{1} << 20;
constexpr unsigned char kGuard = 0xa5;

struct Allocation {
  char* pages;  // of [pages, pages + page_bytes) the block and its guards are part
  size_t page_bytes, bytes, charged;
};

struct Memory {
  char *begin = nullptr, *next = nullptr, *end = nullptr;
  std::map<char*, Allocation> device;
  std::map<const char*, size_t> pinned, registered;
  size_t charged = 0;
  int access_depth = 0, accesses = 0;
  bool open = false;  // whether the blocks can be touched
  struct sigaction previous = {};
};
Memory& State() {
  static Memory memory;
  return memory;
}

size_t RoundUp(size_t value, size_t to) {
  return (value + to - 1) / to * to;
}

void ExplainFault(int signal, siginfo_t* info, void*) {
  const auto* at = static_cast<const char*>(info->si_addr);
  const bool inside = at >= State().begin && at < State().end;
  const std::string position = Position();
  std::string report = "cuda emulation: fault at " + std::to_string(reinterpret_cast<uintptr_t>(at));
  if (inside && position.empty()) {
    report += ": the host touched device memory";
  } else if (inside) {
    report += ": outside of every allocation, or of one that was freed";
  }
  if (!position.empty()) report += ", " + position;
  std::fprintf(stderr, "%s\n", report.c_str());
  sigaction(signal, &State().previous, nullptr);  // the instruction faults again
}

void Start() {
  Memory& memory = State();
  void* mapping = mmap(nullptr, kAddresses, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (mapping == MAP_FAILED) {
    std::perror("cuda emulation: no addresses for device memory");
    std::abort();
  }
  memory.begin = memory.next = static_cast<char*>(mapping);
  memory.end = memory.begin + kAddresses;
  struct sigaction action = {};
  action.sa_sigaction = ExplainFault;
  action.sa_flags = SA_SIGINFO;
  sigaction(SIGSEGV, &action, &memory.previous);
}

void Protect(const Allocation& allocation, int protection) {
  if (mprotect(allocation.pages, allocation.page_bytes, protection) != 0) {
    std::perror("cuda emulation: mprotect");
    std::abort();
  }
}

void ProtectSmall(int protection) {
  for (const auto& [block, allocation] : State().device) {
    if (allocation.bytes <= kLarge) Protect(allocation, protection);
  }
}

// The block lies at the end of its pages: what runs over it by more than the alignment faults.
char* BlockOf(const Allocation& allocation) {
  return allocation.pages + allocation.page_bytes - RoundUp(allocation.bytes, kAlignment);
}

bool GuardsIntact(const Allocation& allocation) {
  const char* block = BlockOf(allocation);
  const auto intact = [](char byte) { return static_cast<unsigned char>(byte) == kGuard; };
  return std::all_of(block - kGuardBytes, block, intact) &&
         std::all_of(block + allocation.bytes, block + RoundUp(allocation.bytes, kAlignment), intact);
}

template <typename Ranges>
bool Contains(const Ranges& ranges, const void* data) {
  const auto* at = static_cast<const char*>(data);
  auto it = ranges.upper_bound(at);
  if (it == ranges.begin()) return false;
  --it;
  return at < it->first + std::max<size_t>(it->second, 1);
}

}  // namespace

DeviceAccess::DeviceAccess() {
  if (State().access_depth++ > 0 || State().open) return;
  ProtectSmall(PROT_READ | PROT_WRITE);
  State().open = true;
}

DeviceAccess::~DeviceAccess() {
  // With hundreds of blocks this is most of the time that a model takes, so it is done often at first, then now and
  // then.
  constexpr int kOften = 200, kSeldom = 16;
  if (--State().access_depth > 0 || (++State().accesses > kOften && State().accesses % kSeldom != 0)) return;
  ProtectSmall(PROT_NONE);
  State().open = false;
}

bool IsDeviceMemory(const void* data) {
  return data >= State().begin && data < State().end;
}

bool IsPinned(const void* data) {
  return Contains(State().pinned, data) || Contains(State().registered, data);
}

void CheckGuards(const char* after) {
  for (const auto& [block, allocation] : State().device) {
    if (GuardsIntact(allocation)) continue;
    std::fprintf(stderr, "cuda emulation: bytes around an allocation of %zu bytes were written, seen after %s\n",
                 allocation.bytes, after);
    std::abort();
  }
}

int64_t BytesAllocated() {
  const std::lock_guard lock(Lock());
  return static_cast<int64_t>(State().charged);
}

}  // namespace cuda_emulation

using cuda_emulation::DeviceAccess;
using cuda_emulation::Lock;
using cuda_emulation::Remember;
using cuda_emulation::State;

cudaError_t cudaMalloc(void** data, size_t bytes) {
  const std::lock_guard lock(Lock());
  *data = nullptr;
  if (cuda_emulation::RefusedInAnyCapture()) return cudaErrorStreamCaptureUnsupported;
  if (const cudaError_t error = cuda_emulation::DeviceState(); error != cudaSuccess) return Remember(error);
  if (bytes == 0) return cudaSuccess;
  if (State().begin == nullptr) cuda_emulation::Start();
  using cuda_emulation::kGuardBytes, cuda_emulation::kPage, cuda_emulation::RoundUp;
  cuda_emulation::Allocation allocation = {.bytes = bytes, .charged = RoundUp(bytes, cuda_emulation::kAlignment)};
  allocation.page_bytes = RoundUp(allocation.charged + kGuardBytes, kPage);
  if (State().charged + allocation.charged > cuda_emulation::DeviceBytes() ||
      State().next + allocation.page_bytes + kPage > State().end) {
    return Remember(cudaErrorMemoryAllocation);
  }
  allocation.pages = State().next;
  State().next += allocation.page_bytes + kPage;
  State().charged += allocation.charged;
  const DeviceAccess access;
  cuda_emulation::Protect(allocation, PROT_READ | PROT_WRITE);
  char* block = cuda_emulation::BlockOf(allocation);
  std::memset(block - kGuardBytes, cuda_emulation::kGuard, kGuardBytes);
  std::memset(block, 0xff, std::min(bytes, cuda_emulation::kLarge));  // NaN in every float type
  std::memset(block + bytes, cuda_emulation::kGuard, allocation.charged - bytes);
  State().device[block] = allocation;
  *data = block;
  return cudaSuccess;
}

cudaError_t cudaFree(void* data) {
  if (data == nullptr) return cudaSuccess;
  const std::lock_guard lock(Lock());
  if (cuda_emulation::RefusedInAnyCapture()) return cudaErrorStreamCaptureUnsupported;
  cuda_emulation::WaitForDevice();
  const auto found = State().device.find(static_cast<char*>(data));
  if (found == State().device.end()) return Remember(cudaErrorInvalidValue);
  const cuda_emulation::Allocation allocation = found->second;
  State().device.erase(found);
  State().charged -= allocation.charged;
  cuda_emulation::Protect(allocation, PROT_NONE);
  madvise(allocation.pages, allocation.page_bytes, MADV_DONTNEED);
  return cudaSuccess;
}

cudaError_t cudaMemGetInfo(size_t* free_bytes, size_t* total_bytes) {
  const std::lock_guard lock(Lock());
  if (const cudaError_t error = cuda_emulation::DeviceState(); error != cudaSuccess) return Remember(error);
  *total_bytes = cuda_emulation::DeviceBytes();
  *free_bytes = *total_bytes - std::min(*total_bytes, State().charged);
  return cudaSuccess;
}

cudaError_t cudaHostAlloc(void** data, size_t bytes, unsigned) {
  const std::lock_guard lock(Lock());
  *data = nullptr;
  if (cuda_emulation::RefusedInAnyCapture()) return cudaErrorStreamCaptureUnsupported;
  if (const cudaError_t error = cuda_emulation::DeviceState(); error != cudaSuccess) return Remember(error);
  if (bytes == 0) return cudaSuccess;
  *data = std::aligned_alloc(cuda_emulation::kPage, cuda_emulation::RoundUp(bytes, cuda_emulation::kPage));
  if (*data == nullptr) return Remember(cudaErrorMemoryAllocation);
  std::memset(*data, 0xff, bytes);
  State().pinned[static_cast<char*>(*data)] = bytes;
  return cudaSuccess;
}

cudaError_t cudaMallocHost(void** data, size_t bytes) {
  return cudaHostAlloc(data, bytes, cudaHostAllocDefault);
}

cudaError_t cudaFreeHost(void* data) {
  if (data == nullptr) return cudaSuccess;
  const std::lock_guard lock(Lock());
  if (cuda_emulation::RefusedInAnyCapture()) return cudaErrorStreamCaptureUnsupported;
  cuda_emulation::WaitForDevice();
  if (State().pinned.erase(static_cast<char*>(data)) == 0) return Remember(cudaErrorInvalidValue);
  std::free(data);
  return cudaSuccess;
}

cudaError_t cudaHostRegister(void* data, size_t bytes, unsigned) {
  const std::lock_guard lock(Lock());
  if (const cudaError_t error = cuda_emulation::DeviceState(); error != cudaSuccess) return Remember(error);
  State().registered[static_cast<char*>(data)] = bytes;
  return cudaSuccess;
}

cudaError_t cudaHostUnregister(void* data) {
  const std::lock_guard lock(Lock());
  if (cuda_emulation::RefusedInAnyCapture()) return cudaErrorStreamCaptureUnsupported;
  cuda_emulation::WaitForDevice();
  return State().registered.erase(static_cast<char*>(data)) == 1 ? cudaSuccess : Remember(cudaErrorInvalidValue);
}

cudaError_t cudaPointerGetAttributes(cudaPointerAttributes* attributes, const void* data) {
  const std::lock_guard lock(Lock());
  const bool device = cuda_emulation::IsDeviceMemory(data), pinned = cuda_emulation::IsPinned(data);
  void* address = const_cast<void*>(data);
  *attributes = {.type = device ? cudaMemoryTypeDevice : (pinned ? cudaMemoryTypeHost : cudaMemoryTypeUnregistered),
                 .device = 0,
                 .devicePointer = device || pinned ? address : nullptr,
                 .hostPointer = device ? nullptr : address};
  return cudaSuccess;
}
