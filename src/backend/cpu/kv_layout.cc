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

// Where element (slot, d) of one head's block stands.
struct PlainIndex {
  int64_t dim;
  int64_t Key(int slot, int d) const { return d * kKvBlock + slot; }
  int64_t Value(int slot, int d) const { return slot * dim + d; }
};
struct PairedIndex {
  int64_t dim;
  int64_t Key(int slot, int d) const { return d / 2 * 2 * kKvBlock + 2 * slot + d % 2; }
  int64_t Value(int slot, int d) const { return slot / 2 * 2 * dim + 2 * d + slot % 2; }
};

template <typename T, typename Index>
void AppendRows(const SequenceRows& rows, const TensorView& k, const TensorView& v, const PagedKv& kv) {
  const int64_t width = static_cast<int64_t>(kv.num_kv_heads) * kv.head_dim;
  const Index index{kv.head_dim};
  for (int r = 0; r < rows.num_rows; ++r) {
    const int position = rows.first_position + r;
    const BlockId block = rows.blocks[position / kKvBlock];
    const int slot = position % kKvBlock;
    for (int head = 0; head < kv.num_kv_heads; ++head) {
      const float* k_row = k.f32() + (rows.first_row + r) * width + head * kv.head_dim;
      const float* v_row = v.f32() + (rows.first_row + r) * width + head * kv.head_dim;
      T* keys = static_cast<T*>(kv.keys) + KvHeadOffset(kv, block, head);
      T* values = static_cast<T*>(kv.values) + KvHeadOffset(kv, block, head);
      for (int d = 0; d < kv.head_dim; ++d) {
        Narrow(k_row[d], keys[index.Key(slot, d)]);
        Narrow(v_row[d], values[index.Value(slot, d)]);
      }
    }
  }
}

template <typename T, typename Index>
void Gather(const PagedKv& kv, std::span<const BlockId> blocks, int kv_head, int count, float* keys_rows,
            float* values_transposed) {
  const int dim = kv.head_dim;
  const Index index{dim};
  for (int position = 0; position < count; ++position) {
    const int slot = position % kKvBlock;
    const int64_t block = position / kKvBlock, offset = KvHeadOffset(kv, blocks[block], kv_head);
    const T* keys = static_cast<const T*>(kv.keys) + offset;
    const T* values = static_cast<const T*>(kv.values) + offset;
    float* transposed = values_transposed + block * dim * kKvBlock + slot;
    for (int d = 0; d < dim; ++d) {
      keys_rows[static_cast<int64_t>(position) * dim + d] = Widen(keys[index.Key(slot, d)]);
      transposed[d * kKvBlock] = Widen(values[index.Value(slot, d)]);
    }
  }
}

}  // namespace

void GatherForBackward(const PagedKv& kv, KvLayout layout, std::span<const BlockId> blocks, int kv_head, int count,
                       float* keys_rows, float* values_transposed) {
  if (layout == KvLayout::kPaired) {
    Gather<uint16_t, PairedIndex>(kv, blocks, kv_head, count, keys_rows, values_transposed);
  } else if (kv.dtype == DType::kBf16) {
    Gather<uint16_t, PlainIndex>(kv, blocks, kv_head, count, keys_rows, values_transposed);
  } else {
    Gather<float, PlainIndex>(kv, blocks, kv_head, count, keys_rows, values_transposed);
  }
}

}  // namespace cpu

cpu::KvLayout CpuBackend::LayoutOf(const PagedKv& kv) const {
  const bool paired = kv.dtype == DType::kBf16 && bf16_layout_ == PackedMatrix::Layout::kDot;
  return paired ? cpu::KvLayout::kPaired : cpu::KvLayout::kPlain;
}

void CpuBackend::AppendKv(std::span<const SequenceRows> sequences, const TensorView& k, const TensorView& v,
                          const PagedKv& kv) {
  CHECK_EQ(kv.block_size, cpu::kKvBlock);
  const cpu::KvLayout layout = LayoutOf(kv);
  pool_.For(static_cast<int64_t>(sequences.size()), [&](int64_t i, int) {
    if (layout == cpu::KvLayout::kPaired) {
      cpu::AppendRows<uint16_t, cpu::PairedIndex>(sequences[i], k, v, kv);
    } else if (kv.dtype == DType::kBf16) {
      cpu::AppendRows<uint16_t, cpu::PlainIndex>(sequences[i], k, v, kv);
    } else {
      cpu::AppendRows<float, cpu::PlainIndex>(sequences[i], k, v, kv);
    }
  });
}

}  // namespace tandem
