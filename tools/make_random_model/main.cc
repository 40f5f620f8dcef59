// Writes a Llama-architecture Hugging Face directory with random weights: for benchmarks and load tests, where only the
// shape counts.
//
//   make_random_model OUT [--shape 1.1b|8b|tiny] [--hidden N ...] [--dtype bf16|f32] [--seed N]
//
// One layer per shard, so memory stays at a few layers whatever the model's size.
#include <sys/stat.h>

#include <cmath>
#include <iostream>
#include <map>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/file.h"
#include "base/status.h"
#include "make_random_model/tokenizer_files.h"
#include "store/safetensors.h"
#include "tandem/linears.h"
#include "tensor/dtype.h"
#include "tensor/tensor.h"

namespace tandem {
namespace {

struct ModelShape {
  int layers = 0, hidden = 0, heads = 0, kv_heads = 0, ffn = 0, vocab = 0, context = 0;
  double rope_theta = 10000;
  int head_dim() const { return hidden / heads; }
};

const std::map<std::string, ModelShape>& NamedShapes() {
  static const auto* shapes = new std::map<std::string, ModelShape>{
      {"tiny", {2, 64, 4, 2, 192, 512, 512}},
      {"1.1b", {22, 2048, 32, 4, 5632, 32000, 2048}},
      {"8b", {32, 4096, 32, 8, 14336, 128256, 8192, 500000}},
  };
  return *shapes;
}

struct Options {
  std::string directory, shape = "1.1b", dtype = "bf16";
  uint64_t seed = 0;
};

// Uniform with the standard deviation that Llama is initialised with. splitmix64 (Steele, Lea, Flood 2014): four
// numbers of 16 bits from each draw.
class RandomWeights {
 public:
  RandomWeights(uint64_t seed, DType dtype) : state_(seed), dtype_(dtype) {}

  Tensor Matrix(int64_t rows, int64_t columns) {
    static const float kScale = 0.02f * std::sqrt(3.0f) * 0x1p-15f;
    Tensor tensor = Tensor::Empty(dtype_, {rows, columns});
    uint64_t draw = 0;
    for (int64_t i = 0, n = rows * columns; i < n; ++i, draw >>= 16) {
      if (i % 4 == 0) draw = Next();
      Set(tensor, i, static_cast<float>(static_cast<int16_t>(draw & 0xffff)) * kScale);
    }
    return tensor;
  }
  Tensor Ones(int64_t size) {
    Tensor tensor = Tensor::Empty(dtype_, {size});
    for (int64_t i = 0; i < size; ++i) Set(tensor, i, 1.0f);
    return tensor;
  }

 private:
  void Set(Tensor& tensor, int64_t i, float value) const {
    if (dtype_ == DType::kBf16) {
      static_cast<uint16_t*>(tensor.data())[i] = F32ToBf16(value);
    } else {
      tensor.f32()[i] = value;
    }
  }
  uint64_t Next() {
    uint64_t z = state_ += 0x9e3779b97f4a7c15ull;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return z ^ (z >> 31);
  }

