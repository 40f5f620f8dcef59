#include "training/adapter_trainer.h"

#include <cmath>
#include <limits>

#include "base/file.h"
#include "base/json.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "training/schedule.h"

namespace tandem {
namespace {

using ::testing::FloatEq;
using ::testing::Pointwise;

// One layer whose linears are all 3 -> 4, rank 2.
LinearShapes Shapes() {
  LinearShapes shapes{.num_layers = 3, .dims = {}};
  shapes.dims.fill({.in = 3, .out = 4});
  return shapes;
}

std::vector<float> Values(const TensorView& view) {
  return {view.f32(), view.f32() + view.shape.num_elements()};
}

class AdapterTrainerTest : public ::testing::Test {
 protected:
  // A pair on q_proj of layer 1 with A[i] = (i * 5 % 7 - 3) / 8 and B[i] = (i * 3 % 5 - 2) / 8.
  AdapterWeights MakeWeights() const {
    std::vector<BypassWeights> pairs;
    pairs.push_back({.linear = LinearKind::kQProj,
                     .layer = 1,
                     .a = Tensor::Zeros(DType::kF32, {2, 3}),
                     .b = Tensor::Zeros(DType::kF32, {4, 2})});
    for (int i = 0; i < 6; ++i) pairs[0].a.f32()[i] = static_cast<float>(i * 5 % 7 - 3) / 8;
    for (int i = 0; i < 8; ++i) pairs[0].b.f32()[i] = static_cast<float>(i * 3 % 5 - 2) / 8;
    return AdapterWeights({.rank = 2, .alpha = 4, .targets = {LinearKind::kQProj}}, std::move(pairs));
  }

  static const BypassGradients& GradientsOf(const AdapterTrainer& trainer) {
    return trainer.gradients()[1].linears[static_cast<int>(LinearKind::kQProj)];
  }

  static void Fill(const TensorView& view, float value) {
    std::fill(view.f32(), view.f32() + view.shape.num_elements(), value);
  }

  // What the model computes with: W of the working copy's A, read back through x = identity.
  std::vector<float> WorkingA(const AdapterTrainer& trainer) const {
    const AdapterBypass* pair = store_.Find(trainer.adapter())->Find(1, LinearKind::kQProj);
    Tensor x = Tensor::Zeros(DType::kF32, {3, 3});
    for (int i = 0; i < 3; ++i) x.f32()[4 * i] = 1;
    const Tensor y = Tensor::Empty(DType::kF32, {3, 2});
    backend_->Linear(x.view(), *pair->a, Accumulate::kNo, y.view());
    std::vector<float> a(6);
    for (int i = 0; i < 6; ++i) a[i] = y.f32()[i % 3 * 2 + i / 3];
    return a;
  }

