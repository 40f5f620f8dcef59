// The fixture of the tests of inference: a source, fakes around it, a step loop, and a clock that stands still unless
// told.
#pragma once

#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "inference/fakes.h"
#include "inference/inference_source.h"

namespace tandem {

// A source with everything around it. A request's script is found by its seed: token `index` of scripts[seed].
class InferenceTest : public testing::Test {
 protected:
  static constexpr int kBlockSize = 4;
  static constexpr int kNumBlocks = 32;

  explicit InferenceTest(std::vector<std::string> words = {}) : tokenizer_(std::move(words)) {
    model_.block_size = kBlockSize;
    model_.script = [this](const SampleRequest& sample) { return scripts_.at(sample.params.seed).at(sample.index); };
  }
  ~InferenceTest() override {
    source_.reset();
    EXPECT_EQ(pool_.free(), kNumBlocks) << "blocks leaked";
  }

  // A request whose answer is scripted; a prompt of zeros.
  GenerateRequest Request(const std::string& id, int prompt_tokens, std::vector<int32_t> answer) {
    GenerateRequest request;
    request.request_id = id;
    request.prompt.assign(prompt_tokens, 0);
    request.sampling.seed = scripts_.size();
    request.stop.max_tokens = static_cast<int>(answer.size());
    scripts_.push_back(std::move(answer));
    return request;
  }
  GenerateRequest Request(const std::string& id, int prompt_tokens, std::string_view answer) {
    return Request(id, prompt_tokens, *tokenizer_.Encode(answer, SpecialTokens::kNone));
  }

  absl::StatusOr<std::shared_ptr<RecordingSink>> TrySubmit(GenerateRequest request, AdapterRef adapter = {},
                                                           std::shared_ptr<const void> lease = nullptr) {
    auto sink = std::make_shared<RecordingSink>();
    const absl::Status status = source_->Submit(std::move(request), adapter, std::move(lease), sink, now_);
    if (status.ok()) return sink;
    EXPECT_EQ(sink->updates + sink->ends, 0) << "a refused request's sink was called";
    EXPECT_EQ(sink.use_count(), 1) << "a refused request's sink was kept";
    return status;
  }
  std::shared_ptr<RecordingSink> Submit(GenerateRequest request, AdapterRef adapter = {},
                                        std::shared_ptr<const void> lease = nullptr) {
    return *TrySubmit(std::move(request), adapter, std::move(lease));
  }

  // What a scheduler would grant: every decode, prefill in order, admission while blocks last.
  Grants GrantAll(int prefill_rows) const {
    Grants grants;
    int free_blocks = pool_.free();
    for (const Offer& offer : source_->CollectOffers(now_).spans) {
      const int rows = offer.kind == SpanKind::kDecode ? 1 : std::min(offer.ready_rows, prefill_rows);
      if (rows == 0 || offer.blocks_to_reserve > free_blocks) continue;
      free_blocks -= offer.blocks_to_reserve;
      if (offer.kind == SpanKind::kPrefill) prefill_rows -= rows;
      grants.spans.push_back({offer.sequence, rows});
    }
    return grants;
  }
  Batch Emit(int prefill_rows = 1000) {
    Batch batch;
    source_->Emit(GrantAll(prefill_rows), batch);
    return batch;
  }
  Batch Step(int prefill_rows = 1000) {
    Batch batch = Emit(prefill_rows);
    source_->Commit(batch, model_.Run(batch), now_);
    return batch;
  }
  void StepUntilIdle() {
    for (int steps = 0; !source_->idle(); ++steps) {
      ASSERT_LT(steps, 1000);
      Step();
    }
  }

  // As the loop goes where the device works on its own: a batch is launched before the one before it is committed.
  void StepAhead(int prefill_rows = 1000) {
    if (!source_->can_run_ahead()) CommitInFlight();
    LaunchAhead(Emit(prefill_rows));
  }
  void LaunchAhead(Batch batch) {
    Batch seen = batch;
    for (int32_t& id : seen.token_ids) {
      if (id >= 0) continue;
      id = std::max(0, in_flight_->result.sampled.at(~id));
      ++carried_;
    }
    StepResult result = model_.Run(seen);
    source_->Launched(batch, 0);
    CommitInFlight();
    if (!batch.empty()) in_flight_.emplace(std::move(batch), std::move(result));
  }
  void CommitInFlight() {
    if (!in_flight_.has_value()) return;
    const InFlight last = *std::exchange(in_flight_, std::nullopt);
    source_->Commit(last.batch, last.result, now_);
  }

  struct InFlight {
    Batch batch;
    StepResult result;
    InFlight(Batch b, StepResult r) : batch(std::move(b)), result(std::move(r)) {}
  };
  std::optional<InFlight> in_flight_;
  int carried_ = 0;  // rows that ran before anybody knew their token

  ByteTokenizer tokenizer_;
  BlockPool pool_{kNumBlocks, kBlockSize};
  SequenceIds ids_;
  ScriptedModel model_;
  absl::Time now_ = absl::UnixEpoch();
  std::vector<std::vector<int32_t>> scripts_;
  std::unique_ptr<InferenceSource> source_ =
      std::make_unique<InferenceSource>(&pool_, &tokenizer_, &ids_, InferenceOptions{.max_waiting = 8});
};

}  // namespace tandem
