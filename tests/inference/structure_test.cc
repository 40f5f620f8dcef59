#include "inference/structure.h"

#include "grammar/regex_rules.h"
#include "inference/inference_test.h"

namespace tandem {
namespace {

// Bytes as tokens; no token ends a text.
std::shared_ptr<grammar::Grammar> Matching(std::string_view regex) {
  grammar::TokenBytes bytes;
  for (int byte = 0; byte < 256; ++byte) bytes.bytes.push_back(std::string(1, static_cast<char>(byte)));
  return *grammar::Grammar::Compile(*grammar::ParseRegex(regex),
                                    std::make_shared<const grammar::Tokens>(std::move(bytes)));
}

std::string Allowed(const SampleRequest& sample) {
  std::string allowed;
  const std::span<const uint32_t> mask = sample.mask->Wait();
  for (size_t token = 0; token < 32 * mask.size(); ++token) {
    if (mask[token / 32] >> (token % 32) & 1) allowed.push_back(static_cast<char>(token));
  }
  return allowed;
}

class StructureTest : public InferenceTest {
 protected:
  // Runs to the end; what each step's mask allowed. The model draws the script's token where it may, else none.
  std::vector<std::string> MasksOf(GenerateRequest request, int preempt_before_step = -1) {
    std::vector<std::string> masks;
    model_.script = [&](const SampleRequest& sample) {
      masks.push_back(Allowed(sample));
      const int32_t token = scripts_.at(sample.params.seed).at(sample.index);
      return masks.back().find(static_cast<char>(token)) == std::string::npos ? kNoTokenAllowed : token;
    };
    sink_ = Submit(std::move(request));
    for (int step = 0; !source_->idle() && step < 100; ++step) {
      if (step == preempt_before_step) {
        Grants grants;
        grants.preempted.push_back(source_->CollectOffers(now_).spans.at(0).sequence);
        Batch batch;
        source_->Emit(grants, batch);
        source_->Commit(batch, model_.Run(batch), now_);
      }
      Step();
    }
    return masks;
  }

  std::shared_ptr<RecordingSink> sink_;
};

TEST_F(StructureTest, EachTokenIsDrawnByTheMaskBehindTheLast) {
  GenerateRequest request = Request("r", 3, "xbz");
  request.structure = Matching("(x[ab]|y)z?");
  EXPECT_EQ(MasksOf(std::move(request)), (std::vector<std::string>{"xy", "ab", "z"}));
  EXPECT_EQ(sink_->text, "xbz");
}

TEST_F(StructureTest, PreemptionKeepsThePlaceInTheStructure) {
  GenerateRequest request = Request("r", 3, "xbz");
  request.structure = Matching("(x[ab]|y)z?");
  EXPECT_EQ(MasksOf(std::move(request), /*preempt_before_step=*/2), (std::vector<std::string>{"xy", "ab", "z"}));
  EXPECT_EQ(sink_->text, "xbz");
}

TEST_F(StructureTest, ACompleteTextThatNothingCanFollowStops) {
  GenerateRequest request = Request("r", 3, "yzzz");
  request.structure = Matching("yz");
  EXPECT_EQ(MasksOf(std::move(request)).back(), "");
  EXPECT_TRUE(sink_->end.status.ok()) << sink_->end.status;
  EXPECT_EQ(sink_->end.reason, FinishReason::kStop);
  EXPECT_EQ(sink_->all_text(), "yz");
}

TEST_F(StructureTest, AnUnfinishedTextThatMayNotGoOnIsAnError) {
  GenerateRequest request = Request("r", 3, "yq");
  request.structure = Matching("yz");
  MasksOf(std::move(request));
  EXPECT_EQ(sink_->end.status.code(), absl::StatusCode::kInvalidArgument) << sink_->end.status;
}

TEST_F(StructureTest, ARequestWithoutStructureHasNoMask) {
  model_.script = [&](const SampleRequest& sample) {
    EXPECT_EQ(sample.mask, nullptr);
    return scripts_.at(sample.params.seed).at(sample.index);
  };
  Submit(Request("r", 3, "ab"));
  StepUntilIdle();
}

}  // namespace
}  // namespace tandem
