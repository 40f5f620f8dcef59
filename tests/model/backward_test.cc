// LoRA through the decoder: logits and gradients equal peft's, and windows change no bit of a gradient.
#include <gtest/gtest.h>

#include <cstdlib>
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
  Sample(const LoadedModel& loaded, const LoraWeights& weights, AdapterRef adapter, std::vector<int32_t> ids,
         std::vector<int32_t> unshifted)
      : loaded_(loaded),
        adapter_(adapter),
        ids_(std::move(ids)),
        tape_(*loaded.backend, loaded.desc, loaded.model->activation_dtype(), static_cast<int>(ids_.size())) {
    ids_.pop_back();  // the last token is only ever a target
    labels_.assign(unshifted.begin() + 1, unshifted.end());
    gradients_.resize(loaded.desc.num_layers);
    for (const LoraPair& pair : weights.pairs()) {
      storage_.emplace_back(*loaded.backend, DType::kF32, pair.a.shape());
      const TensorView da = storage_.back().view();
      storage_.emplace_back(*loaded.backend, DType::kF32, pair.b.shape());
      gradients_[pair.layer].linears[static_cast<int>(pair.linear)] = {da, storage_.back().view()};
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

  // All gradients in the order of the adapter's pairs: A, B, A, B ...
  std::vector<float> Gradients() const {
    std::vector<float> all;
    for (const DeviceTensor& tensor : storage_) {
      const std::vector<float> values = Read(tensor.view());
      all.insert(all.end(), values.begin(), values.end());
    }
    return all;
  }
  std::vector<float> Read(const TensorView& tensor) const { return ReadTensor(*loaded_.backend, tensor); }
  const LoraGradients& Of(const LoraPair& pair) const {
    return gradients_[pair.layer].linears[static_cast<int>(pair.linear)];
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

// make.py's adapters are on one base, make_families.py's have the name of theirs.
std::string BaseOf(const std::string& lora) {
  return lora == "qv_rank4" || lora == "all_rank3" ? "gqa_untied" : lora;
}

class BackwardTest : public testing::TestWithParam<std::string> {
 protected:
  BackwardTest() : loaded(BaseOf(GetParam())), golden("lora/" + GetParam()) {
    auto read = ReadPeftAdapter(GoldenPath("lora/" + GetParam() + "/random_b"), loaded.desc.linear_shapes());
    EXPECT_TRUE(read.ok()) << read.status();
    weights = *std::move(read);
    EXPECT_TRUE(loaded.adapters->Load("golden", GoldenPath("lora/" + GetParam() + "/random_b")).ok());
    lease = *loaded.adapters->Acquire("golden");
  }
  AdapterRef adapter() const { return lease->ref(); }
  Sample MakeSample(int index = 0) {
    const std::string name = "sample." + std::to_string(index);
    return Sample(loaded, weights, adapter(), golden.ints(name + ".ids"), golden.ints(name + ".labels"));
  }

  LoadedModel loaded;
  Golden golden;
  LoraWeights weights;
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
      std::filesystem::path(kept != nullptr ? kept : testing::TempDir()) / ("peft_check_" + GetParam());
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
  for (const LoraPair& pair : weights.pairs()) {
    const std::string key =
        "random_b.gradient.base_model.model." + weights.spec().names.ModuleName(pair.layer, pair.linear);
    EXPECT_LT(RelativeError(sample.Read(sample.Of(pair).da), golden.floats(key + ".lora_A.weight")), 1e-4) << key;
    EXPECT_LT(RelativeError(sample.Read(sample.Of(pair).db), golden.floats(key + ".lora_B.weight")), 1e-4) << key;
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
    LoraPair& pair = weights.pairs()[random() % weights.pairs().size()];
    const bool is_a = trial % 2 == 0;
    const Tensor& parameter = is_a ? pair.a : pair.b;
    const std::vector<float> gradient = sample.Read(is_a ? sample.Of(pair).da : sample.Of(pair).db);
    // The steepest of some entries, so that the difference stands out of f32 rounding.
    int64_t entry = 0;
    for (int i = 0; i < 50; ++i) {
      const int64_t other = random() % parameter.num_elements();
      if (std::abs(gradient[other]) > std::abs(gradient[entry])) entry = other;
    }
    const float value = parameter.f32()[entry], step = 2e-2f;
    double losses[2];
    for (const int side : {0, 1}) {
      parameter.f32()[entry] = value + (side == 0 ? -step : step);
      const AdapterRef copy = loaded.adapters->AddWorkingCopy(weights);
      Sample moved(loaded, weights, copy, golden.ints("sample.0.ids"), golden.ints("sample.0.labels"));
      losses[side] = moved.Forward({moved.length()});
      loaded.adapters->RemoveWorkingCopy(copy);
    }
    parameter.f32()[entry] = value;
    const double numeric = (losses[1] - losses[0]) / (2 * step), exact = gradient[entry];
    worst = std::max(worst, std::abs(numeric - exact) / std::max(1.0, std::abs(exact)));
  }
  EXPECT_LT(worst, 2e-2);  // f32 losses of about 300, and curvature over the step
}

INSTANTIATE_TEST_SUITE_P(Golden, BackwardTest,
                         testing::Values("qv_rank4", "all_rank3", "qwen2", "gemma2", "gemma3", "opt", "opt_350m",
                                         "mixtral", "qwen3_moe"),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace tandem
