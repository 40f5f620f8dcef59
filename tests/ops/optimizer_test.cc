#include "ops/optimizer.h"

#include <cmath>
#include <limits>

#include "ops/op_test.h"

namespace tandem::optest {
namespace {

class OptimizerTest : public OpTest {};

TEST_P(OptimizerTest, AdamWMatchesReference) {
  CheckAgainstReference(Op::kAdamW);
}

TEST_P(OptimizerTest, ClipGradientsMatchesReference) {
  CheckAgainstReference(Op::kClipGradients);
}

// As a gradient that has overflowed: nothing changes, and the norm says so.
TEST_P(OptimizerTest, AGradientWithoutANormChangesNothing) {
  GuardedTensor parameter(backend(), {3}), gradient(backend(), {3}), m(backend(), {3}), v(backend(), {3});
  GuardedTensor scale(backend(), {1});
  const std::vector<float> before = {1, 2, 3}, infinite = {1, std::numeric_limits<float>::infinity(), 3};
  for (GuardedTensor* tensor : {&parameter, &m, &v}) tensor->Write(before);
  gradient.Write(infinite);
  const TrainedTensor tensor = {parameter.view(), gradient.view(), m.view(), v.view()};
  double norm = 0;
  ops::ClipGradients(backend(), {&tensor.gradient, 1}, kClipOptions, scale.view(), {&norm, 1});
  ops::AdamW(backend(), {&tensor, 1}, kAdamWStep, scale.view());
  Finish();
  EXPECT_FALSE(std::isfinite(norm));
  for (const GuardedTensor* same : {&parameter, &m, &v}) EXPECT_EQ(same->Read(), before);
  EXPECT_EQ(gradient.Read(), infinite);
}

// Twenty steps on a quadratic: the moments carry over from step to step.
TEST_P(OptimizerTest, AdamWFollowsTheReferenceOverManySteps) {
  const AdamWStep want{.learning_rate = 0.1, .beta1 = 0.9, .beta2 = 0.99, .epsilon = 1e-8, .weight_decay = 0.01};
  GuardedTensor parameter(backend(), {1}), gradient(backend(), {1}), m(backend(), {1}), v(backend(), {1});
  GuardedTensor scale(backend(), {1});
  scale.Write(std::vector<double>{1});
  double p = 1, m1 = 0, m2 = 0;
  parameter.Write(std::vector<double>{p});
  m.Write(std::vector<double>{0});
  v.Write(std::vector<double>{0});
  for (int step = 1; step <= 20; ++step) {
    gradient.Write(std::vector<double>{2.0 * parameter.Read()[0]});
    AdamWStep args = want;
    args.step = step;
    const TrainedTensor tensor = {parameter.view(), gradient.view(), m.view(), v.view()};
    ops::AdamW(backend(), {&tensor, 1}, args, scale.view());
    const double g = 2 * p;
    m1 = 0.9 * m1 + 0.1 * g;
    m2 = 0.99 * m2 + 0.01 * g * g;
    p *= 1 - 0.1 * 0.01;
    p -= 0.1 * (m1 / (1 - std::pow(0.9, step))) / (std::sqrt(m2 / (1 - std::pow(0.99, step))) + 1e-8);
    ASSERT_NEAR(parameter.Read()[0], p, 1e-5) << "step " << step;
  }
  EXPECT_LT(p, 0.1);  // it went somewhere
}

TANDEM_ON_EVERY_BACKEND(OptimizerTest);

TEST(OptimizerBits, SameForAnyThreadCount) {
  ExpectSameBitsForAnyThreadCount(Op::kAdamW);
  ExpectSameBitsForAnyThreadCount(Op::kClipGradients);
}

}  // namespace
}  // namespace tandem::optest
