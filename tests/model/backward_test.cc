// Adapters of every method through the decoder: logits and gradients equal peft's, and windows change no bit of a
// gradient.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <random>

#include "adapter/peft_files.h"
#include "model/model_fixture.h"
#include "store/safetensors.h"

namespace tandem {
namespace {

// A training sample on its way through forward windows and backward units.
class Sample {
 public:
  Sample(const LoadedModel& loaded, const AdapterWeights& weights, AdapterRef adapter, std::vector<int32_t> ids,
         std::vector<int32_t> unshifted)
      : loaded_(loaded),
        adapter_(adapter),
        ids_(std::move(ids)),
        tape_(*loaded.backend, loaded.desc, loaded.model->activation_dtype(), static_cast<int>(ids_.size()),
              weights.spec().targets_that_read_output()) {
    ids_.pop_back();  // the last token is only ever a target
    labels_.assign(unshifted.begin() + 1, unshifted.end());
    gradients_.resize(loaded.desc.num_layers);
    for (const BypassWeights& bypass : weights.bypasses()) {
      BypassGradients& to = gradients_[bypass.layer].linears[static_cast<int>(bypass.linear)];
      const auto add = [&](const Tensor& parameter, TensorView& gradient) {
        if (parameter.empty()) return;
        gradient = storage_.emplace_back(*loaded.backend, DType::kF32, parameter.shape()).view();
      };
      add(bypass.a, to.da);
      add(bypass.b, to.db);
      add(bypass.factor, to.dfactor);
    }
    tape_.Begin(length(), &gradients_);
  }

  int length() const { return static_cast<int>(ids_.size()); }

  // Forward in windows that end at the given positions (ascending, the last is length()); the sum of losses. Each
  // window rides beside `beside` rows of another sequence.
  double Forward(const std::vector<int>& ends, int beside = 0) {
    double loss = 0;
    int begin = 0, other = 0;
    for (const int end : ends) {
      Batch batch;
      if (beside > 0) {
        loaded_.Append(batch, {.sequence = 9, .num_rows = beside, .first_position = other}, ids_, 1);
        other += beside;
      }
      loaded_.Append(batch,
                     {.sequence = 1,
                      .adapter = adapter_,
                      .kind = SpanKind::kTrainForward,
                      .num_rows = end - begin,
                      .first_position = begin,
                      .tape = &tape_},
                     ids_, 0, labels_);
      loss += loaded_.model->Run(batch).losses.back();
      begin = end;
    }
    return loss;
  }

  // Backward, for every layer, in windows that end at the given positions (ascending).
  void Backward(const std::vector<int>& ends) { loaded_.model->Run(BackwardBatch(ends)); }

  // The same beside forward rows of another sequence, iteration after iteration until all of it is done.
  void BackwardBeside(const std::vector<int>& ends, int rows) {
    std::vector<BackwardUnit> units = BackwardBatch(ends).backward;
    while (!units.empty()) {
      Batch batch;
      loaded_.Append(batch, {.sequence = 9, .num_rows = rows, .first_position = 0}, ids_, 1);
      batch.backward = units;
      batch.backward_beside = true;
      const int skipped = loaded_.model->Run(batch).backward_skipped;
      units.erase(units.begin(), units.end() - skipped);
    }
  }

  // Begun, and some of it perhaps done, with nobody told.
  void BeginBackwardBeside(const std::vector<int>& ends) {
    Batch batch = BackwardBatch(ends);
    loaded_.Append(batch, {.sequence = 9, .num_rows = 1, .first_position = 0}, ids_, 1);
    batch.backward_beside = true;
    loaded_.model->Run(batch);
  }

  Batch BackwardBatch(const std::vector<int>& ends) {
    Batch batch;
    for (int layer = loaded_.desc.num_layers - 1; layer >= 0; --layer) {
      for (int i = static_cast<int>(ends.size()) - 1; i >= 0; --i) {
        batch.backward.push_back({.sequence = 1,
                                  .layer = layer,
                                  .window = {i == 0 ? 0 : ends[i - 1], ends[i]},
                                  .adapter = adapter_,
                                  .blocks = loaded_.Blocks(0),
                                  .tape = &tape_});
      }
    }
    return batch;
  }

