// A model on its own: no scheduler, no engine. Builds batches by hand, runs sequences in chunks and training samples in
// windows, so that tests can choose every split.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <memory>
#include <numeric>
#include <string>
#include <vector>

#include "adapter/adapter_store.h"
#include "golden/golden.h"
#include "model/model.h"
#include "test_backend.h"

namespace tandem {

class LoadedModel {
 public:
  explicit LoadedModel(const std::string& name, int threads = 2)
      : LoadedModel(std::filesystem::path(GoldenPath("models/" + name)), threads) {}
  explicit LoadedModel(const std::filesystem::path& directory, int threads = 2)
      : backend(MakeTestBackend(threads)), desc(*LoadModelDesc(directory.string())) {
    adapters = std::make_unique<AdapterStore>(*backend, desc.linear_shapes());
    auto loaded = Model::Load(directory.string(), {.max_batch_rows = 256, .kv_blocks = 64}, *backend, *adapters);
    EXPECT_TRUE(loaded.ok()) << loaded.status();
    model = *std::move(loaded);
    // Not in order, so that a page walk that ignores the table shows.
    for (BlockId id = 0; id < 64; ++id) blocks.push_back((id * 37 + 11) % 64);
  }

  // The blocks of sequence `index`, for sequences of up to 256 tokens.
  std::span<const BlockId> Blocks(int index) const { return std::span(blocks).subspan(index * 16, 16); }

  // Logits [ids.size(), vocab], fed in chunks of the given sizes (the rest in one), beside `others` rows of another
  // sequence in every chunk.
  std::vector<float> Logits(const std::vector<int32_t>& ids, const std::vector<int>& chunks = {},
                            AdapterRef adapter = {}) const {
    std::vector<float> logits;
    int position = 0;
    for (size_t c = 0; position < static_cast<int>(ids.size()); ++c) {
      const int rest = static_cast<int>(ids.size()) - position;
      const int rows = c < chunks.size() ? std::min(chunks[c], rest) : rest;
      Batch batch;
      Append(batch, {.sequence = 1, .adapter = adapter, .num_rows = rows, .first_position = position}, ids, 0);
      const Tensor out = model->Logits(batch);
      logits.insert(logits.end(), out.f32(), out.f32() + out.num_elements());
      position += rows;
    }
    return logits;
  }

  // Appends rows [first_position, + num_rows) of ids as a span; labels where given.
  void Append(Batch& batch, Span span, const std::vector<int32_t>& ids, int block_index,
              const std::vector<int32_t>& labels = {}) const {
    span.first_row = batch.num_rows();
    span.blocks = Blocks(block_index);
    for (int i = 0; i < span.num_rows; ++i) {
      const int position = span.first_position + i;
      batch.token_ids.push_back(ids[position]);
      batch.labels.push_back(labels.empty() ? kIgnoredLabel : labels[position]);
    }
    batch.spans.push_back(span);
  }

  std::unique_ptr<Backend> backend;
  ModelDesc desc;
  std::unique_ptr<AdapterStore> adapters;
  std::unique_ptr<Model> model;
  std::vector<BlockId> blocks;
};

}  // namespace tandem
