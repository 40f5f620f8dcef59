#include "tensor/dtype.h"

#include <cstring>

#include "base/check.h"

namespace tandem {
namespace {

// memcpy per element because `source` may be unaligned; compilers turn it into plain (vector) loads.
template <float (*Convert)(uint16_t)>
void ConvertHalves(const void* source, int64_t count, float* out) {
  const char* bytes = static_cast<const char*>(source);
  for (int64_t i = 0; i < count; ++i) {
    uint16_t bits;
    std::memcpy(&bits, bytes + 2 * i, sizeof(bits));
    out[i] = Convert(bits);
  }
}

}  // namespace

void ConvertToF32(const TensorView& source, float* out) {
  const int64_t count = source.shape.num_elements();
  if (count == 0) return;
  switch (source.dtype) {
    case DType::kF32:
      std::memcpy(out, source.data, static_cast<size_t>(count) * sizeof(float));
      return;
    case DType::kBf16:
      ConvertHalves<Bf16ToF32>(source.data, count, out);
      return;
    case DType::kF16:
      ConvertHalves<F16ToF32>(source.data, count, out);
      return;
    case DType::kI32:
      break;
  }
  CHECK(false) << "cannot convert " << Name(source.dtype) << " to f32";
}

}  // namespace tandem
