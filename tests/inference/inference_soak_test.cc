// Thousands of random steps: whatever requests, cancellations and deadlines come in whatever order, every request ends
// once, with the text of its tokens, and nothing stays behind.

#include <map>
#include <random>
#include <string>

#include "inference/inference_test.h"

namespace tandem {
namespace {

class InferenceSoakTest : public InferenceTest, public testing::WithParamInterface<int> {
 protected:
  struct Submitted {
    std::shared_ptr<RecordingSink> sink;
    std::string answer;
    GenerateRequest request;
  };

  int Uniform(int low, int high) { return low + static_cast<int>(random_() % (high - low + 1)); }

  void SubmitRandom() {
    std::string answer(Uniform(1, 20), ' ');
    for (char& c : answer) c = "abc"[random_() % 3];
    Submitted submitted{.sink = nullptr, .answer = answer};
    submitted.request = Request(std::to_string(scripts_.size()), Uniform(1, 40), answer);
    if (random_() % 2) submitted.request.stop.stop = {std::string(Uniform(1, 4), 'b'), "ca"};
    if (random_() % 4 == 0) submitted.request.stop.stop_token_ids = {'c'};
    if (random_() % 4 == 0) submitted.request.deadline = now_ + absl::Seconds(Uniform(1, 30));
    if (auto sink = TrySubmit(submitted.request); sink.ok()) {
      submitted.sink = *sink;
      all_.push_back(submitted);
    } else {
      EXPECT_EQ(sink.status().code(), absl::StatusCode::kResourceExhausted);
    }
  }

  void CheckEnd(const Submitted& s) {
    const std::string id = s.request.request_id;
    ASSERT_EQ(s.sink->ends, 1) << id;
    EXPECT_EQ(s.sink.use_count(), 1) << id << ": its sink is still held";
    const std::string tokens(s.sink->token_ids.begin(), s.sink->token_ids.end());
    EXPECT_TRUE(s.answer.starts_with(tokens)) << id;
    EXPECT_TRUE(tokens.starts_with(s.sink->all_text())) << id;
    if (s.sink->end.reason == FinishReason::kStop) {
      EXPECT_LT(s.sink->all_text().size(), tokens.size()) << id << ": the stop is part of the text";
    } else {
      EXPECT_EQ(s.sink->all_text(), tokens) << id;
    }
    for (const std::string& stop : s.request.stop.stop) {
      EXPECT_EQ(s.sink->all_text().find(stop), std::string::npos) << id << ": a stop string got through";
    }
    EXPECT_EQ(s.sink->end.status.ok(), s.sink->end.reason != FinishReason::kCancelled) << id;
    EXPECT_TRUE(s.sink->end.reason != FinishReason::kLength || tokens == s.answer) << id;
  }

  std::mt19937 random_{static_cast<uint32_t>(GetParam())};
  std::vector<Submitted> all_;
};

// Every other seed with a batch in flight, where requests come, go and are cancelled between its launch and its end.
TEST_P(InferenceSoakTest, EveryRequestEndsOnceAndNothingStaysBehind) {
  const bool ahead = GetParam() % 2 == 0;
  for (int step = 0; step < 2000; ++step) {
    if (random_() % 3 == 0) SubmitRandom();
    if (random_() % 10 == 0 && !all_.empty()) source_->Abort(all_.back().request.request_id);
    const int prefill_rows = Uniform(0, 30);
    ahead ? StepAhead(prefill_rows) : static_cast<void>(Step(prefill_rows));
    now_ += absl::Seconds(1);
    if (step == 1000) {
      SubmitRandom();  // so that there is somebody to end
      source_->AbortAll(absl::UnavailableError("drill"));
    }
  }
  CommitInFlight();
  StepUntilIdle();
  EXPECT_EQ(pool_.used(), 0);
  EXPECT_EQ(carried_ > 0, ahead);
  std::map<std::string, int> ends;
  for (const Submitted& submitted : all_) {
    CheckEnd(submitted);
    ++ends[absl::StatusCodeToString(submitted.sink->end.status.code())];
  }
  // The run has met every way to end.
  for (const char* code : {"OK", "CANCELLED", "DEADLINE_EXCEEDED", "UNAVAILABLE"}) EXPECT_GT(ends[code], 0) << code;
}

INSTANTIATE_TEST_SUITE_P(Seeds, InferenceSoakTest, testing::Range(1, 9));

}  // namespace
}  // namespace tandem