  // All gradients in the order of the adapter's bypasses and their parameters.
  std::vector<float> Gradients() const {
    std::vector<float> all;
    for (const DeviceTensor& tensor : storage_) {
      const std::vector<float> values = Read(tensor.view());
      all.insert(all.end(), values.begin(), values.end());
    }
    return all;
  }
  std::vector<float> Read(const TensorView& tensor) const { return ReadTensor(*loaded_.backend, tensor); }
  const BypassGradients& Of(const BypassWeights& bypass) const {
    return gradients_[bypass.layer].linears[static_cast<int>(bypass.linear)];
  }

 private:
  const LoadedModel& loaded_;
  const AdapterRef adapter_;
  std::vector<int32_t> ids_, labels_;
  Tape tape_;
  std::vector<DeviceTensor> storage_;
  std::vector<LayerGradients> gradients_;
};

std::vector<int> RandomEnds(std::mt19937& random, int length) {
  std::vector<int> ends;
  for (int i = 1; i < length; ++i) {
    if (random() % 7 == 0) ends.push_back(i);
  }
  ends.push_back(length);
  return ends;
}

// As the adapter's config says: its directory is in `golden`.
std::string BaseOf(const std::string& golden) {
  return GoldenJson(golden + "/random_b/adapter_config.json")["base_model_name_or_path"].get<std::string>();
}

// A parameter of a bypass, its name in files, and its gradient.
struct Parameter {
  const char* suffix;
  const Tensor* value;
  TensorView gradient;
};
std::vector<Parameter> ParametersOf(PeftMethod method, const BypassWeights& bypass, const BypassGradients& gradients) {
  switch (method) {
    case PeftMethod::kLora:
    case PeftMethod::kDora: {
      std::vector<Parameter> parameters = {{"lora_A.weight", &bypass.a, gradients.da},
                                           {"lora_B.weight", &bypass.b, gradients.db}};
      if (!bypass.factor.empty()) parameters.push_back({"lora_magnitude_vector", &bypass.factor, gradients.dfactor});
      return parameters;
    }
    case PeftMethod::kIa3:
      return {{"ia3_l", &bypass.factor, gradients.dfactor}};
    case PeftMethod::kBottleneck:
      return {{"bottleneck_down.weight", &bypass.a, gradients.da}, {"bottleneck_up.weight", &bypass.b, gradients.db}};
  }
  return {};
}

// ||w + scale b a|| of every row, from the checkpoint itself.
std::vector<double> NormsOf(const std::string& base, const AdapterWeights& weights, const BypassWeights& bypass) {
  const auto checkpoint = *Checkpoint::Open(GoldenPath("models/" + base));
  const TensorView w = *checkpoint->Find(weights.spec().names.ModuleName(bypass.layer, bypass.linear) + ".weight");
  const int64_t rank = weights.rank(), in = w.shape[1];
  std::vector<double> norms;
  for (int64_t row = 0; row < w.shape[0]; ++row) {
    double squares = 0;
    for (int64_t k = 0; k < in; ++k) {
      double value = w.f32()[row * in + k];
      for (int64_t r = 0; r < rank; ++r) {
        value += double{weights.scale()} * bypass.b.f32()[row * rank + r] * bypass.a.f32()[r * in + k];
      }
      squares += value * value;
    }
    norms.push_back(std::sqrt(squares));
  }
  return norms;
}

// "lora/qwen2" -> "lora_qwen2"
std::string TestName(std::string golden) {
  std::replace(golden.begin(), golden.end(), '/', '_');
  return golden;
}

class BackwardTest : public testing::TestWithParam<std::string> {
 protected:
  BackwardTest() : loaded(BaseOf(GetParam())), golden(GetParam()) {
    auto read = ReadPeftAdapter(GoldenPath(GetParam() + "/random_b"), loaded.desc.linear_shapes());
    EXPECT_TRUE(read.ok()) << read.status();
    weights = *std::move(read);
    EXPECT_TRUE(loaded.adapters->Load("golden", GoldenPath(GetParam() + "/random_b")).ok());
    lease = *loaded.adapters->Acquire("golden");
  }
  AdapterRef adapter() const { return lease->ref(); }
  Sample MakeSample(int index = 0) {
    const std::string name = "sample." + std::to_string(index);
    return Sample(loaded, weights, adapter(), golden.ints(name + ".ids"), golden.ints(name + ".labels"));
  }

