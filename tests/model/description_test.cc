#include "model/description.h"

#include <cmath>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace tandem {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

// As transformers 4 writes it.
Json Config() {
  return Json::parse(R"({
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "attention_bias": false, "mlp_bias": false,
    "bos_token_id": 1, "eos_token_id": 2, "head_dim": 16, "hidden_act": "silu", "hidden_size": 64,
    "initializer_range": 0.02, "intermediate_size": 160, "max_position_embeddings": 512, "num_attention_heads": 8,
    "num_hidden_layers": 3, "num_key_value_heads": 2, "pretraining_tp": 1, "rms_norm_eps": 1e-5, "rope_scaling": null,
    "rope_theta": 500000.0, "tie_word_embeddings": true, "torch_dtype": "bfloat16", "use_cache": true,
    "vocab_size": 320})");
}

// Config() with one field changed.
Json With(const char* key, Json value) {
  Json config = Config();
  config[key] = std::move(value);
  return config;
}

Json Without(const char* key) {
  Json config = Config();
  config.erase(key);
  return config;
}

std::string Refusal(const Json& config) {
  const absl::Status status = ParseModelDesc(config).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << config;
  return std::string(status.message());
}

TEST(ModelDesc, ReadsEveryField) {
  const auto desc = ParseModelDesc(Config());
  ASSERT_TRUE(desc.ok()) << desc.status();
  EXPECT_EQ(desc->hidden, 64);
  EXPECT_EQ(desc->ffn, 160);
  EXPECT_EQ(desc->num_layers, 3);
  EXPECT_EQ(desc->num_heads, 8);
  EXPECT_EQ(desc->num_kv_heads, 2);
  EXPECT_EQ(desc->head_dim, 16);
  EXPECT_EQ(desc->vocab, 320);
  EXPECT_EQ(desc->max_context, 512);
  EXPECT_EQ(desc->norm_eps, 1e-5f);
  ASSERT_EQ(desc->ropes.size(), 1u);
  EXPECT_EQ(desc->ropes[0].theta, 500000.0);
  EXPECT_TRUE(desc->tie_word_embeddings);
  EXPECT_EQ(desc->dtype, DType::kBf16);
  EXPECT_EQ(desc->bos_token_id, 1);
  EXPECT_THAT(desc->eos_token_ids, ElementsAre(2));
}

TEST(ModelDesc, ReadsTheSpellingOfTransformers5) {
  Json config = Without("torch_dtype");
  config.erase("rope_theta");
  config.erase("rope_scaling");
  config["dtype"] = "float32";
  config["rope_parameters"] = {{"rope_theta", 250000.0}, {"rope_type", "default"}};
  const auto desc = ParseModelDesc(config);
  ASSERT_TRUE(desc.ok()) << desc.status();
  EXPECT_EQ(desc->dtype, DType::kF32);
  EXPECT_EQ(desc->ropes[0].theta, 250000.0);
}

TEST(ModelDesc, AbsentFieldsTakeTheDefaultsOfLlamaConfig) {
  Json config = Config();
  for (const char* key : {"num_key_value_heads", "head_dim", "rope_theta", "tie_word_embeddings", "bos_token_id",
                          "eos_token_id", "rms_norm_eps", "hidden_act"}) {
    config.erase(key);
  }
  const auto desc = ParseModelDesc(config);
  ASSERT_TRUE(desc.ok()) << desc.status();
  EXPECT_EQ(desc->num_kv_heads, 8);
  EXPECT_EQ(desc->head_dim, 8);
  EXPECT_EQ(desc->ropes[0].theta, 10000.0);
  EXPECT_FALSE(desc->tie_word_embeddings);
  EXPECT_EQ(desc->bos_token_id, std::nullopt);
  EXPECT_THAT(desc->eos_token_ids, IsEmpty());
  EXPECT_EQ(desc->norm_eps, 1e-6f);
}

TEST(ModelDesc, ReadsSeveralEndTokens) {
  EXPECT_THAT(ParseModelDesc(With("eos_token_id", {2, 7}))->eos_token_ids, ElementsAre(2, 7));
  EXPECT_THAT(Refusal(With("eos_token_id", {2, 320})), HasSubstr("eos_token_id is the number 320, want a token id"));
  EXPECT_THAT(Refusal(With("bos_token_id", "<s>")), HasSubstr("bos_token_id is the string '<s>'"));
}

TEST(ModelDesc, CountsParameters) {
  // 3 layers of q 64*128, k and v 64*32 each, o 128*64, gate, up and down 64*160 each, two norms; last norm; embedding.
  const int64_t layer = 64 * 128 + 2 * 64 * 32 + 128 * 64 + 3 * 64 * 160 + 2 * 64;
  EXPECT_EQ(ParseModelDesc(Config())->num_parameters(), 3 * layer + 64 + 320 * 64);
  EXPECT_EQ(ParseModelDesc(With("tie_word_embeddings", false))->num_parameters(), 3 * layer + 64 + 2 * 320 * 64);
}

