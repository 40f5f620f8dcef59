#include "backend/cuda/arena.h"

#include <cuda_runtime.h>

#include <algorithm>

#include "base/check.h"

namespace tandem::cuda {

Arena::~Arena() {
  const absl::MutexLock lock(&mutex_);
  for (const auto& [address, bytes] : slabs_) cudaFree(address);
}

// The smallest part that is large enough: there are few.
Arena::Address Arena::TakeFree(size_t bytes) {
  auto best = free_.end();
  for (auto it = free_.begin(); it != free_.end(); ++it) {
    if (it->second >= bytes && (best == free_.end() || it->second < best->second)) best = it;
  }
  if (best == free_.end()) return nullptr;
  const auto [address, size] = *best;
  free_.erase(best);
  if (size > bytes) free_.emplace(address + bytes, size - bytes);
  return address;
}

bool Arena::AddSlab(size_t bytes) {
  void* data = nullptr;
  if (cudaMalloc(&data, bytes) != cudaSuccess) {
    cudaGetLastError();  // no error of the step's
    return false;
  }
  slabs_.emplace(static_cast<Address>(data), bytes);
  free_.emplace(static_cast<Address>(data), bytes);
  return true;
}

void Arena::ReleaseEmptySlabs() {
  for (auto slab = slabs_.begin(); slab != slabs_.end();) {
    const auto part = free_.find(slab->first);
    if (part == free_.end() || part->second != slab->second) {
      ++slab;
      continue;
    }
    cudaFree(slab->first);
    free_.erase(part);
    slab = slabs_.erase(slab);
  }
}

void* Arena::Allocate(size_t bytes) {
  bytes = (std::max<size_t>(bytes, 1) + kAlignment - 1) / kAlignment * kAlignment;
  const absl::MutexLock lock(&mutex_);
  Address address = TakeFree(bytes);
  if (address == nullptr) {
    const size_t slab = std::max(bytes, slab_bytes_);
    if (!AddSlab(slab)) {
      ReleaseEmptySlabs();
      if (!AddSlab(slab) && !AddSlab(bytes)) return nullptr;
    }
    address = TakeFree(bytes);
  }
  used_.emplace(address, bytes);
  used_bytes_ += bytes;
  return address;
}

void Arena::Free(void* data) {
  if (data == nullptr) return;
  const absl::MutexLock lock(&mutex_);
  const auto used = used_.find(data);
  CHECK(used != used_.end()) << "not of this arena";
  Address begin = static_cast<Address>(data);
  size_t size = used->second;
  used_bytes_ -= size;
  used_.erase(used);
  const auto right = free_.find(begin + size);
  if (right != free_.end() && !slabs_.contains(right->first)) {
    size += right->second;
    free_.erase(right);
  }
  const auto after = free_.lower_bound(begin);
  if (after != free_.begin() && !slabs_.contains(begin)) {
    const auto left = std::prev(after);
    if (left->first + left->second == begin) {
      begin = left->first;
      size += left->second;
      free_.erase(left);
    }
  }
  free_.emplace(begin, size);
  if (slab_bytes_ == 0) ReleaseEmptySlabs();
}

size_t Arena::used_bytes() const {
  const absl::MutexLock lock(&mutex_);
  return used_bytes_;
}

}  // namespace tandem::cuda
