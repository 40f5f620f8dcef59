#include "adapter/lora.h"

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

TEST(MakeLoraSpec, RefusesRanksAndAlphasOutOfRange) {
  const auto message = [](int rank, double alpha) {
    return std::string(MakeLoraSpec({.rank = rank, .alpha = alpha, .target_modules = {}}).status().message());
  };
  EXPECT_THAT(message(0, 1), HasSubstr("rank is 0, want from 1 to 4096"));
  EXPECT_THAT(message(4097, 1), HasSubstr("rank is 4097"));
  EXPECT_THAT(message(4, 0), HasSubstr("alpha is 0, want a finite number > 0"));
  EXPECT_THAT(message(4, std::numeric_limits<double>::quiet_NaN()), HasSubstr("alpha is nan"));
  EXPECT_TRUE(MakeLoraSpec({.rank = 4, .alpha = 8, .target_modules = {}}).ok());
}

TEST(LoraSpec, ScalesByAlphaOverRankOrItsRoot) {
  LoraSpec spec = MakeSpec(4, 8, {LinearKind::kQProj});
  EXPECT_EQ(spec.scale(), 2.0f);
  spec.scaling = LoraScaling::kRankStabilized;
  EXPECT_EQ(spec.scale(), 4.0f);
}

TEST(LoraWeights, HasAZeroPairOnEveryTargetOfEveryLayer) {
  const LoraWeights weights(MakeSpec(3, 6, {LinearKind::kKProj, LinearKind::kDownProj}), GoldenShapes());
  ASSERT_THAT(weights.pairs(), SizeIs(6));
  const LoraPair* down = weights.Find(2, LinearKind::kDownProj);
  ASSERT_NE(down, nullptr);
  EXPECT_EQ(down->a.shape(), (Shape{3, 160}));
  EXPECT_EQ(down->b.shape(), (Shape{64, 3}));
  EXPECT_EQ(down->a.f32()[0], 0.0f);
  EXPECT_EQ(weights.Find(2, LinearKind::kQProj), nullptr);
  EXPECT_EQ(weights.Find(3, LinearKind::kKProj), nullptr);
  EXPECT_EQ(weights.num_parameters(), 3 * (3 * (64 + 32) + 3 * (160 + 64)));
}

TEST(LoraWeights, InitializeDrawsAUniformlyAndLeavesBZero) {
  LoraWeights weights(MakeSpec(64, 64, {LinearKind::kQProj}), GoldenShapes());
  weights.Initialize(7);
  const LoraPair& pair = weights.pairs()[1];
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

TEST(LoraWeights, InitializeDependsOnSeedLayerAndLinearAlone) {
  LoraWeights few(MakeSpec(2, 2, {LinearKind::kVProj}), GoldenShapes());
  LoraWeights many(MakeSpec(2, 2, *ParseTargetModules({})), GoldenShapes());
  LoraWeights other(MakeSpec(2, 2, {LinearKind::kVProj}), GoldenShapes());
  few.Initialize(7);
  many.Initialize(7);
  other.Initialize(8);
  const auto same = [](const LoraPair* x, const LoraPair* y) {
    return std::memcmp(x->a.data(), y->a.data(), x->a.size_bytes()) == 0;
  };
  for (int layer = 0; layer < 3; ++layer) {
    EXPECT_TRUE(same(few.Find(layer, LinearKind::kVProj), many.Find(layer, LinearKind::kVProj)));
    EXPECT_FALSE(same(few.Find(layer, LinearKind::kVProj), other.Find(layer, LinearKind::kVProj)));
  }
  EXPECT_FALSE(same(many.Find(0, LinearKind::kVProj), many.Find(1, LinearKind::kVProj)));
  EXPECT_FALSE(same(many.Find(0, LinearKind::kVProj), many.Find(0, LinearKind::kKProj)));
}

TEST(LoraWeights, CloneOwnsItsOwnNumbers) {
  LoraWeights weights = TestAdapter(TinyShapes(), 2, 1.0f);
  const LoraWeights copy = weights.Clone();
  weights.pairs()[0].a.f32()[0] = 5.0f;
  EXPECT_EQ(copy.pairs()[0].a.f32()[0], 1.0f);
  EXPECT_EQ(copy.num_parameters(), weights.num_parameters());
  EXPECT_EQ(copy.scale(), weights.scale());
}

TEST(LoraWeightsDeathTest, RefusesTwoPairsOnOneLinear) {
  const auto make_pair = [] {
    LoraPair pair;
    pair.a = Tensor::Zeros(DType::kF32, {1, 4});
    pair.b = Tensor::Zeros(DType::kF32, {4, 1});
    return pair;
  };
  std::vector<LoraPair> pairs;
  pairs.push_back(make_pair());
  pairs.push_back(make_pair());
  EXPECT_DEATH(LoraWeights(MakeSpec(1, 1, {LinearKind::kQProj}), std::move(pairs)), "two pairs on");
}

}  // namespace
}  // namespace tandem