TEST(ModelDesc, GivesTheShapeOfEveryLinear) {
  const LinearShapes shapes = ParseModelDesc(Config())->linear_shapes();
  EXPECT_EQ(shapes.num_layers, 3);
  EXPECT_EQ(shapes[LinearKind::kQProj], (LinearDims{64, 128}));
  EXPECT_EQ(shapes[LinearKind::kKProj], (LinearDims{64, 32}));
  EXPECT_EQ(shapes[LinearKind::kVProj], (LinearDims{64, 32}));
  EXPECT_EQ(shapes[LinearKind::kOProj], (LinearDims{128, 64}));
  EXPECT_EQ(shapes[LinearKind::kGateProj], (LinearDims{64, 160}));
  EXPECT_EQ(shapes[LinearKind::kUpProj], (LinearDims{64, 160}));
  EXPECT_EQ(shapes[LinearKind::kDownProj], (LinearDims{160, 64}));
}

TEST(ModelDesc, RefusesWhatItDoesNotRunWithFieldAndValue) {
  EXPECT_THAT(Refusal(With("architectures", {"GPT2LMHeadModel"})),
              HasSubstr("architectures is the string 'GPT2LMHeadModel', want one of LlamaForCausalLM, MistralForC"));
  EXPECT_THAT(Refusal(With("model_type", "gpt2")),
              HasSubstr("model_type is the string 'gpt2', want one of llama, mis"));
  EXPECT_THAT(Refusal(With("architectures", "LlamaForCausalLM")), HasSubstr("architectures is the string"));
  EXPECT_THAT(Refusal(With("model_type", "mistral")), HasSubstr("model_type is the string 'mistral', want llama"));
  EXPECT_THAT(Refusal(With("hidden_act", "tanh")), HasSubstr("hidden_act is the string 'tanh', want silu, gelu"));
  EXPECT_THAT(Refusal(With("pretraining_tp", 2)), HasSubstr("pretraining_tp is the number 2, want 1"));
  EXPECT_THAT(Refusal(With("sliding_window", 4096)), HasSubstr("sliding_window is the number 4096, want null"));
  EXPECT_THAT(Refusal(With("quantization_config", Json::object())), HasSubstr("quantization_config is an object"));
  EXPECT_THAT(Refusal(With("partial_rotary_factor", 0.5)), HasSubstr("partial_rotary_factor is the number 0.5"));
  EXPECT_THAT(Refusal(With("torch_dtype", "float64")), HasSubstr("torch_dtype is the string 'float64'"));
}

TEST(ModelDesc, NamesTheArchitectureWhereNothingSaysIt) {
  Json config = Without("architectures");
  EXPECT_TRUE(ParseModelDesc(config).ok()) << "model_type says llama";
  config.erase("model_type");
  EXPECT_THAT(Refusal(config), HasSubstr("architectures is missing, want one of LlamaForCausalLM"));
}

TEST(ModelDesc, ReadsScaledRopes) {
  const auto linear = ParseModelDesc(With("rope_scaling", {{"type", "linear"}, {"factor", 4.0}}));
  ASSERT_TRUE(linear.ok()) << linear.status();
  EXPECT_EQ(linear->ropes[0].scaling, RopeScaling::kLinear);
  EXPECT_EQ(linear->max_context, 4 * 512);
  const auto yarn = ParseModelDesc(
      With("rope_scaling", {{"rope_type", "yarn"}, {"factor", 4.0}, {"original_max_position_embeddings", 256}}));
  ASSERT_TRUE(yarn.ok()) << yarn.status();
  EXPECT_EQ(yarn->max_context, 4 * 256);
  EXPECT_NEAR(yarn->ropes[0].attention_factor, 0.1 * std::log(4.0) + 1, 1e-12);
}

TEST(ModelDesc, RefusesRopesThatMissOrContradict) {
  EXPECT_THAT(Refusal(With("rope_scaling", {{"rope_type", "llama3"}, {"factor", 8.0}})),
              HasSubstr("rope_scaling: original_max_position_embeddings is missing"));
  EXPECT_THAT(Refusal(With("rope_scaling", {{"type", "linear"}})), HasSubstr("rope_scaling: factor is missing"));
  EXPECT_THAT(Refusal(With("rope_parameters", {{"rope_type", "spiral"}})),
              HasSubstr("rope_parameters.rope_type is the string 'spiral', want default, linear"));
  EXPECT_THAT(Refusal(With("rope_parameters", {{"factor", 2}})), HasSubstr("rope_parameters.factor is the number 2"));
  EXPECT_THAT(Refusal(With("rope_scaling", 2)), HasSubstr("rope_scaling is the number 2, want null or an object"));
  EXPECT_TRUE(ParseModelDesc(With("rope_scaling", {{"rope_type", "default"}})).ok());
}

