// Device memory taken from the driver in large slabs and given out in parts: adapters, tapes and samples come and go
// without the driver, which would stop the device for each of them.
#pragma once

#include <cstddef>
#include <map>
#include <unordered_map>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"

namespace tandem::cuda {

// Thread-safe.
class Arena {
 public:
  // slab_bytes 0: every allocation is one of the driver's, and gone when freed, so that tools see who strays.
  explicit Arena(size_t slab_bytes) : slab_bytes_(slab_bytes) {}
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;
  ~Arena();

  // 256-byte aligned, contents undefined; null where the device has no more.
  void* Allocate(size_t bytes);
  // What Allocate gave; nothing in flight may use it.
  void Free(void* data);
  size_t used_bytes() const;

  static constexpr size_t kAlignment = 256;

 private:
  using Address = char*;
  Address TakeFree(size_t bytes) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  bool AddSlab(size_t bytes) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void ReleaseEmptySlabs() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const size_t slab_bytes_;
  mutable absl::Mutex mutex_;
  std::map<Address, size_t> slabs_ ABSL_GUARDED_BY(mutex_);
  std::map<Address, size_t> free_ ABSL_GUARDED_BY(mutex_);  // no two neighbours within a slab
  std::unordered_map<void*, size_t> used_ ABSL_GUARDED_BY(mutex_);
  size_t used_bytes_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace tandem::cuda
