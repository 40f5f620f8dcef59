// The fixture of tests that need the real policy: a small pool, and a model whose tokens depend on all that their rows
// really see.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "inference/inference_test.h"
#include "sched/admission.h"

namespace tandem {

class MemoryTest : public InferenceTest {
 protected:
  MemoryTest() {
    // The next token is a function of what its row's context really holds, and of the seed: a row lost, misplaced or
    // taken from somebody else changes the answer.
    model_.script = [this](const SampleRequest& sample) {
      uint32_t hash = 17 + static_cast<uint32_t>(sample.params.seed) + 1000 * sample.index;
      for (const int32_t token : model_.context(sample.sequence)) hash = hash * 31 + token;
      return static_cast<int32_t>(hash >> 8) & 127;
    };
  }

  GenerateRequest Prompt(const std::string& id, int tokens, int max_tokens, int first = 1) {
    GenerateRequest request;
    request.request_id = id;
    for (int i = 0; i < tokens; ++i) request.prompt.push_back((first + i) % 128);
    request.sampling.seed = 5;
    request.stop.max_tokens = max_tokens;
    return request;
  }

  // One iteration as the scheduler would have it.
  Grants Plan() {
    RemainingBudget left{options_.max_batch_rows, pool_.free()};
    Grants grants;
    PlanInference(options_, {.offers = source_->CollectOffers(now_), .training = Offers()}, left, grants);
    return grants;
  }
  void PlannedStep() {
    Batch batch;
    source_->Emit(Plan(), batch);
    source_->Commit(batch, model_.Run(batch), now_);
    now_ += absl::Milliseconds(1);
  }
  void PlannedStepAhead() {
    if (!source_->can_run_ahead()) CommitInFlight();
    Batch batch;
    source_->Emit(Plan(), batch);
    LaunchAhead(std::move(batch));
    now_ += absl::Milliseconds(1);
  }
  void RunPlanned() {
    for (int steps = 0; !source_->idle(); ++steps) {
      ASSERT_LT(steps, 20000);
      PlannedStep();
    }
  }
  // The answer on a pool of its own that nothing was ever left in.
  std::vector<int32_t> Cold(GenerateRequest request, AdapterRef adapter = {}) {
    source_ = std::make_unique<InferenceSource>(&pool_, &tokenizer_, &ids_, InferenceOptions{.prefix_cache = false});
    const auto sink = Submit(std::move(request), adapter);
    RunPlanned();
    Restart();
    return sink->token_ids;
  }
  void Restart(InferenceOptions options = {.max_waiting = 4000}) {
    source_.reset();
    source_ = std::make_unique<InferenceSource>(&pool_, &tokenizer_, &ids_, options);
  }

  SchedulerOptions options_;
};

}  // namespace tandem
