// What a model is, as data: everything that distinguishes one family of decoders from another. The forward and the
// backward are driven by this alone; families.cc reads it from a config.json. Only what Tandem runs exactly passes;
// everything else is refused with the field and its value, because a model that is run almost right gives text that is
// almost right.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "base/json.h"
#include "model/rope_table.h"
#include "tandem/linears.h"
#include "tandem/op_args.h"
#include "tandem/tensor.h"

namespace tandem {

enum class NormKind { kRms, kLayer };

// The norms of one half f of a block (attention, MLP), by the name of their weight below the layer; "" where there is
// none:  y = after(x + out(f(in(x))))
struct HalfNorms {
  std::string in, out, after;
};

// One layer's attention.
struct LayerDesc {
  int window = 0;  // positions that a row sees, its own included; 0: all
  int rope = 0;    // which of ModelDesc::ropes
};

// Routed experts in place of one MLP; count 0: none. Below the layer: router ".weight" [count, hidden] and, for each
// expert, "<prefix>.<number>.<gate|up|down>.weight".
struct ExpertsDesc {
  int count = 0;
  RouterOptions routing;
  std::string router, prefix, gate, up, down;
};

// Names of what stands once in a checkpoint; "" where the family has none.
struct TensorNames {
  std::string embedding = "model.embed_tokens";
  std::string positions;                // learned: [max_context + position_offset, hidden]
  std::string project_in, project_out;  // between the embedding's width and hidden
  std::string final_norm = "model.norm";
  std::string head = "lm_head";
};

struct ModelDesc {
  int hidden = 0;           // 2048
  int embedding_width = 0;  // hidden, but where there are projections
  int ffn = 0;              // 5632; of one expert where there are experts
  int num_layers = 0;       // 22
  int num_heads = 0;        // 32; a multiple of num_kv_heads
  int num_kv_heads = 0;     // 4
  int head_dim = 0;         // 64; even; num_heads * head_dim need not be hidden
  int vocab = 0;            // 32000 rows of the embedding
  int max_context = 0;      // 2048 positions

  NormKind norm = NormKind::kRms;
  float norm_eps = 0;
  float norm_offset = 0;  // Gemma's norms multiply by 1 + weight
  HalfNorms attention_norms = {.in = "input_layernorm", .out = "", .after = ""};
  HalfNorms mlp_norms = {.in = "post_attention_layernorm", .out = "", .after = ""};
  std::string q_norm, k_norm;  // RMS norms over each head, before RoPE: below the layer; "": none

  Activation activation = Activation::kSilu;
  bool gated = true;  // activation(gate) * up; else activation(up)
  ExpertsDesc experts;

  std::vector<LayerDesc> layers;  // [num_layers]
  std::vector<RopeDesc> ropes;    // empty: positions are learned
  int position_offset = 0;        // row of the learned positions that position 0 takes
  float attention_scale = 0;
  float attention_soft_cap = 0, logit_soft_cap = 0;  // 0: none
  float embedding_scale = 1;

  bool tie_word_embeddings = false;  // the head is the embedding
  LinearNames linears;
  std::array<bool, kNumLinears> biases = {};  // by LinearKind
  TensorNames names;

  DType dtype = DType::kF32;  // as the config declares it; the checkpoint's tensors have the last word
  std::optional<int32_t> bos_token_id;
  std::vector<int32_t> eos_token_ids;  // of config.json; generation_config.json may say otherwise and is read by serve

  int q_size() const { return num_heads * head_dim; }
  int kv_size() const { return num_kv_heads * head_dim; }
  bool has_bias(LinearKind kind) const { return biases[static_cast<int>(kind)]; }
  LinearShapes linear_shapes() const;  // without those of experts: no adapter attaches to them
  int64_t num_parameters() const;      // a tied embedding counts once
};

// Of `directory`/config.json. INVALID_ARGUMENT names the file, the field, what it is and what is wanted.
absl::StatusOr<ModelDesc> LoadModelDesc(const std::string& directory);

// The same of a parsed config.
absl::StatusOr<ModelDesc> ParseModelDesc(const Json& config);

}  // namespace tandem
