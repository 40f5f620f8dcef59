// Families whose weights are bf16, against transformers in float32 over the same weights. Where a bf16 model rounds is
// an implementation's own choice (Tandem: K and V, and activations before products where the CPU multiplies bf16), so
// no implementation's bits are the truth; what can be asked is that the error is no larger than transformers' own when
// it computes in bf16 (families.json).
#include <gtest/gtest.h>

#include <algorithm>

#include "model/model_fixture.h"

namespace tandem {
namespace {

class Bf16FamilyTest : public testing::TestWithParam<std::string> {};

TEST_P(Bf16FamilyTest, IsAsNearToFloat32AsTransformersInBf16) {
  const LoadedModel loaded(GetParam());
  ASSERT_EQ(loaded.model->weight_dtype(), DType::kBf16);
  const Golden golden("models/" + GetParam());
  const std::vector<float> logits = loaded.Logits(golden.ints("long.ids"), {64, 64});
  const std::span<const float> want = golden.floats("long.logits");
  ASSERT_EQ(logits.size(), want.size());
  const size_t vocab = loaded.desc.vocab;
  std::vector<double> errors;
  for (size_t i = 0; i < want.size(); i += vocab) {
    errors.push_back(RelativeError(std::span(logits).subspan(i, vocab), want.subspan(i, vocab)));
  }
  std::sort(errors.begin(), errors.end());
  const Json theirs = GoldenJson("families.json")[GetParam()];
  EXPECT_LE(errors[errors.size() / 2], theirs["bfloat16_vs_float32_median"].get<double>());
  // In one row of some a router's choice or a softmax hangs on a rounding: which row that is, is luck.
  EXPECT_LE(errors.back(), 1.5 * theirs["bfloat16_vs_float32"].get<double>());
  EXPECT_GT(errors.back(), 1e-5) << "nothing was rounded: this is no bf16";
}

INSTANTIATE_TEST_SUITE_P(Golden, Bf16FamilyTest,
                         testing::Values("qwen2_bf16", "mixtral_bf16", "opt_bf16", "gemma2_bf16"),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace tandem
