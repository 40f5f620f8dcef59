#include "training/validate.h"

#include <functional>
#include <limits>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace tandem {
namespace {

using ::testing::StartsWith;

constexpr int kMaxContext = 2048;

JobSpec Valid() {
  JobSpec spec;
  spec.adapter_name = "support";
  spec.data = "{}";
  return spec;
}

std::string ErrorOf(const std::function<void(JobSpec&)>& spoil) {
  JobSpec spec = Valid();
  spoil(spec);
  const absl::Status status = ValidateJobSpec(spec, kMaxContext);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
  return std::string(status.message());
}

TEST(ValidateJobSpec, TheDefaultsAreValid) {
  EXPECT_TRUE(ValidateJobSpec(Valid(), kMaxContext).ok()) << ValidateJobSpec(Valid(), kMaxContext);
}

TEST(ValidateJobSpec, AdapterNamesAreThoseOfDirectories) {
  for (const std::string name : {"", ".", "..", ".a", "a/b", "a b", "a\n"}) {
    EXPECT_THAT(ErrorOf([&](JobSpec& spec) { spec.adapter_name = name; }), StartsWith("adapter name '")) << name;
  }
  EXPECT_THAT(ErrorOf([&](JobSpec& spec) { spec.adapter_name = std::string(65, 'a'); }),
              StartsWith("adapter name 'aaa"));
  for (const std::string name : {"a", "A.b-c_1", "_x"}) {
    JobSpec spec = Valid();
    spec.adapter_name = name;
    EXPECT_TRUE(ValidateJobSpec(spec, kMaxContext).ok()) << name;
  }
}

TEST(ValidateJobSpec, NamesTheFieldWhatItIsAndWhatItMayBe) {
  using S = JobSpec;
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const double inf = std::numeric_limits<double>::infinity();
  EXPECT_EQ(ErrorOf([](S& s) { s.data = ""; }), "data is empty, want lines of JSON");
  EXPECT_EQ(ErrorOf([](S& s) { s.data_name = std::string(300, 'a'); }),
            "data_name is 300 bytes long, want at most 200");
  EXPECT_THAT(ErrorOf([](S& s) { s.init_from_adapter = "a/b"; }), StartsWith("init_from_adapter: adapter name 'a/b'"));
  EXPECT_EQ(ErrorOf([](S& s) { s.peft.rank = 0; }), "lora: rank is 0, want from 1 to 4096");
  EXPECT_EQ(ErrorOf([](S& s) { s.peft.rank = 5000; }), "lora: rank is 5000, want from 1 to 4096");
  EXPECT_EQ(ErrorOf([](S& s) { s.peft.alpha = 0; }), "lora: alpha is 0, want a finite number > 0");
  EXPECT_EQ(ErrorOf([=](S& s) { s.peft.alpha = inf; }), "lora: alpha is inf, want a finite number > 0");
  EXPECT_EQ(ErrorOf([](S& s) { s.hyperparameters.epochs = 0; }),
            "hyperparameters.epochs is 0, want above 0, at most 1e+06");
  EXPECT_EQ(ErrorOf([=](S& s) { s.hyperparameters.epochs = nan; }),
            "hyperparameters.epochs is nan, want above 0, at most 1e+06");
  EXPECT_EQ(ErrorOf([](S& s) { s.hyperparameters.max_steps = -1; }),
            "hyperparameters.max_steps is -1, want finite and at least 0");
  EXPECT_EQ(ErrorOf([](S& s) { s.hyperparameters.micro_batch = 0; }),
            "hyperparameters.micro_batch is 0, want 1 to 65536");
  EXPECT_EQ(ErrorOf([](S& s) { s.hyperparameters.gradient_accumulation = -3; }),
            "hyperparameters.gradient_accumulation is -3, want 1 to 65536");
  EXPECT_EQ(ErrorOf([](S& s) { s.hyperparameters.learning_rate = 20; }),
            "hyperparameters.learning_rate is 20, want above 0, at most 10");
  EXPECT_EQ(ErrorOf([](S& s) { s.hyperparameters.warmup_steps = -1; }),
            "hyperparameters.warmup_steps is -1, want finite and at least 0");
  EXPECT_EQ(ErrorOf([](S& s) { s.hyperparameters.weight_decay = -0.1; }),
            "hyperparameters.weight_decay is -0.1, want finite and at least 0");
  EXPECT_EQ(ErrorOf([](S& s) { s.hyperparameters.weight_decay = 5000; }),
            "hyperparameters.weight_decay is 5000, want below 1 / learning_rate");
  EXPECT_EQ(ErrorOf([](S& s) { s.hyperparameters.beta1 = 1; }), "hyperparameters.beta1 is 1, want 0 to 0.999999");
  EXPECT_EQ(ErrorOf([](S& s) { s.hyperparameters.beta2 = -0.5; }), "hyperparameters.beta2 is -0.5, want 0 to 0.999999");
  EXPECT_EQ(ErrorOf([](S& s) { s.hyperparameters.epsilon = 0; }), "hyperparameters.epsilon is 0, want 1e-30 to 1");
  EXPECT_EQ(ErrorOf([=](S& s) { s.hyperparameters.max_grad_norm = inf; }),
            "hyperparameters.max_grad_norm is inf, want finite and at least 0");
  EXPECT_EQ(ErrorOf([](S& s) { s.hyperparameters.max_length = 4096; }),
            "hyperparameters.max_length is 4096, want 2 to 2048");
  EXPECT_EQ(ErrorOf([](S& s) { s.publish_every_steps = -1; }), "publish_every_steps is -1, want finite and at least 0");
}

TEST(ValidateJobSpec, EpochsDoNotMatterWhereStepsAreGiven) {
  JobSpec spec = Valid();
  spec.hyperparameters.epochs = 0;
  spec.hyperparameters.max_steps = 10;
  EXPECT_TRUE(ValidateJobSpec(spec, kMaxContext).ok());
}

TEST(ValidateJobSpec, RankAndAlphaMayBeLeftToTheInitialAdapter) {
  JobSpec spec = Valid();
  spec.init_from_adapter = "base";
  spec.peft.rank = 0;
  spec.peft.alpha = 0;
  EXPECT_TRUE(ValidateJobSpec(spec, kMaxContext).ok());
}

TEST(ValidateJobSpec, AnUnknownTargetModuleIsRefusedWithTheNearest) {
  EXPECT_EQ(ErrorOf([](JobSpec& s) {
              s.peft.target_modules = {"v_proj", "q_porj"};
            }),
            "lora: target module 'q_porj' is unknown; did you mean 'q_proj'?");
}

}  // namespace
}  // namespace tandem
