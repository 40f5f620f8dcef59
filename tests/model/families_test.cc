// That the goldens of the families hold us to something: a model whose config.json lacks one feature, or has it a
// little different, must be far from its golden. logits_test.cc checks that with the true config it is equal.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "model/model_fixture.h"

namespace tandem {
namespace {

struct Mutation {
  std::string name;  // of the test
  std::string model;
  std::string pointer;  // JSON pointer into config.json
  Json value;           // null: the field is null; a discarded value: it is absent
};
void PrintTo(const Mutation& mutation, std::ostream* out) {
  *out << mutation.model << " " << mutation.pointer << " " << mutation.value;
}

// The golden's directory with another config.json.
std::filesystem::path MutatedDirectory(const Mutation& mutation) {
  const std::filesystem::path from = GoldenPath("models/" + mutation.model);
  const std::filesystem::path to = std::filesystem::path(testing::TempDir()) / ("mutated_" + mutation.name);
  std::filesystem::remove_all(to);
  std::filesystem::create_directories(to);
  Json config = GoldenJson("models/" + mutation.model + "/config.json");
  const Json::json_pointer pointer(mutation.pointer);
  EXPECT_TRUE(config.contains(pointer)) << mutation.pointer;
  EXPECT_NE(config[pointer], mutation.value);
  config[pointer] = mutation.value;
  std::ofstream(to / "config.json") << config;
  std::filesystem::create_symlink(from / "model.safetensors", to / "model.safetensors");
  return to;
}

class MutationTest : public testing::TestWithParam<Mutation> {};

TEST_P(MutationTest, IsFarFromTheGolden) {
  const std::filesystem::path directory = MutatedDirectory(GetParam());
  const LoadedModel loaded(directory);
  const Golden golden("models/" + GetParam().model);
  const std::vector<float> logits = loaded.Logits(golden.ints("long.ids"));
  const std::vector<int32_t> positions = golden.ints("long.positions");
  const std::span<const float> want = golden.floats("long.logits");
  const size_t vocab = loaded.desc.vocab;
  double worst = 0;
  for (size_t i = 0; i < positions.size(); ++i) {
    worst = std::max(
        worst, RelativeError(std::span(logits).subspan(positions[i] * vocab, vocab), want.subspan(i * vocab, vocab)));
  }
  EXPECT_GT(worst, 1e-2) << "a hundred times what equals a golden";
  std::filesystem::remove_all(directory);
}

const Mutation kMutations[] = {
    {"LinearFactor", "llama_linear", "/rope_parameters/factor", 5.0},
    {"DynamicFactor", "llama_dynamic", "/rope_parameters/factor", 5.0},
    {"Llama3Factor", "llama3_rope", "/rope_parameters/factor", 4.0},
    {"Llama3HighFrequency", "llama3_rope", "/rope_parameters/high_freq_factor", 2.0},
    {"YarnFactor", "llama_yarn", "/rope_parameters/factor", 3.0},
    {"YarnBetaFast", "llama_yarn", "/rope_parameters/beta_fast", 3.0},
    {"LongropeOriginalContext", "llama_longrope", "/rope_parameters/original_max_position_embeddings", 60},
    {"MistralWindow", "mistral", "/sliding_window", 21},
    {"QwenWindow", "qwen2", "/sliding_window", 21},
    {"QwenWindowOfLayers", "qwen2", "/layer_types", Json::array({"sliding_attention", "sliding_attention"})},
    {"QwenMoeTopK", "qwen3_moe", "/num_experts_per_tok", 2},
    {"QwenMoeNormalization", "qwen3_moe", "/norm_topk_prob", true},
    {"MixtralTopK", "mixtral", "/num_experts_per_tok", 1},
    {"OptActivation", "opt", "/activation_function", "gelu"},
    {"GemmaTheta", "gemma", "/rope_parameters/rope_theta", 1000.0},
    {"Gemma2Window", "gemma2", "/sliding_window", 21},
    {"Gemma2AttentionCap", "gemma2", "/attn_logit_softcapping", nullptr},
    {"Gemma2LogitCap", "gemma2", "/final_logit_softcapping", nullptr},
    {"Gemma2Scale", "gemma2", "/query_pre_attn_scalar", 16},
    {"Gemma2Activation", "gemma2", "/hidden_activation", "silu"},
    {"Gemma3LocalTheta", "gemma3", "/rope_parameters/sliding_attention/rope_theta", 200.0},
    {"Gemma3GlobalFactor", "gemma3", "/rope_parameters/full_attention/factor", 4.0},
    {"Gemma3Layers", "gemma3", "/layer_types",
     Json::array({"full_attention", "sliding_attention", "sliding_attention", "full_attention"})},
};

INSTANTIATE_TEST_SUITE_P(Golden, MutationTest, testing::ValuesIn(kMutations),
                         [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace tandem
