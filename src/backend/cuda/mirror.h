// A stretch of device memory, filled from the front within a step, and as much pinned host memory twice, so that one
// step's can be filled or read while the device still copies the other's: host tables on their way to the device,
// results on their way back. On the device the order of the stream is enough. It grows by further chunks, so addresses
// hold until the end; the same calls after a Reset give the same addresses on the device.
#pragma once

#include <cstddef>
#include <vector>

#include "backend/cuda/arena.h"
#include "backend/cuda/handles.h"

namespace tandem::cuda {

class Mirror {
 public:
  struct Place {
    void *host = nullptr, *device = nullptr;  // null where there is no memory
  };

  explicit Mirror(Arena& arena) : arena_(arena) {}
  ~Mirror();
  Mirror(const Mirror&) = delete;
  Mirror& operator=(const Mirror&) = delete;

  // Room for `bytes`, rounded up to a power of two: a table that is a little longer the next time moves no other.
  Place Add(size_t bytes);
  void Reset();
  // A Reset; Add gives the other half of the host memory from now on.
  void Flip();
  int half() const { return half_; }
  // What was added since the last copy, and everything since the last Reset: one copy for each chunk.
  cudaError_t CopyNewToDevice(cudaStream_t stream);
  cudaError_t CopyToHost(cudaStream_t stream) const;

 private:
  struct Chunk {
    Pinned host[2];
    char* device = nullptr;
    size_t size = 0, used = 0, sent = 0;
  };
  bool Grow(size_t bytes);

  Arena& arena_;
  std::vector<Chunk> chunks_;
  size_t current_ = 0;
  int half_ = 0;
};

}  // namespace tandem::cuda
