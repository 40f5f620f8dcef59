// Chooses the backend that a process runs on.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "tandem/backend.h"

namespace tandem {

enum class BackendKind { kAuto, kCpu, kCuda };  // kAuto: CUDA where there is a device

struct BackendOptions {
  BackendKind kind = BackendKind::kAuto;
  int threads = 0;             // of the CPU backend; 0: one for each core
  bool deterministic = false;  // on CUDA; the CPU backend always is
};

// kAuto never fails: one line of the log says what is used, and why no other. kCuda: FAILED_PRECONDITION where there is
// no device, or no CUDA in this binary.
absl::StatusOr<std::unique_ptr<Backend>> CreateBackend(const BackendOptions& options);

// Whether CreateBackend would find another device than the CPU.
bool FindsDevice(BackendKind kind);

// "cuda: NVIDIA H200, sm_90, 139 GiB", or why kAuto would serve on the CPU: one line for people.
std::string DescribeDevice();

}  // namespace tandem
