#include "backend/cpu/cpu_backend.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <thread>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "backend/cpu/dot_product.h"
#include "base/check.h"

namespace tandem {
namespace {

constexpr int64_t kCopyGrainBytes = 1 << 18;  // some ten microseconds: less is not worth another thread

}  // namespace

std::unique_ptr<Backend> CreateCpuBackend(int num_threads, Bf16Products bf16_products) {
  return std::make_unique<CpuBackend>(num_threads, bf16_products);
}

CpuBackend::CpuBackend(int num_threads, Bf16Products bf16_products)
    : bf16_products_(bf16_products),
      bf16_layout_(bf16_products == Bf16Products::kFastest && cpu::HasBf16Dot() ? PackedMatrix::Layout::kDot
                                                                                : PackedMatrix::Layout::kWide),
      pool_(num_threads) {}

std::string CpuBackend::name() const {
  const int threads = pool_.num_threads();
  const char* dot = bf16_layout_ == PackedMatrix::Layout::kDot ? "+bf16" : "";
  return absl::StrCat("cpu (", absl::AsciiStrToLower(cpu::InstructionSet()), dot, ", ", threads,
                      threads == 1 ? " thread)" : " threads)");
}

std::unique_ptr<Matrix> CpuBackend::CreateMatrix(const TensorView& host) {
  auto matrix =
      std::make_unique<PackedMatrix>(host, host.dtype == DType::kBf16 ? bf16_layout_ : PackedMatrix::Layout::kWide);
  PackAll(host, *matrix);
  return matrix;
}

void CpuBackend::UpdateMatrix(Matrix& matrix, const TensorView& weight) {
  PackAll(weight, static_cast<PackedMatrix&>(matrix));
}

// On threads of its own: adapters are created beside a running step, which has the pool.
void CpuBackend::PackAll(const TensorView& weight, PackedMatrix& matrix) const {
  constexpr int64_t kWorthAThread = 1 << 19;  // elements: about 100 us of packing
  const int64_t panels = matrix.num_panels();
  const int64_t parts = std::clamp<int64_t>(weight.shape.num_elements() / kWorthAThread, 1, pool_.num_threads());
  const auto pack = [&](int64_t part) {
    const int64_t first = panels * part / parts;
    matrix.Pack(weight, first, panels * (part + 1) / parts - first);
  };
  std::vector<std::thread> threads;
  for (int64_t part = 1; part < parts; ++part) threads.emplace_back(pack, part);
  pack(0);
  for (std::thread& thread : threads) thread.join();
}

float* CpuBackend::Scratch(ScratchSlot slot, size_t elements) {
  Tensor& tensor = scratch_[slot];
  if (static_cast<size_t>(tensor.view().shape.num_elements()) < elements || tensor.view().data == nullptr) {
    tensor = Tensor::Empty(DType::kF32, {static_cast<int64_t>(elements)});
  }
  return tensor.f32();
}

// Zeroed by calloc, whose large blocks cost nothing until they are touched: a tape has room for the longest sample of
// its job. What calloc returned stands before the aligned address.
void* CpuBackend::Allocate(size_t bytes) {
  constexpr size_t kAlignment = Tensor::kAlignment, kHugePage = size_t{2} << 20;
  const size_t alignment = bytes >= 2 * kHugePage ? kHugePage : kAlignment;
  CHECK_LE(bytes, SIZE_MAX - 2 * kHugePage);
  void* memory = std::calloc(1, std::max<size_t>(bytes, 1) + alignment + sizeof(void*));
  CHECK(memory != nullptr) << "out of memory: " << bytes << " bytes";
  const uintptr_t first = reinterpret_cast<uintptr_t>(memory) + sizeof(void*);
  void** data = reinterpret_cast<void**>((first + alignment - 1) / alignment * alignment);
  data[-1] = memory;
  if (alignment == kHugePage) madvise(data, bytes / kHugePage * kHugePage, MADV_HUGEPAGE);
  return data;
}

void CpuBackend::Free(void* data) {
  if (data != nullptr) std::free(static_cast<void**>(data)[-1]);
}

// Half of the threads are the lane's, the larger half stays here.
std::unique_ptr<Backend> CpuBackend::CreateLane() {
  const int threads = pool_.num_threads() / 2;
  return threads == 0 ? nullptr : std::make_unique<CpuBackend>(threads, bf16_products_);
}

void CpuBackend::SetShare(Share share) {
  const int threads = pool_.num_threads();
  pool_.SetLimit(share == Share::kNone ? 0 : share == Share::kHalf ? threads - threads / 2 : threads);
}

void CpuBackend::Copy(const TensorView& from, const TensorView& to) {
  CHECK(from.dtype == to.dtype) << Name(from.dtype) << " to " << Name(to.dtype) << ": activations here are f32";
  ForRange(static_cast<int64_t>(to.size_bytes()), kCopyGrainBytes, [&](int64_t first, int64_t count, int) {
    std::memcpy(static_cast<char*>(to.data) + first, static_cast<const char*>(from.data) + first, count);
  });
}

// On the calling thread, which need not be the one that the pool works for.
void CpuBackend::UploadFresh(const TensorView& host, const TensorView& to) {
  std::memcpy(to.data, host.data, to.size_bytes());
}

void CpuBackend::Zero(const TensorView& x) {
  std::memset(x.data, 0, x.size_bytes());
}

}  // namespace tandem
