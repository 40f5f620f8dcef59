#include "backend/cuda/mirror.h"

#include <algorithm>
#include <bit>

namespace tandem::cuda {
namespace {

constexpr size_t kFirstChunk = size_t{1} << 20;

}  // namespace

Mirror::~Mirror() {
  for (const Chunk& chunk : chunks_) arena_.Free(chunk.device);
}

bool Mirror::Grow(size_t bytes) {
  Chunk chunk;
  chunk.size = std::max({kFirstChunk, bytes, chunks_.empty() ? 0 : 2 * chunks_.back().size});
  for (Pinned& half : chunk.host) {
    void* host = nullptr;
    if (cudaMallocHost(&host, chunk.size) != cudaSuccess) return false;
    half.reset(static_cast<char*>(host));
  }
  chunk.device = static_cast<char*>(arena_.Allocate(chunk.size));
  if (chunk.device == nullptr) return false;
  chunks_.push_back(std::move(chunk));
  return true;
}

Mirror::Place Mirror::Add(size_t bytes) {
  const size_t room = std::bit_ceil(std::max(bytes, Arena::kAlignment));
  while (current_ < chunks_.size() && chunks_[current_].size - chunks_[current_].used < room) ++current_;
  if (current_ == chunks_.size() && !Grow(room)) return {};
  Chunk& chunk = chunks_[current_];
  const Place place{chunk.host[half_].get() + chunk.used, chunk.device + chunk.used};
  chunk.used += room;
  return place;
}

void Mirror::Reset() {
  for (Chunk& chunk : chunks_) chunk.used = chunk.sent = 0;
  current_ = 0;
}

void Mirror::Flip() {
  Reset();
  half_ = 1 - half_;
}

cudaError_t Mirror::CopyNewToDevice(cudaStream_t stream) {
  for (Chunk& chunk : chunks_) {
    if (chunk.used == chunk.sent) continue;
    const cudaError_t error = cudaMemcpyAsync(chunk.device + chunk.sent, chunk.host[half_].get() + chunk.sent,
                                              chunk.used - chunk.sent, cudaMemcpyHostToDevice, stream);
    if (error != cudaSuccess) return error;
    chunk.sent = chunk.used;
  }
  return cudaSuccess;
}

cudaError_t Mirror::CopyToHost(cudaStream_t stream) const {
  for (const Chunk& chunk : chunks_) {
    if (chunk.used == 0) continue;
    const cudaError_t error =
        cudaMemcpyAsync(chunk.host[half_].get(), chunk.device, chunk.used, cudaMemcpyDeviceToHost, stream);
    if (error != cudaSuccess) return error;
  }
  return cudaSuccess;
}

}  // namespace tandem::cuda
