#include "adapter/adapter_weights.h"

#include <cmath>
#include <cstring>
#include <limits>
#include <string>

#include "adapter/test_adapters.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace tandem {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::SizeIs;

TEST(ParseTargetModules, NoneOrAllLinearMeansEveryLinear) {
  EXPECT_THAT(*ParseTargetModules({}), SizeIs(kNumLinears));
  EXPECT_THAT(*ParseTargetModules({"all-linear"}), SizeIs(kNumLinears));
}

TEST(ParseTargetModules, SortsAndDropsRepetitions) {
  EXPECT_THAT(*ParseTargetModules({"v_proj", "q_proj", "v_proj"}), ElementsAre(LinearKind::kQProj, LinearKind::kVProj));
}

TEST(ParseTargetModules, RefusesUnknownNamesWithTheNearest) {
  const absl::Status status = ParseTargetModules({"q_proj", "dwon_proj"}).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("'dwon_proj' is unknown; did you mean 'down_proj'"));
  EXPECT_THAT(std::string(ParseTargetModules({"q_proj", "all-linear"}).status().message()),
              HasSubstr("'all-linear' stands alone"));
}

TEST(MakePeftSpec, RefusesRanksAndAlphasOutOfRange) {
  const auto message = [](int rank, double alpha) {
    return std::string(MakePeftSpec({.rank = rank, .alpha = alpha, .target_modules = {}}).status().message());
  };
  EXPECT_THAT(message(0, 1), HasSubstr("rank is 0, want from 1 to 4096"));
  EXPECT_THAT(message(4097, 1), HasSubstr("rank is 4097"));
  EXPECT_THAT(message(4, 0), HasSubstr("alpha is 0, want a finite number > 0"));
  EXPECT_THAT(message(4, std::numeric_limits<double>::quiet_NaN()), HasSubstr("alpha is nan"));
  EXPECT_TRUE(MakePeftSpec({.rank = 4, .alpha = 8, .target_modules = {}}).ok());
}

PeftSpec SpecOf(const PeftOptions& options) {
  const absl::StatusOr<PeftSpec> spec = MakePeftSpec(options);
  EXPECT_TRUE(spec.ok()) << spec.status();
  return *spec;
}

TEST(MakePeftSpec, EachMethodHasItsOwnTargetsAndParameters) {
  const LinearDims down = {160, 64};
  const PeftSpec lora = SpecOf({.rank = 2, .target_modules = {}});
  EXPECT_THAT(lora.targets, SizeIs(kNumLinears));
  EXPECT_EQ(lora.ShapesOf(LinearKind::kDownProj, down).num_elements(), 2 * (160 + 64));
  EXPECT_THAT(lora.targets_that_read_output(), ElementsAre());

  const PeftSpec dora = SpecOf({.method = PeftMethod::kDora, .rank = 2, .target_modules = {}});
  EXPECT_THAT(dora.targets, SizeIs(kNumLinears));
  EXPECT_EQ(dora.ShapesOf(LinearKind::kDownProj, down).num_elements(), 2 * (160 + 64) + 64);
  EXPECT_EQ(dora.targets_that_read_output(), dora.targets);

  const PeftSpec ia3 = SpecOf({.method = PeftMethod::kIa3, .rank = 0, .alpha = 0, .target_modules = {}});
  EXPECT_THAT(ia3.targets, ElementsAre(LinearKind::kKProj, LinearKind::kVProj, LinearKind::kDownProj));
  EXPECT_THAT(ia3.feedforward, ElementsAre(LinearKind::kDownProj));
  EXPECT_EQ(ia3.ShapesOf(LinearKind::kDownProj, down).factor, Shape({160}));
  EXPECT_EQ(ia3.ShapesOf(LinearKind::kKProj, {64, 32}).factor, Shape({32}));
  EXPECT_THAT(ia3.targets_that_read_output(), ElementsAre(LinearKind::kKProj, LinearKind::kVProj));

  const PeftSpec bottleneck = SpecOf({.method = PeftMethod::kBottleneck, .rank = 3, .target_modules = {}});
  EXPECT_THAT(bottleneck.targets, ElementsAre(LinearKind::kOProj, LinearKind::kDownProj));
  EXPECT_EQ(bottleneck.ShapesOf(LinearKind::kDownProj, down).a, Shape({3, 64}));
  EXPECT_EQ(bottleneck.scale(), 1.0f);
}

TEST(MakePeftSpec, FeedforwardModulesAreTargets) {
  const PeftOptions options = {
      .method = PeftMethod::kIa3, .target_modules = {"k_proj"}, .feedforward_modules = {"up_proj"}};
  EXPECT_EQ(MakePeftSpec(options).status().message(), "feedforward module 'up_proj' is none of the target modules");
  const PeftSpec spec = SpecOf({.method = PeftMethod::kIa3, .target_modules = {"k_proj"}});
  EXPECT_THAT(spec.feedforward, ElementsAre()) << "down_proj is none of the targets";
}

TEST(MakePeftSpec, ABottleneckCallsItsRankAWidth) {
  const PeftOptions options = {.method = PeftMethod::kBottleneck, .rank = 0, .target_modules = {}};
  EXPECT_EQ(MakePeftSpec(options).status().message(), "width is 0, want from 1 to 4096");
}

