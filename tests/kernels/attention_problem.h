// Attention on the emulated device: random rows of some sequences over a paged pool that holds NaNs wherever nobody
// wrote, and the same in double precision, straight from the definition.
#pragma once

#include <cstdint>
#include <vector>

#include "attention/args.h"
#include "attention/backward.h"

namespace tandem::kernels {

// Values on the emulated device; new ones are NaNs.
template <typename T>
class DeviceArray {
 public:
  explicit DeviceArray(size_t count) : count_(count) { Check(cudaMalloc(&data_, count * sizeof(T))); }
  explicit DeviceArray(const std::vector<T>& values) : DeviceArray(values.size()) { Write(values); }
  DeviceArray(const DeviceArray&) = delete;
  DeviceArray& operator=(const DeviceArray&) = delete;
  ~DeviceArray() { cudaFree(data_); }

  T* data() const { return static_cast<T*>(data_); }
  void Write(const std::vector<T>& values) {
    Check(cudaMemcpy(data_, values.data(), count_ * sizeof(T), cudaMemcpyHostToDevice));
  }
  std::vector<T> Read() const {
    std::vector<T> values(count_);
    Check(cudaMemcpy(values.data(), data_, count_ * sizeof(T), cudaMemcpyDeviceToHost));
    return values;
  }

 private:
  static void Check(cudaError_t error);
  size_t count_;
  void* data_ = nullptr;
};

struct AttentionShape {
  Type type = Type::kBf16;     // of rows
  Type kv_type = Type::kBf16;  // of the pool
  int num_kv_heads = 2, group = 2, head_dim = 64, block_size = 16;
  int window = 0;
  float soft_cap = 0;
  struct Rows {
    int first_position, num_rows;
  };
  std::vector<Rows> sequences;

  int num_heads() const { return num_kv_heads * group; }
  int num_rows() const;
  float scale() const;
};

// Rows of floats, rounded to the type they have on the device.
std::vector<float> RandomRows(uint64_t seed, int64_t count, Type type);
// To and from device memory of `type`.
std::vector<uint8_t> ToBytes(const std::vector<float>& values, Type type);
std::vector<float> FromBytes(const std::vector<uint8_t>& bytes, Type type);

class AttentionProblem {
 public:
  explicit AttentionProblem(const AttentionShape& shape);

  struct Forward {
    std::vector<double> out, lse;  // [rows, heads, head_dim], [rows, heads]
  };
  Forward Reference() const;
  struct Gradients {
    std::vector<double> dq, dk, dv;  // of the only sequence; dk, dv [context, kv_heads, head_dim], from zero
  };
  Gradients ReferenceGradients(const std::vector<float>& dout) const;

  AttentionArgs Args() const;  // without out, lse and spans
  const AttentionShape& shape() const { return shape_; }
  const std::vector<AttentionSpan>& spans() const { return spans_; }
  const std::vector<int32_t>& blocks() const { return blocks_; }
  int64_t q_elements() const { return static_cast<int64_t>(shape_.num_rows()) * shape_.num_heads() * shape_.head_dim; }
  KvPool pool() const;
  const int32_t* device_blocks() const { return device_blocks_.data(); }

 private:
  // One query head of one row sees keys [first, position]; `index` in [rows, heads].
  struct RowOfHead {
    int sequence, kv_head, first, position;
    int64_t index;
  };
  template <typename Fn>
  void ForRows(Fn&& fn) const;
  double Score(const float* q, const float* k, double* through_cap) const;
  const float* KeyRow(const std::vector<float>& rows, int sequence, int position, int kv_head) const;

  const AttentionShape shape_;
  std::vector<AttentionSpan> spans_;
  std::vector<int32_t> blocks_;
  std::vector<int> contexts_first_;  // row of k_, v_ that is position 0 of each sequence
  std::vector<float> q_, k_, v_;
  DeviceArray<uint8_t> device_q_, keys_, values_;
  DeviceArray<int32_t> device_blocks_;
};

}  // namespace tandem::kernels
