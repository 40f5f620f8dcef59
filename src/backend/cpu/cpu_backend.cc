#include "backend/cpu/cpu_backend.h"

#include <cstdlib>
#include <cstring>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "backend/cpu/dot_product.h"
#include "base/check.h"

namespace tandem {

std::unique_ptr<Backend> CreateCpuBackend(int num_threads, Bf16Products bf16_products) {
  return std::make_unique<CpuBackend>(num_threads, bf16_products);
}

CpuBackend::CpuBackend(int num_threads, Bf16Products bf16_products)
    : bf16_layout_(bf16_products == Bf16Products::kFastest && cpu::HasBf16Dot() ? PackedMatrix::Layout::kDot
                                                                                : PackedMatrix::Layout::kWide),
      pool_(num_threads) {}

std::string CpuBackend::name() const {
  const int threads = pool_.num_threads();
  const char* dot = bf16_layout_ == PackedMatrix::Layout::kDot ? "+bf16" : "";
  return absl::StrCat("cpu (", absl::AsciiStrToLower(cpu::InstructionSet()), dot, ", ", threads,
                      threads == 1 ? " thread)" : " threads)");
}

std::unique_ptr<Matrix> CpuBackend::CreateMatrix(const TensorView& weight) {
  auto matrix =
      std::make_unique<PackedMatrix>(weight, weight.dtype == DType::kBf16 ? bf16_layout_ : PackedMatrix::Layout::kWide);
  PackAll(weight, *matrix);
  return matrix;
}

void CpuBackend::UpdateMatrix(Matrix& matrix, const TensorView& weight) {
  PackAll(weight, static_cast<PackedMatrix&>(matrix));
}

void CpuBackend::PackAll(const TensorView& weight, PackedMatrix& matrix) {
  ForRange(matrix.num_panels(), 1, [&](int64_t first, int64_t count, int) { matrix.Pack(weight, first, count); });
}

float* CpuBackend::Scratch(ScratchSlot slot, size_t elements) {
  Tensor& tensor = scratch_[slot];
  if (static_cast<size_t>(tensor.view().shape.num_elements()) < elements || tensor.view().data == nullptr) {
    tensor = Tensor::Empty(DType::kF32, {static_cast<int64_t>(elements)});
  }
  return tensor.f32();
}

void* CpuBackend::Allocate(size_t bytes) {
  const size_t rounded = (std::max<size_t>(bytes, 1) + 63) / 64 * 64;
  void* data = std::aligned_alloc(64, rounded);
  CHECK(data != nullptr) << "out of memory: " << rounded << " bytes";
  std::memset(data, 0, rounded);
  return data;
}

void CpuBackend::Free(void* data) {
  std::free(data);
}

}  // namespace tandem