TEST(AdapterWeights, AFreshOneChangesNothing) {
  AdapterWeights ia3(SpecOf({.method = PeftMethod::kIa3, .target_modules = {}}), GoldenShapes());
  ia3.Initialize(1);
  EXPECT_FALSE(ia3.needs_magnitudes());
  for (const BypassWeights& bypass : ia3.bypasses()) {
    EXPECT_TRUE(bypass.a.empty() && bypass.b.empty());
    for (int64_t i = 0; i < bypass.factor.num_elements(); ++i) ASSERT_EQ(bypass.factor.f32()[i], 1.0f);
  }
  AdapterWeights dora(SpecOf({.method = PeftMethod::kDora, .rank = 2, .target_modules = {}}), GoldenShapes());
  dora.Initialize(1);
  EXPECT_TRUE(dora.Clone().needs_magnitudes());
  dora.SetMagnitudes([](int, LinearKind kind) { return Tensor::Zeros(DType::kF32, {GoldenShapes()[kind].out}); });
  EXPECT_FALSE(dora.needs_magnitudes());
}

TEST(PeftSpec, ScalesByAlphaOverRankOrItsRoot) {
  PeftSpec spec = MakeSpec(4, 8, {LinearKind::kQProj});
  EXPECT_EQ(spec.scale(), 2.0f);
  spec.scaling = LoraScaling::kRankStabilized;
  EXPECT_EQ(spec.scale(), 4.0f);
}

TEST(AdapterWeights, HasAZeroPairOnEveryTargetOfEveryLayer) {
  const AdapterWeights weights(MakeSpec(3, 6, {LinearKind::kKProj, LinearKind::kDownProj}), GoldenShapes());
  ASSERT_THAT(weights.bypasses(), SizeIs(6));
  const BypassWeights* down = weights.Find(2, LinearKind::kDownProj);
  ASSERT_NE(down, nullptr);
  EXPECT_EQ(down->a.shape(), (Shape{3, 160}));
  EXPECT_EQ(down->b.shape(), (Shape{64, 3}));
  EXPECT_EQ(down->a.f32()[0], 0.0f);
  EXPECT_EQ(weights.Find(2, LinearKind::kQProj), nullptr);
  EXPECT_EQ(weights.Find(3, LinearKind::kKProj), nullptr);
  EXPECT_EQ(weights.num_parameters(), 3 * (3 * (64 + 32) + 3 * (160 + 64)));
}

TEST(AdapterWeights, InitializeDrawsAUniformlyAndLeavesBZero) {
  AdapterWeights weights(MakeSpec(64, 64, {LinearKind::kQProj}), GoldenShapes());
  weights.Initialize(7);
  const BypassWeights& pair = weights.bypasses()[1];
  const double bound = 1.0 / std::sqrt(64.0);  // kaiming_uniform(a=sqrt(5)): gain sqrt(1/3) * sqrt(3 / in)
  double sum = 0, squares = 0, largest = 0;
  const int64_t count = pair.a.num_elements();
  for (int64_t i = 0; i < count; ++i) {
    const double value = pair.a.f32()[i];
    sum += value;
    squares += value * value;
    largest = std::max(largest, std::abs(value));
  }
  EXPECT_LE(largest, bound);
  EXPECT_GT(largest, 0.99 * bound);
  // 4096 draws: four standard errors of the mean, bound / sqrt(3 * 4096), and of the mean square.
  EXPECT_NEAR(sum / count, 0, 4 * bound / std::sqrt(3.0 * count));
  EXPECT_NEAR(squares / count, bound * bound / 3, 4 * bound * bound * std::sqrt(4.0 / 45 / count));
  for (int64_t i = 0; i < pair.b.num_elements(); ++i) ASSERT_EQ(pair.b.f32()[i], 0.0f);
}

TEST(AdapterWeights, InitializeDependsOnSeedLayerAndLinearAlone) {
  AdapterWeights few(MakeSpec(2, 2, {LinearKind::kVProj}), GoldenShapes());
  AdapterWeights many(MakeSpec(2, 2, *ParseTargetModules({})), GoldenShapes());
  AdapterWeights other(MakeSpec(2, 2, {LinearKind::kVProj}), GoldenShapes());
  few.Initialize(7);
  many.Initialize(7);
  other.Initialize(8);
  const auto same = [](const BypassWeights* x, const BypassWeights* y) {
    return std::memcmp(x->a.data(), y->a.data(), x->a.size_bytes()) == 0;
  };
  for (int layer = 0; layer < 3; ++layer) {
    EXPECT_TRUE(same(few.Find(layer, LinearKind::kVProj), many.Find(layer, LinearKind::kVProj)));
    EXPECT_FALSE(same(few.Find(layer, LinearKind::kVProj), other.Find(layer, LinearKind::kVProj)));
  }
  EXPECT_FALSE(same(many.Find(0, LinearKind::kVProj), many.Find(1, LinearKind::kVProj)));
  EXPECT_FALSE(same(many.Find(0, LinearKind::kVProj), many.Find(0, LinearKind::kKProj)));
}

TEST(AdapterWeights, CloneOwnsItsOwnNumbers) {
  AdapterWeights weights = TestAdapter(TinyShapes(), 2, 1.0f);
  const AdapterWeights copy = weights.Clone();
  weights.bypasses()[0].a.f32()[0] = 5.0f;
  EXPECT_EQ(copy.bypasses()[0].a.f32()[0], 1.0f);
  EXPECT_EQ(copy.num_parameters(), weights.num_parameters());
  EXPECT_EQ(copy.scale(), weights.scale());
}

TEST(AdapterWeightsDeathTest, RefusesTwoBypassesOnOneLinear) {
  const auto make_pair = [] {
    BypassWeights pair;
    pair.a = Tensor::Zeros(DType::kF32, {1, 4});
    pair.b = Tensor::Zeros(DType::kF32, {4, 1});
    return pair;
  };
  std::vector<BypassWeights> pairs;
  pairs.push_back(make_pair());
  pairs.push_back(make_pair());
  EXPECT_DEATH(AdapterWeights(MakeSpec(1, 1, {LinearKind::kQProj}), std::move(pairs)), "two bypasses on");
}

}  // namespace
}  // namespace tandem