  const std::unique_ptr<Backend> backend_ = CreateCpuBackend(1);
  AdapterStore store_{*backend_, Shapes()};
};

// golden/adamw.json is torch's: clip_grad_norm_, then AdamW, over gradients that are a function of step and index.
TEST_F(AdapterTrainerTest, StepsEqualTorch) {
  const auto text = ReadFile(std::string(TANDEM_SOURCE_DIR) + "/tests/training/golden/adamw.json");
  ASSERT_TRUE(text.ok()) << text.status();
  const Json golden = *ParseJson(*text);
  Hyperparameters h;
  h.max_steps = golden["steps"].get<int>();
  h.warmup_steps = golden["warmup_steps"].get<int>();
  h.learning_rate = golden["learning_rate"].get<double>();
  h.weight_decay = golden["weight_decay"].get<double>();
  h.max_grad_norm = golden["max_grad_norm"].get<double>();
  const Schedule schedule(h, 1);
  AdapterTrainer trainer(MakeWeights(), backend_.get(), &store_);
  const BypassGradients& gradients = GradientsOf(trainer);
  for (int t = 0; t < h.max_steps; ++t) {
    // In two parts, as two units of backward would.
    for (int part = 0; part < 2; ++part) {
      const float scale = static_cast<float>(1 + t % 3) / 8;
      for (int i = 0; i < 6; ++i) gradients.da.f32()[i] += scale * static_cast<float>((i * 7 + t * 3) % 11 - 5);
      for (int i = 0; i < 8; ++i) gradients.db.f32()[i] += scale * static_cast<float>((i * 4 + t * 5) % 13 - 6);
    }
    trainer.Step(h, schedule.LearningRate(t), golden["num_tokens"].get<int>());
    const double want = golden["norms"][t].get<double>();
    EXPECT_NEAR(*trainer.norm(), want, 1e-6 * want) << "step " << t;
  }
  // Six fp32 steps in another order of rounding than torch's.
  const auto near = [](const std::vector<float>& got, const Json& want) {
    ASSERT_EQ(got.size(), want.size());
    for (size_t i = 0; i < got.size(); ++i) EXPECT_NEAR(got[i], want[i].get<double>(), 2e-7) << i;
  };
  near(Values(trainer.Snapshot()->bypasses()[0].a.view()), golden["a"]);
  near(Values(trainer.Snapshot()->bypasses()[0].b.view()), golden["b"]);
}

TEST_F(AdapterTrainerTest, GradientsStartAtZeroAndAreZeroAfterAStep) {
  AdapterTrainer trainer(MakeWeights(), backend_.get(), &store_);
  const BypassGradients& gradients = GradientsOf(trainer);
  EXPECT_EQ(Values(gradients.da), std::vector<float>(6, 0));
  Fill(gradients.da, 1);
  Fill(gradients.db, 1);
  trainer.Step({}, 0.1, 1);
  EXPECT_EQ(Values(gradients.da), std::vector<float>(6, 0));
  EXPECT_EQ(Values(gradients.db), std::vector<float>(8, 0));
}

TEST_F(AdapterTrainerTest, TheNormIsOfTheMeanOverTokens) {
  AdapterTrainer trainer(MakeWeights(), backend_.get(), &store_);
  Fill(GradientsOf(trainer).da, 2);
  Fill(GradientsOf(trainer).db, 2);
  trainer.Step({}, 0.1, 8);
  EXPECT_NEAR(*trainer.norm(), 0.25 * std::sqrt(14.0), 1e-6);
}

TEST_F(AdapterTrainerTest, ANormThatIsNotFiniteChangesNothing) {
  for (const float bad : {std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN()}) {
    AdapterTrainer trainer(MakeWeights(), backend_.get(), &store_);
    GradientsOf(trainer).da.f32()[3] = bad;
    trainer.Step({}, 0.1, 1);
    EXPECT_FALSE(std::isfinite(*trainer.norm()));
    EXPECT_EQ(Values(trainer.Snapshot()->bypasses()[0].a.view()), Values(MakeWeights().bypasses()[0].a.view()));
    EXPECT_EQ(Values(trainer.Snapshot()->bypasses()[0].b.view()), Values(MakeWeights().bypasses()[0].b.view()));
  }
}

TEST_F(AdapterTrainerTest, TheWorkingCopyFollowsEachStep) {
  AdapterTrainer trainer(MakeWeights(), backend_.get(), &store_);
  EXPECT_THAT(WorkingA(trainer), Pointwise(FloatEq(), Values(MakeWeights().bypasses()[0].a.view())));
  Fill(GradientsOf(trainer).da, 1);
  trainer.Step({}, 0.1, 1);
  EXPECT_THAT(WorkingA(trainer), Pointwise(FloatEq(), Values(trainer.Snapshot()->bypasses()[0].a.view())));
  EXPECT_NE(Values(trainer.Snapshot()->bypasses()[0].a.view()), Values(MakeWeights().bypasses()[0].a.view()));
}

TEST_F(AdapterTrainerTest, LinearsWithoutABypassHaveNoGradients) {
  const AdapterTrainer trainer(MakeWeights(), backend_.get(), &store_);
  ASSERT_EQ(trainer.gradients().size(), 3u);
  EXPECT_EQ(trainer.gradients()[0].linears[0].da.data, nullptr);
  EXPECT_EQ(trainer.gradients()[1].linears[static_cast<int>(LinearKind::kKProj)].db.data, nullptr);
  EXPECT_EQ(trainer.lowest_layer(), 1);
}

TEST_F(AdapterTrainerTest, ItsEndRemovesTheWorkingCopy) {
  AdapterRef adapter;
  {
    const AdapterTrainer trainer(MakeWeights(), backend_.get(), &store_);
    adapter = trainer.adapter();
    EXPECT_NE(store_.Find(adapter), nullptr);
  }
  EXPECT_EQ(store_.Find(adapter), nullptr);
}

}  // namespace
}  // namespace tandem
