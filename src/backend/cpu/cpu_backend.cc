#include "backend/cpu/cpu_backend.h"

#include <cstdlib>
#include <cstring>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "base/check.h"

namespace tandem {

std::unique_ptr<Backend> CreateCpuBackend(int num_threads) {
  return std::make_unique<CpuBackend>(num_threads);
}

std::string CpuBackend::name() const {
  const int threads = pool_.num_threads();
  return absl::StrCat("cpu (", absl::AsciiStrToLower(cpu::InstructionSet()), ", ", threads,
                      threads == 1 ? " thread)" : " threads)");
}

std::unique_ptr<Matrix> CpuBackend::CreateMatrix(const TensorView& weight) {
  return std::make_unique<PackedMatrix>(weight);
}

void CpuBackend::UpdateMatrix(Matrix& matrix, const TensorView& weight) {
  static_cast<PackedMatrix&>(matrix).Update(weight);
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
