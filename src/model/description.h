// What a model is, from its config.json. Only what Tandem runs exactly passes; everything else is refused with the
// field and its value, because a model that is run almost right gives text that is almost right.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "base/json.h"
#include "tandem/linears.h"
#include "tandem/tensor.h"

namespace tandem {

// A Llama-architecture decoder: RMS norm, grouped-query attention with RoPE, SwiGLU; no biases.
struct ModelDesc {
  int hidden = 0;        // 2048
  int ffn = 0;           // 5632
  int num_layers = 0;    // 22
  int num_heads = 0;     // 32; a multiple of num_kv_heads
  int num_kv_heads = 0;  // 4
  int head_dim = 0;      // 64; even; num_heads * head_dim need not be hidden
  int vocab = 0;         // 32000 rows of the embedding
  int max_context = 0;   // 2048 positions
  float rms_norm_eps = 0;
  double rope_theta = 0;
  bool tie_word_embeddings = false;  // the head is the embedding
  DType dtype = DType::kF32;         // as the config declares it; the checkpoint's tensors have the last word
  std::optional<int32_t> bos_token_id;
  std::vector<int32_t> eos_token_ids;  // of config.json; generation_config.json may say otherwise and is read by serve

  int q_size() const { return num_heads * head_dim; }
  int kv_size() const { return num_kv_heads * head_dim; }
  LinearShapes linear_shapes() const;
  int64_t num_parameters() const;  // a tied embedding counts once
};

// Of `directory`/config.json. INVALID_ARGUMENT names the file, the field, what it is and what is wanted.
absl::StatusOr<ModelDesc> LoadModelDesc(const std::string& directory);

// The same of a parsed config.
absl::StatusOr<ModelDesc> ParseModelDesc(const Json& config);

}  // namespace tandem
