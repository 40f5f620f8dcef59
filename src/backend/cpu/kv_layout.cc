#include "backend/cpu/kv_layout.h"

#include "backend/cpu/cpu_backend.h"
#include "base/check.h"
#include "tensor/dtype.h"

namespace tandem {
namespace cpu {
namespace {

inline float Widen(float x) {
  return x;
}
inline float Widen(uint16_t x) {
  return Bf16ToF32(x);
}
inline void Narrow(float x, float& out) {
  out = x;
}
inline void Narrow(float x, uint16_t& out) {
  out = F32ToBf16(x);
}

template <typename T>
void AppendRows(const SequenceRows& rows, const TensorView& k, const TensorView& v, const PagedKv& kv) {
  const int64_t width = static_cast<int64_t>(kv.num_kv_heads) * kv.head_dim;
  for (int r = 0; r < rows.num_rows; ++r) {
    const int position = rows.first_position + r;
    const BlockId block = rows.blocks[position / kKvBlock];
    const int slot = position % kKvBlock;
    for (int head = 0; head < kv.num_kv_heads; ++head) {
      const float* k_row = k.f32() + (rows.first_row + r) * width + head * kv.head_dim;
      const float* v_row = v.f32() + (rows.first_row + r) * width + head * kv.head_dim;
      T* keys = static_cast<T*>(kv.keys) + KvHeadOffset(kv, block, head) + slot;
      T* values = static_cast<T*>(kv.values) + KvHeadOffset(kv, block, head) + slot * kv.head_dim;
      for (int d = 0; d < kv.head_dim; ++d) {
        Narrow(k_row[d], keys[d * kKvBlock]);
        Narrow(v_row[d], values[d]);
      }
    }
  }
}

template <typename T>
void Gather(const PagedKv& kv, std::span<const BlockId> blocks, int kv_head, int count, float* keys_rows,
            float* values_transposed) {
  const int dim = kv.head_dim;
  for (int position = 0; position < count; ++position) {
    const int slot = position % kKvBlock, index = position / kKvBlock;
    const T* keys = static_cast<const T*>(kv.keys) + KvHeadOffset(kv, blocks[index], kv_head) + slot;
    const T* values = static_cast<const T*>(kv.values) + KvHeadOffset(kv, blocks[index], kv_head) + slot * dim;
    float* transposed = values_transposed + static_cast<int64_t>(index) * dim * kKvBlock + slot;
    for (int d = 0; d < dim; ++d) {
      keys_rows[static_cast<int64_t>(position) * dim + d] = Widen(keys[d * kKvBlock]);
      transposed[d * kKvBlock] = Widen(values[d]);
    }
  }
}

}  // namespace

void GatherForBackward(const PagedKv& kv, std::span<const BlockId> blocks, int kv_head, int count, float* keys_rows,
                       float* values_transposed) {
  if (kv.dtype == DType::kBf16) {
    Gather<uint16_t>(kv, blocks, kv_head, count, keys_rows, values_transposed);
  } else {
    Gather<float>(kv, blocks, kv_head, count, keys_rows, values_transposed);
  }
}

}  // namespace cpu

void CpuBackend::AppendKv(std::span<const SequenceRows> sequences, const TensorView& k, const TensorView& v,
                          const PagedKv& kv) {
  CHECK_EQ(kv.block_size, cpu::kKvBlock);
  pool_.For(static_cast<int64_t>(sequences.size()), [&](int64_t i, int) {
    if (kv.dtype == DType::kBf16) {
      cpu::AppendRows<uint16_t>(sequences[i], k, v, kv);
    } else {
      cpu::AppendRows<float>(sequences[i], k, v, kv);
    }
  });
}

}  // namespace tandem