TEST(ModelDesc, RefusesHeadsThatDoNotDivide) {
  EXPECT_THAT(Refusal(With("num_key_value_heads", 3)),
              HasSubstr("num_key_value_heads is 3, want a divisor of num_attention_heads 8"));
  EXPECT_THAT(Refusal(With("head_dim", 15)), HasSubstr("head_dim is 15, want an even number"));
  Json config = Without("head_dim");
  config["num_attention_heads"] = 6;
  EXPECT_THAT(Refusal(config), HasSubstr("num_attention_heads is 6, want a divisor of hidden_size 64"));
}

TEST(ModelDesc, RefusesMissingWrongAndAbsurdSizes) {
  for (const char* key : {"hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "vocab_size",
                          "max_position_embeddings"}) {
    EXPECT_THAT(Refusal(Without(key)), HasSubstr(std::string(key) + " is missing, want an integer"));
    EXPECT_THAT(Refusal(With(key, "64")), HasSubstr(std::string(key) + " is the string '64', want an integer"));
    EXPECT_THAT(Refusal(With(key, 64.5)), HasSubstr(std::string(key) + " is the number 64.5"));
    EXPECT_THAT(Refusal(With(key, 0)), HasSubstr(std::string(key) + " is 0, want from 1"));
    EXPECT_THAT(Refusal(With(key, -8)), HasSubstr(std::string(key) + " is -8, want from 1"));
    EXPECT_THAT(Refusal(With(key, INT64_MAX)), HasSubstr(key));
  }
  Json config = With("num_attention_heads", 1 << 16);
  config["num_key_value_heads"] = 1;
  config["head_dim"] = 1 << 16;
  EXPECT_THAT(Refusal(config), HasSubstr("num_attention_heads * head_dim is 65536 * 65536"));
}

TEST(ModelDesc, RefusesNumbersThatAreNotPositive) {
  EXPECT_THAT(Refusal(With("rms_norm_eps", 0)), HasSubstr("rms_norm_eps is the number 0, want a finite number > 0"));
  EXPECT_THAT(Refusal(With("rope_theta", -1.0)), HasSubstr("rope_theta is the number -1.0"));
  EXPECT_THAT(Refusal(With("rope_theta", "1e4")), HasSubstr("rope_theta is the string '1e4', want a number"));
  EXPECT_THAT(Refusal(With("rope_parameters", {{"rope_theta", 0}})), HasSubstr("rope_parameters: rope_theta is"));
}

TEST(ModelDesc, RefusesWhatIsNotAnObject) {
  EXPECT_THAT(Refusal(Json::array()), HasSubstr("an array, want an object"));
}

TEST(LoadModelDesc, ReadsTheConfigOfADirectoryAndNamesItInErrors) {
  const auto desc = LoadModelDesc(TANDEM_SOURCE_DIR "/tests/golden/models/gqa_untied");
  ASSERT_TRUE(desc.ok()) << desc.status();
  EXPECT_EQ(desc->num_heads, 2 * desc->num_kv_heads);
  EXPECT_FALSE(desc->tie_word_embeddings);
  EXPECT_EQ(LoadModelDesc("/nonexistent").status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(LoadModelDesc("/nonexistent").status().message()), HasSubstr("/nonexistent/config.json"));
}

TEST(Linears, AreNamedAsInACheckpoint) {
  const LinearNames llama;
  EXPECT_EQ(llama.ModuleName(3, LinearKind::kQProj), "model.layers.3.self_attn.q_proj");
  EXPECT_EQ(llama.ModuleName(11, LinearKind::kGateProj), "model.layers.11.mlp.gate_proj");
  for (const LinearKind kind : kAllLinears) EXPECT_EQ(llama.Find(llama.Name(kind)), kind);
  EXPECT_EQ(llama.Find("lm_head"), std::nullopt);
}

TEST(Linears, OfExpertsTakeNoAdapter) {
  const auto desc = LoadModelDesc(TANDEM_SOURCE_DIR "/tests/golden/models/mixtral");
  ASSERT_TRUE(desc.ok()) << desc.status();
  EXPECT_THAT(desc->linear_shapes().names.Kinds(),
              ElementsAre(LinearKind::kQProj, LinearKind::kKProj, LinearKind::kVProj, LinearKind::kOProj));
}

}  // namespace
}  // namespace tandem
