#include "kernels/attention_problem.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <numeric>
#include <random>

#include "base/check.h"
#include "tensor/dtype.h"

namespace tandem::kernels {

template <typename T>
void DeviceArray<T>::Check(cudaError_t error) {
  CHECK_EQ(static_cast<int>(error), static_cast<int>(cudaSuccess));
}
template class DeviceArray<float>;
template class DeviceArray<int32_t>;
template class DeviceArray<uint8_t>;
template class DeviceArray<AttentionSpan>;

int AttentionShape::num_rows() const {
  int sum = 0;
  for (const Rows& rows : sequences) sum += rows.num_rows;
  return sum;
}

float AttentionShape::scale() const {
  return 1.0f / std::sqrt(static_cast<float>(head_dim));
}

std::vector<float> RandomRows(uint64_t seed, int64_t count, Type type) {
  std::mt19937_64 generator(seed);
  std::vector<float> values(count);
  for (float& value : values) value = 2.0f * (static_cast<float>(generator() >> 40) * 0x1p-23f - 1);
  return FromBytes(ToBytes(values, type), type);
}

std::vector<uint8_t> ToBytes(const std::vector<float>& values, Type type) {
  std::vector<uint8_t> bytes(values.size() * BytesOf(type));
  for (size_t i = 0; i < values.size(); ++i) {
    const uint16_t narrow = F32ToBf16(values[i]);
    std::memcpy(bytes.data() + i * BytesOf(type), type == Type::kF32 ? static_cast<const void*>(&values[i]) : &narrow,
                BytesOf(type));
  }
  return bytes;
}

std::vector<float> FromBytes(const std::vector<uint8_t>& bytes, Type type) {
  std::vector<float> values(bytes.size() / BytesOf(type));
  for (size_t i = 0; i < values.size(); ++i) {
    if (type == Type::kF32) {
      std::memcpy(&values[i], bytes.data() + i * 4, 4);
    } else {
      uint16_t narrow;
      std::memcpy(&narrow, bytes.data() + i * 2, 2);
      values[i] = Bf16ToF32(narrow);
    }
  }
  return values;
}

namespace {

int BlocksOf(const AttentionShape& shape, const AttentionShape::Rows& rows) {
  return (rows.first_position + rows.num_rows + shape.block_size - 1) / shape.block_size;
}

int NumBlocks(const AttentionShape& shape) {
  int blocks = 2;  // that nobody holds
  for (const AttentionShape::Rows& rows : shape.sequences) blocks += BlocksOf(shape, rows);
  return blocks;
}

int64_t PoolElements(const AttentionShape& shape) {
  return static_cast<int64_t>(NumBlocks(shape)) * shape.block_size * shape.num_kv_heads * shape.head_dim;
}

}  // namespace

AttentionProblem::AttentionProblem(const AttentionShape& shape)
    : shape_(shape),
      q_(RandomRows(1, static_cast<int64_t>(shape.num_rows()) * shape.num_heads() * shape.head_dim, shape.type)),
      device_q_(ToBytes(q_, shape.type)),
      keys_(PoolElements(shape) * BytesOf(shape.kv_type)),
      values_(PoolElements(shape) * BytesOf(shape.kv_type)),
      device_blocks_([&] {
        blocks_.resize(NumBlocks(shape));
        std::iota(blocks_.begin(), blocks_.end(), 0);
        std::shuffle(blocks_.begin(), blocks_.end(), std::mt19937_64(4));
        return blocks_;
      }()) {
  int row = 0, block = 0, context = 0;
  for (const AttentionShape::Rows& rows : shape.sequences) {
    spans_.push_back({row, rows.num_rows, rows.first_position, block});
    contexts_first_.push_back(context);
    row += rows.num_rows;
    block += BlocksOf(shape, rows);
    context += rows.first_position + rows.num_rows;
  }
  const int64_t width = static_cast<int64_t>(shape.num_kv_heads) * shape.head_dim;
  k_ = RandomRows(2, context * width, shape.kv_type);
  v_ = RandomRows(3, context * width, shape.kv_type);
  std::vector<float> keys(PoolElements(shape), NAN), values = keys;
  for (size_t s = 0; s < spans_.size(); ++s) {
    for (int position = 0; position < spans_[s].first_position + spans_[s].num_rows; ++position) {
      for (int head = 0; head < shape.num_kv_heads; ++head) {
        const int64_t to = PositionOffset(pool(), blocks_.data() + spans_[s].first_block, position, head);
        std::copy_n(KeyRow(k_, s, position, head), shape.head_dim, keys.begin() + to);
        std::copy_n(KeyRow(v_, s, position, head), shape.head_dim, values.begin() + to);
      }
    }
  }
  keys_.Write(ToBytes(keys, shape.kv_type));
  values_.Write(ToBytes(values, shape.kv_type));
}

KvPool AttentionProblem::pool() const {
  return {.keys = keys_.data(),
          .values = values_.data(),
          .type = shape_.kv_type,
          .block_shift = std::countr_zero(static_cast<unsigned>(shape_.block_size)),
          .num_kv_heads = shape_.num_kv_heads,
          .head_dim = shape_.head_dim};
}

AttentionArgs AttentionProblem::Args() const {
  return {.q = device_q_.data(),
          .type = shape_.type,
          .kv = pool(),
          .group = shape_.group,
          .scale = shape_.scale(),
          .soft_cap = shape_.soft_cap,
          .window = shape_.window,
          .blocks = device_blocks_.data()};
}

const float* AttentionProblem::KeyRow(const std::vector<float>& rows, int sequence, int position, int kv_head) const {
  return rows.data() +
         (static_cast<int64_t>(contexts_first_[sequence] + position) * shape_.num_kv_heads + kv_head) * shape_.head_dim;
}

// S of one pair, and dS/d(q.k) if asked for.
double AttentionProblem::Score(const float* q, const float* k, double* through_cap) const {
  double score = 0;
  for (int d = 0; d < shape_.head_dim; ++d) score += static_cast<double>(q[d]) * k[d];
  score *= shape_.scale();
  double slope = shape_.scale();
  if (shape_.soft_cap > 0) {
    const double tanh = std::tanh(score / shape_.soft_cap);
    score = shape_.soft_cap * tanh;
    slope *= 1 - tanh * tanh;
  }
  if (through_cap != nullptr) *through_cap = slope;
  return score;
}

template <typename Fn>
void AttentionProblem::ForRows(Fn&& fn) const {
  for (size_t s = 0; s < spans_.size(); ++s) {
    for (int r = 0; r < spans_[s].num_rows; ++r) {
      const int position = spans_[s].first_position + r;
      const int first = shape_.window > 0 ? std::max(0, position - shape_.window + 1) : 0;
      for (int head = 0; head < shape_.num_heads(); ++head) {
        fn(RowOfHead{.sequence = static_cast<int>(s),
                     .kv_head = head / shape_.group,
                     .first = first,
                     .position = position,
                     .index = static_cast<int64_t>(spans_[s].first_row + r) * shape_.num_heads() + head});
      }
    }
  }
}

AttentionProblem::Forward AttentionProblem::Reference() const {
  const int dim = shape_.head_dim;
  Forward result;
  result.out.resize(q_elements());
  result.lse.resize(q_elements() / dim);
  ForRows([&](const RowOfHead& row) {
    std::vector<double> scores;
    for (int key = row.first; key <= row.position; ++key) {
      scores.push_back(Score(&q_[row.index * dim], KeyRow(k_, row.sequence, key, row.kv_head), nullptr));
    }
    const double max = *std::max_element(scores.begin(), scores.end());
    double sum = 0;
    for (const double score : scores) sum += std::exp(score - max);
    result.lse[row.index] = max + std::log(sum);
    for (int key = row.first; key <= row.position; ++key) {
      const double p = std::exp(scores[key - row.first] - result.lse[row.index]);
      for (int d = 0; d < dim; ++d)
        result.out[row.index * dim + d] += p * KeyRow(v_, row.sequence, key, row.kv_head)[d];
    }
  });
  return result;
}

AttentionProblem::Gradients AttentionProblem::ReferenceGradients(const std::vector<float>& dout) const {
  const int dim = shape_.head_dim;
  const Forward forward = Reference();
  Gradients g{std::vector<double>(q_elements()), std::vector<double>(k_.size()), std::vector<double>(v_.size())};
  ForRows([&](const RowOfHead& row) {
    const float *q = &q_[row.index * dim], *d_out = &dout[row.index * dim];
    double delta = 0;
    for (int d = 0; d < dim; ++d) delta += d_out[d] * forward.out[row.index * dim + d];
    for (int key = row.first; key <= row.position; ++key) {
      const float *k = KeyRow(k_, row.sequence, key, row.kv_head), *v = KeyRow(v_, row.sequence, key, row.kv_head);
      double slope, dp = 0;
      const double p = std::exp(Score(q, k, &slope) - forward.lse[row.index]);
      for (int d = 0; d < dim; ++d) dp += static_cast<double>(d_out[d]) * v[d];
      const double ds = p * (dp - delta) * slope;
      for (int d = 0; d < dim; ++d) {
        g.dv[v + d - v_.data()] += p * d_out[d];
        g.dk[k + d - k_.data()] += ds * q[d];
        g.dq[row.index * dim + d] += ds * k[d];
      }
    }
  });
  return g;
}

}  // namespace tandem::kernels