  LoadedModel loaded;
  Golden golden;
  AdapterWeights weights;
  AdapterLease lease;
};

TEST_P(BackwardTest, LogitsThroughAdapterEqualPeft) {
  for (const std::string prompt : {"short", "long"}) {
    const std::vector<int32_t> ids = golden.ints(prompt + ".ids");
    const std::vector<float> logits = loaded.Logits(ids, {50}, adapter());
    const std::span<const float> want = golden.floats("random_b." + prompt + ".logits");
    const size_t vocab = loaded.desc.vocab;
    for (size_t row = 0; row * vocab < want.size(); ++row) {
      const size_t position = prompt == "short" ? row : golden.ints("long.positions")[row];
      EXPECT_LT(RelativeError(std::span(logits).subspan(position * vocab, vocab), want.subspan(row * vocab, vocab)),
                1e-4);
    }
  }
}

// With TANDEM_PEFT_CHECK_DIR set, adapter and logits stay there for tests/golden/check_peft.py to compare with peft.
TEST_P(BackwardTest, AnAdapterWrittenAndReadBackGivesTheSameLogits) {
  const char* kept = std::getenv("TANDEM_PEFT_CHECK_DIR");
  const std::filesystem::path directory =
      std::filesystem::path(kept != nullptr ? kept : testing::TempDir()) / ("peft_check_" + TestName(GetParam()));
  std::filesystem::remove_all(directory);
  std::filesystem::create_directories(directory);
  const std::string written = (directory / "adapter").string();
  ASSERT_TRUE(WritePeftAdapter(written, weights, "gqa_untied").ok());
  ASSERT_TRUE(loaded.adapters->Load("written", written).ok());
  const AdapterLease copy = *loaded.adapters->Acquire("written");

  std::vector<int32_t> ids = golden.ints("long.ids");
  std::vector<float> logits = loaded.Logits(ids, {}, copy->ref());
  EXPECT_EQ(logits, loaded.Logits(ids, {}, adapter()));
  const int64_t rows = static_cast<int64_t>(ids.size());
  const NamedTensor tensors[] = {{"long.ids", {ids.data(), DType::kI32, {rows}}},
                                 {"long.logits", View(logits.data(), {rows, loaded.desc.vocab})}};
  EXPECT_TRUE(WriteSafetensors((directory / "logits.safetensors").string(), tensors, {}).ok());
  if (kept == nullptr) std::filesystem::remove_all(directory);
}

TEST_P(BackwardTest, GradientsOfOneSampleEqualTorch) {
  Sample sample = MakeSample();
  const double loss = sample.Forward({sample.length()});
  const double want_loss = golden.floats("random_b.loss")[0];
  EXPECT_NEAR(loss, want_loss, 1e-5 * want_loss);
  sample.Backward({sample.length()});
  for (const BypassWeights& bypass : weights.bypasses()) {
    const std::string module = weights.spec().names.ModuleName(bypass.layer, bypass.linear);
    for (const Parameter& parameter : ParametersOf(weights.spec().method, bypass, sample.Of(bypass))) {
      const std::string key = "random_b.gradient.base_model.model." + module + "." + parameter.suffix;
      EXPECT_LT(RelativeError(sample.Read(parameter.gradient), golden.floats(key)), 1e-4) << key;
    }
  }
}

TEST_P(BackwardTest, RandomWindowsGiveTheGradientsOfTheWholeSequence) {
  Sample whole = MakeSample();
  const double loss = whole.Forward({whole.length()});
  whole.Backward({whole.length()});
  const std::vector<float> want = whole.Gradients();
  std::mt19937 random(5);
  for (int trial = 0; trial < 8; ++trial) {
    Sample split = MakeSample();
    EXPECT_NEAR(split.Forward(RandomEnds(random, split.length()), trial % 3), loss, 1e-9 * loss);
    split.Backward(RandomEnds(random, split.length()));
    // The design asks for 1e-5 relative. Ours are the same bits: all sums over rows run from the last row to the first.
    const std::vector<float> got = split.Gradients();
    EXPECT_LT(RelativeError(got, want), 1e-5);
    EXPECT_EQ(0, std::memcmp(got.data(), want.data(), got.size() * sizeof(float))) << "trial " << trial;
  }
}

TEST_P(BackwardTest, BesideAForwardItGivesTheSameGradients) {
  std::mt19937 random(6);
  Sample alone = MakeSample(), beside = MakeSample();
  const std::vector<int> ends = RandomEnds(random, alone.length());
  for (Sample* sample : {&alone, &beside}) sample->Forward({sample->length()});
  alone.Backward(ends);
  beside.BackwardBeside(ends, 5);
  EXPECT_EQ(beside.Gradients(), alone.Gradients());
}

TEST_P(BackwardTest, WhatWasBegunBesideAForwardIsNotRunAgain) {
  if (!loaded.model->has_lane()) GTEST_SKIP() << "no lane";
  Sample alone = MakeSample(), begun = MakeSample();
  const std::vector<int> ends = {alone.length() / 2, alone.length()};
  for (Sample* sample : {&alone, &begun}) sample->Forward({sample->length()});
  alone.Backward(ends);
  begun.BeginBackwardBeside(ends);
  begun.Backward(ends);  // all of it is offered again
  EXPECT_EQ(begun.Gradients(), alone.Gradients());
}

// peft takes DoRA's norms as constants in backward. So that they are such in a difference quotient too, magnitudes
// follow the norms that a step of A or B changes.
class Magnitudes {
 public:
  Magnitudes(const std::string& base, const AdapterWeights& weights, const BypassWeights& bypass)
      : base_(base), weights_(weights), bypass_(bypass), norms_(Norms()) {}
  void Follow() {
    const std::vector<double> moved = Norms();
    for (size_t row = 0; row < moved.size(); ++row) {
      bypass_.factor.f32()[row] = static_cast<float>(bypass_.factor.f32()[row] * moved[row] / norms_[row]);
    }
    norms_ = moved;
  }