  uint64_t state_;
  const DType dtype_;
};

Json ConfigOf(const ModelShape& shape, DType dtype) {
  return {{"architectures", {"LlamaForCausalLM"}},
          {"model_type", "llama"},
          {"vocab_size", shape.vocab},
          {"hidden_size", shape.hidden},
          {"intermediate_size", shape.ffn},
          {"num_hidden_layers", shape.layers},
          {"num_attention_heads", shape.heads},
          {"num_key_value_heads", shape.kv_heads},
          {"head_dim", shape.head_dim()},
          {"max_position_embeddings", shape.context},
          {"rms_norm_eps", 1e-5},
          {"hidden_act", "silu"},
          {"tie_word_embeddings", false},
          {"attention_bias", false},
          {"mlp_bias", false},
          {"rope_theta", shape.rope_theta},
          {"rope_scaling", nullptr},
          {"bos_token_id", kBosToken},
          {"eos_token_id", kEosToken},
          {"torch_dtype", dtype == DType::kBf16 ? "bfloat16" : "float32"}};
}

using Shard = std::vector<std::pair<std::string, Tensor>>;

// Shard 0 holds what belongs to no layer, shard i + 1 layer i.
Shard MakeShard(const ModelShape& shape, int number, RandomWeights& random) {
  Shard shard;
  if (number == 0) {
    shard.emplace_back("model.embed_tokens.weight", random.Matrix(shape.vocab, shape.hidden));
    shard.emplace_back("lm_head.weight", random.Matrix(shape.vocab, shape.hidden));
    shard.emplace_back("model.norm.weight", random.Ones(shape.hidden));
    return shard;
  }
  const int layer = number - 1, q = shape.hidden, kv = shape.kv_heads * shape.head_dim();
  const auto linear = [&](LinearKind kind, int64_t out, int64_t in) {
    shard.emplace_back(LinearNames().ModuleName(layer, kind) + ".weight", random.Matrix(out, in));
  };
  linear(LinearKind::kQProj, q, shape.hidden);
  linear(LinearKind::kKProj, kv, shape.hidden);
  linear(LinearKind::kVProj, kv, shape.hidden);
  linear(LinearKind::kOProj, shape.hidden, q);
  linear(LinearKind::kGateProj, shape.ffn, shape.hidden);
  linear(LinearKind::kUpProj, shape.ffn, shape.hidden);
  linear(LinearKind::kDownProj, shape.hidden, shape.ffn);
  const std::string prefix = absl::StrCat("model.layers.", layer);
  shard.emplace_back(prefix + ".input_layernorm.weight", random.Ones(shape.hidden));
  shard.emplace_back(prefix + ".post_attention_layernorm.weight", random.Ones(shape.hidden));
  return shard;
}

absl::Status WriteJson(const std::string& directory, const std::string& name, const Json& json) {
  return WriteFileAtomically(absl::StrCat(directory, "/", name), json.dump(1));
}

absl::Status WriteModel(const Options& options, const ModelShape& shape) {
  if (shape.hidden % shape.heads != 0 || shape.heads % shape.kv_heads != 0 || shape.vocab < kMinRandomVocab) {
    return absl::InvalidArgumentError(absl::StrCat(
        "hidden ", shape.hidden, ", heads ", shape.heads, ", KV heads ", shape.kv_heads, ", vocabulary ", shape.vocab,
        "; each of the first must be a multiple of the next, the last at least ", kMinRandomVocab));
  }
  if (::mkdir(options.directory.c_str(), 0755) != 0 && errno != EEXIST) {
    return absl::ErrnoToStatus(errno, options.directory);
  }
  const DType dtype = options.dtype == "bf16" ? DType::kBf16 : DType::kF32;
  RandomWeights random(options.seed, dtype);
  Json weight_map = Json::object();
  size_t bytes = 0;
  for (int number = 0; number <= shape.layers; ++number) {
    const Shard shard = MakeShard(shape, number, random);
    const std::string file = absl::StrFormat("model-%05d-of-%05d.safetensors", number + 1, shape.layers + 1);
    std::vector<NamedTensor> tensors;
    for (const auto& [name, tensor] : shard) {
      tensors.push_back({name, tensor.view()});
      weight_map[name] = file;
      bytes += tensor.size_bytes();
    }
    RETURN_IF_ERROR(WriteSafetensors(absl::StrCat(options.directory, "/", file), tensors, {{"format", "pt"}}));
    std::cerr << "\r" << file << ", " << bytes / 1000000 << " MB" << std::flush;
  }
  std::cerr << "\n";
  RETURN_IF_ERROR(WriteJson(options.directory, "model.safetensors.index.json",
                            {{"metadata", {{"total_size", bytes}}}, {"weight_map", weight_map}}));
  RETURN_IF_ERROR(WriteJson(options.directory, "tokenizer.json", RandomTokenizer(shape.vocab)));
  RETURN_IF_ERROR(WriteJson(options.directory, "tokenizer_config.json", RandomTokenizerConfig()));
  RETURN_IF_ERROR(WriteJson(options.directory, "generation_config.json",
                            {{"bos_token_id", kBosToken}, {"eos_token_id", kEosToken}}));
  return WriteJson(options.directory, "config.json", ConfigOf(shape, dtype));  // last: whoever finds it finds the rest
}

int Main(int argc, char** argv) {
  CLI::App app{"Writes a Llama-architecture model directory with random weights.", "make_random_model"};
  Options options;
  std::vector<std::string> names;
  for (const auto& [name, shape] : NamedShapes()) names.push_back(name);
  ModelShape given;
  app.add_option("OUT", options.directory, "The directory to write")->required();
  app.add_option("--shape", options.shape, "Where the other options are not given")
      ->check(CLI::IsMember(names))
      ->capture_default_str();
  const std::pair<const char*, int ModelShape::*> sizes[] = {
      {"--layers", &ModelShape::layers},     {"--hidden", &ModelShape::hidden}, {"--heads", &ModelShape::heads},
      {"--kv-heads", &ModelShape::kv_heads}, {"--ffn", &ModelShape::ffn},       {"--vocab", &ModelShape::vocab},
      {"--context", &ModelShape::context}};
  for (const auto& [name, member] : sizes) app.add_option(name, given.*member)->check(CLI::Range(1, 1 << 20));
  app.add_option("--dtype", options.dtype)->check(CLI::IsMember({"bf16", "f32"}))->capture_default_str();
  app.add_option("--seed", options.seed)->capture_default_str();
  CLI11_PARSE(app, argc, argv);

  ModelShape shape = NamedShapes().at(options.shape);
  for (const auto& [name, member] : sizes) {
    if (given.*member != 0) shape.*member = given.*member;
  }
  const absl::Status status = WriteModel(options, shape);
  if (status.ok()) return 0;
  std::cerr << "make_random_model: " << status.message() << "\n";
  return 1;
}

}  // namespace
}  // namespace tandem

int main(int argc, char** argv) {
  return tandem::Main(argc, argv);
}
