#include "kv/kv_storage.h"

namespace tandem {

KvStorage::KvStorage(Backend& backend, const KvShape& shape) : backend_(backend), shape_(shape) {
  for (int i = 0; i < shape.num_layers; ++i) {
    layers_.push_back({.keys = backend_.Allocate(shape.BytesPerLayerHalf()),
                       .values = backend_.Allocate(shape.BytesPerLayerHalf()),
                       .dtype = shape.dtype,
                       .num_blocks = shape.num_blocks,
                       .block_size = shape.block_size,
                       .num_kv_heads = shape.num_kv_heads,
                       .head_dim = shape.head_dim});
  }
}

KvStorage::~KvStorage() {
  for (const PagedKv& layer : layers_) {
    backend_.Free(layer.keys);
    backend_.Free(layer.values);
  }
}

}  // namespace tandem