 private:
  std::vector<double> Norms() const {
    if (weights_.spec().method != PeftMethod::kDora) return {};
    return NormsOf(base_, weights_, bypass_);
  }

  const std::string base_;
  const AdapterWeights& weights_;
  const BypassWeights& bypass_;
  std::vector<double> norms_;
};

TEST_P(BackwardTest, GradientsEqualFiniteDifferences) {
  // Across a kink of ReLU, or where a step changes which experts a row chooses, there is no difference quotient:
  // GradientsOfOneSampleEqualTorch stands for those.
  if (loaded.desc.experts.count > 0 || loaded.desc.activation == Activation::kRelu) {
    GTEST_SKIP() << "not differentiable";
  }
  Sample sample = MakeSample();
  sample.Forward({sample.length()});
  sample.Backward({sample.length()});
  std::mt19937 random(3);
  double worst = 0;
  for (int trial = 0; trial < 24; ++trial) {
    BypassWeights& bypass = weights.bypasses()[random() % weights.bypasses().size()];
    const std::vector<Parameter> parameters = ParametersOf(weights.spec().method, bypass, sample.Of(bypass));
    const Parameter& chosen = parameters[trial % parameters.size()];
    const Tensor& parameter = *chosen.value;
    const std::vector<float> gradient = sample.Read(chosen.gradient);
    // The steepest of some entries, so that the difference stands out of f32 rounding.
    int64_t entry = 0;
    for (int i = 0; i < 50; ++i) {
      const int64_t other = random() % parameter.num_elements();
      if (std::abs(gradient[other]) > std::abs(gradient[entry])) entry = other;
    }
    const float value = parameter.f32()[entry], step = 2e-2f;
    double losses[2];
    for (const int side : {0, 1}) {
      Magnitudes magnitudes(BaseOf(GetParam()), weights, bypass);
      parameter.f32()[entry] = value + (side == 0 ? -step : step);
      magnitudes.Follow();
      const AdapterRef copy = loaded.adapters->AddWorkingCopy(weights);
      Sample moved(loaded, weights, copy, golden.ints("sample.0.ids"), golden.ints("sample.0.labels"));
      losses[side] = moved.Forward({moved.length()});
      loaded.adapters->RemoveWorkingCopy(copy);
      parameter.f32()[entry] = value;
      magnitudes.Follow();
    }
    const double numeric = (losses[1] - losses[0]) / (2 * step), exact = gradient[entry];
    worst = std::max(worst, std::abs(numeric - exact) / std::max(1.0, std::abs(exact)));
  }
  EXPECT_LT(worst, 2e-2);  // f32 losses of about 300, and curvature over the step
}

// Rows of every method, and of none, in one batch: each as on its own, bit for bit.
TEST(AdaptersTest, RowsOfAllMethodsShareABatch) {
  const LoadedModel loaded(std::string("gqa_untied"));
  std::vector<AdapterLease> leases;
  for (const char* name :
       {"lora/all_rank3", "adapters/dora_all", "adapters/ia3", "adapters/ia3_all", "adapters/bottleneck"}) {
    ASSERT_TRUE(loaded.adapters->Load(TestName(name), GoldenPath(std::string(name) + "/random_b")).ok()) << name;
    leases.push_back(*loaded.adapters->Acquire(TestName(name)));
  }
  std::vector<AdapterRef> refs = {{}};
  for (const AdapterLease& lease : leases) refs.push_back(lease->ref());
  const std::vector<int32_t> ids = Golden("lora/all_rank3").ints("short.ids");
  const int rows = static_cast<int>(ids.size()), vocab = loaded.desc.vocab;
  std::vector<float> alone;
  std::vector<std::vector<float>> each;
  for (const AdapterRef& ref : refs) {
    each.push_back(loaded.Logits(ids, {}, ref));
    alone.insert(alone.end(), each.back().begin(), each.back().end());
  }
  for (size_t i = 0; i < each.size(); ++i) {
    for (size_t j = 0; j < i; ++j) EXPECT_NE(each[i], each[j]) << refs[i].id << " and " << refs[j].id;
  }
  for (int turn = 0; turn < 3; ++turn) {
    Batch batch;
    for (size_t i = 0; i < refs.size(); ++i) {
      loaded.Append(batch, {.sequence = static_cast<SequenceId>(i), .adapter = refs[i], .num_rows = rows}, ids,
                    static_cast<int>(i) % 4);
      batch.spans.back().blocks = std::span(loaded.blocks).subspan(i * 8, 8);
    }
    const Tensor together = loaded.model->Logits(batch);
    ASSERT_EQ(together.num_elements(), static_cast<int64_t>(alone.size()));
    EXPECT_EQ(std::memcmp(together.f32(), alone.data(), alone.size() * sizeof(float)), 0) << "turn " << turn;
    // The same in another order.
    std::rotate(refs.begin(), refs.begin() + 1, refs.end());
    std::rotate(alone.begin(), alone.begin() + static_cast<int64_t>(rows) * vocab, alone.end());
  }
}

// Where a fresh DoRA adapter begins: at the norms that peft computes.
TEST(AdaptersTest, RowNormsAreTheMagnitudesThatPeftStartsFrom) {
  const LoadedModel loaded(std::string("gqa_untied"));
  const auto init = ReadPeftAdapter(GoldenPath("adapters/dora_all/init"), loaded.desc.linear_shapes());
  ASSERT_TRUE(init.ok()) << init.status();
  for (const BypassWeights& bypass : init->bypasses()) {
    const Tensor norms = loaded.model->row_norms().Of(bypass.layer, bypass.linear);
    ASSERT_EQ(norms.shape(), bypass.factor.shape());
    const auto n = static_cast<size_t>(norms.num_elements());
    EXPECT_LT(RelativeError({norms.f32(), n}, {bypass.factor.f32(), n}), 1e-6);
  }
}

INSTANTIATE_TEST_SUITE_P(Lora, BackwardTest,
                         testing::Values("lora/qv_rank4", "lora/all_rank3", "lora/qwen2", "lora/gemma2", "lora/gemma3",
                                         "lora/opt", "lora/opt_350m", "lora/mixtral", "lora/qwen3_moe"),
                         [](const auto& info) { return TestName(info.param); });
INSTANTIATE_TEST_SUITE_P(Methods, BackwardTest,
                         testing::Values("adapters/dora_all", "adapters/dora_qwen2", "adapters/dora_gemma3",
                                         "adapters/ia3", "adapters/ia3_all", "adapters/ia3_opt", "adapters/bottleneck",
                                         "adapters/bottleneck_all", "adapters/bottleneck_gemma2",
                                         "adapters/bottleneck_mixtral"),
                         [](const auto& info) { return TestName(info.param); });

}  // namespace
}  // namespace tandem
