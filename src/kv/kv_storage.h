// The bytes of the paged KV pool: for the model. Which block belongs to whom is BlockPool's business.
#pragma once

#include <vector>

#include "tandem/backend.h"

namespace tandem {

struct KvShape {
  int num_layers = 0, num_blocks = 0, block_size = 0, num_kv_heads = 0, head_dim = 0;
  DType dtype = DType::kF32;  // f32 or bf16

  size_t BytesPerLayerHalf() const {  // keys or values of one layer
    return static_cast<size_t>(num_blocks) * block_size * num_kv_heads * head_dim * ByteSize(dtype);
  }
  size_t TotalBytes() const { return 2 * BytesPerLayerHalf() * num_layers; }
};

// Owns the pool on the backend's device; the backend must outlive it.
class KvStorage {
 public:
  KvStorage(Backend& backend, const KvShape& shape);
  KvStorage(const KvStorage&) = delete;
  KvStorage& operator=(const KvStorage&) = delete;
  ~KvStorage();

  const PagedKv& layer(int i) const { return layers_[i]; }
  const KvShape& shape() const { return shape_; }

 private:
  Backend& backend_;
  const KvShape shape_;
  std::vector<PagedKv> layers_;
};

}  // namespace tandem
