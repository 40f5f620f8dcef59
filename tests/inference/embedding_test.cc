// Embeddings as requests: they wait, are chunked and preempted like prompts, and end with a vector.

#include "inference/memory_fixture.h"

namespace tandem {
namespace {

// The scripted model's hidden state of a token is the token.
class EmbeddingTest : public MemoryTest {
 protected:
  EmbeddingTest() { Restart({.max_waiting = 4000, .embedding_width = 1}); }
  GenerateRequest Embed(const std::string& id, int tokens, Pooling pooling) {
    GenerateRequest request = Prompt(id, tokens, 0, 3);
    request.pooling = pooling;
    return request;
  }
  float ValueOf(const RecordingSink& sink) {
    EXPECT_TRUE(sink.end.status.ok()) << sink.end.status;
    EXPECT_EQ(sink.updates, 0);
    EXPECT_EQ(sink.end.embedding.size(), 1u);
    return sink.end.embedding.at(0);
  }
};

TEST_F(EmbeddingTest, LastIsThatOfTheLastTokenAndMeanIsOverAll) {
  const auto last = Submit(Embed("last", 10, Pooling::kLastToken));
  const auto mean = Submit(Embed("mean", 10, Pooling::kMean));
  RunPlanned();
  EXPECT_EQ(ValueOf(*last), 12);  // 3, 4 ... 12
  EXPECT_EQ(ValueOf(*mean), 7.5);
  EXPECT_EQ(mean->end.usage.prompt_tokens, 10);
  EXPECT_EQ(mean->end.usage.completion_tokens, 0);
  EXPECT_EQ(pool_.used(), 0);
}

TEST_F(EmbeddingTest, ChunksChangeNothing) {
  options_.max_prefill_rows = 3;
  const auto last = Submit(Embed("last", 20, Pooling::kLastToken));
  const auto mean = Submit(Embed("mean", 20, Pooling::kMean));
  RunPlanned();
  EXPECT_EQ(ValueOf(*last), 22);
  EXPECT_EQ(ValueOf(*mean), 12.5);
}

TEST_F(EmbeddingTest, TheLastTokensMayFindItsPrefixAndTheMeanLooksForNone) {
  for (int i = 0; i < 2; ++i) {
    const auto last = Submit(Embed("last", 22, Pooling::kLastToken));
    RunPlanned();
    EXPECT_EQ(last->end.usage.cached_tokens, i == 0 ? 0 : 20);
    EXPECT_EQ(ValueOf(*last), 24);
    const auto mean = Submit(Embed("mean", 22, Pooling::kMean));
    RunPlanned();
    EXPECT_EQ(mean->end.usage.cached_tokens, 0);
    EXPECT_EQ(ValueOf(*mean), 13.5);
  }
}

TEST_F(EmbeddingTest, OneThatIsPreemptedBeginsAnew) {
  options_.max_prefill_rows = 2;
  const auto mean = Submit(Embed("mean", 100, Pooling::kMean));
  now_ += absl::Milliseconds(1);
  GenerateRequest urgent = Prompt("urgent", 7, 60);
  urgent.priority = -1;
  const auto other = Submit(urgent);
  RunPlanned();
  EXPECT_GT(source_->counts().preemptions, 0);
  EXPECT_EQ(ValueOf(*mean), 52.5);
  EXPECT_TRUE(other->end.status.ok());
}

TEST_F(EmbeddingTest, AbortAndDeadlineEndIt) {
  options_.max_prefill_rows = 4;
  const auto aborted = Submit(Embed("aborted", 40, Pooling::kMean));
  GenerateRequest request = Embed("late", 40, Pooling::kMean);
  request.deadline = now_ + absl::Milliseconds(3);
  const auto late = Submit(request);
  PlannedStep();
  source_->Abort("aborted");
  RunPlanned();
  EXPECT_EQ(aborted->end.status.code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(late->end.status.code(), absl::StatusCode::kDeadlineExceeded);
}

TEST_F(EmbeddingTest, HiddenStatesThatAreNotFiniteAreAnError) {
  const auto sink = Submit(Embed("r", 4, Pooling::kMean));
  Batch batch;
  source_->Emit(Plan(), batch);
  const StepResult result = model_.Run(batch);
  batch.pools[0].sum[0] = std::numeric_limits<double>::quiet_NaN();
  source_->Commit(batch, result, now_);
  EXPECT_EQ(sink->end.status.code(), absl::StatusCode::kInternal);
}

}  // namespace
}  // namespace tandem
