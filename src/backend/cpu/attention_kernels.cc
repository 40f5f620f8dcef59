#include "backend/cpu/attention_kernels.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/cpu/attention_kernels.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
// after foreach_target.h
#include "backend/cpu/attention_dot.h"
#include "backend/cpu/gemm-inl.h"
#include "backend/cpu/kv_layout.h"
#include "backend/cpu/vector_ops-inl.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace tandem::cpu {
namespace HWY_NAMESPACE {

// The rows of tokens before `position`: tile rows that see nothing there.
HWY_INLINE int64_t RowsBefore(const AttentionTile& tile, int position) {
  return static_cast<int64_t>(std::max(0, position - tile.first_position)) * tile.group;
}

// Block by block; rows whose last position lies before a block are left out of it.
template <typename T>
void Scores(const AttentionTile& tile) {
  const int dim = tile.kv->head_dim;
  const int64_t rows = static_cast<int64_t>(tile.num_tokens) * tile.group;
  const int end = tile.first_position + tile.num_tokens;
  for (int position = BeginOf(tile); position < end; position += kKvBlock) {
    const T* keys =
        static_cast<const T*>(tile.kv->keys) + KvHeadOffset(*tile.kv, tile.blocks[position / kKvBlock], tile.kv_head);
    const int64_t first = RowsBefore(tile, position);
    PanelProduct(rows - first, dim, tile.q + first * dim, dim, 1, keys, kKvBlock,
                 tile.scores + first * tile.score_stride + position, tile.score_stride, false);
  }
}

// Every row becomes exp(score - max); 1 / sum goes to scale. Positions a row does not see become 0.
void Softmax(const AttentionTile& tile, float* scale) {
  const int begin = BeginOf(tile);
  const int padded = (tile.first_position + tile.num_tokens + kKvBlock - 1) / kKvBlock * kKvBlock;
  for (int64_t row = 0; row < static_cast<int64_t>(tile.num_tokens) * tile.group; ++row) {
    const int visible = tile.first_position + static_cast<int>(row / tile.group) + 1;
    float* scores = tile.scores + row * tile.score_stride;
    const int first = FirstSeen(visible - 1, tile.window), count = visible - first;
    if (tile.soft_cap > 0) SoftCapLoop(tile.soft_cap, count, scores + first);
    const float max = MaxLoop(scores + first, count);
    const float sum = ExpShiftedLoop(max, count, scores + first);
    std::fill(scores + begin, scores + first, 0.0f);
    std::fill(scores + visible, scores + padded, 0.0f);
    scale[row] = 1.0f / sum;
    tile.lse[row] = max + std::log(sum);
  }
}

// The last block is cut at the tile's last position: what lies behind it belongs to nobody and may hold anything.
template <typename T>
void Values(const AttentionTile& tile) {
  const int dim = tile.kv->head_dim;
  const int64_t rows = static_cast<int64_t>(tile.num_tokens) * tile.group;
  const int begin = BeginOf(tile), end = tile.first_position + tile.num_tokens;
  for (int position = begin; position < end; position += kKvBlock) {
    const T* values =
        static_cast<const T*>(tile.kv->values) + KvHeadOffset(*tile.kv, tile.blocks[position / kKvBlock], tile.kv_head);
    const int64_t first = RowsBefore(tile, position);
    for (int d = 0; d < dim; d += 16) {
      PanelProduct(rows - first, std::min(kKvBlock, end - position), tile.scores + first * tile.score_stride + position,
                   tile.score_stride, 1, values + d, dim, tile.out + first * dim + d, dim, position > begin);
    }
  }
}

void AnyScores(const AttentionTile& tile) {
  if (tile.layout == KvLayout::kPaired) return DotScores(tile);
  return tile.kv->dtype == DType::kBf16 ? Scores<hwy::bfloat16_t>(tile) : Scores<float>(tile);
}

void AnyValues(const AttentionTile& tile) {
  if (tile.layout == KvLayout::kPaired) return DotValues(tile);
  return tile.kv->dtype == DType::kBf16 ? Values<hwy::bfloat16_t>(tile) : Values<float>(tile);
}

void ForwardTarget(const AttentionTile& tile) {
  HWY_ALIGN float scale[kMaxTileRows];
  AnyScores(tile);
  Softmax(tile, scale);
  AnyValues(tile);
  const int dim = tile.kv->head_dim;
  for (int64_t row = 0; row < static_cast<int64_t>(tile.num_tokens) * tile.group; ++row) {
    for (int d = 0; d < dim; ++d) tile.out[row * dim + d] *= scale[row];
  }
}

void ScoresTarget(const AttentionTile& tile) {
  AnyScores(tile);
}

}  // namespace HWY_NAMESPACE
}  // namespace tandem::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tandem::cpu {

HWY_EXPORT(ForwardTarget);
HWY_EXPORT(ScoresTarget);

void AttentionForwardTile(const AttentionTile& tile) {
  HWY_DYNAMIC_DISPATCH(ForwardTarget)(tile);
}
void AttentionScores(const AttentionTile& tile) {
  HWY_DYNAMIC_DISPATCH(ScoresTarget)(tile);
}

}  // namespace tandem::cpu
#endif
