// Sinks that keep what an engine tells them, and wait for it; and a hold on its step thread, for tests in which several
// things must happen at the same time.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"
#include "base/check.h"
#include "tandem/api.h"

namespace tandem {

class RecordingGeneration final : public GenerationSink {
 public:
  void OnUpdate(GenerationUpdate update) override {
    tokens.insert(tokens.end(), update.token_ids.begin(), update.token_ids.end());
    text += update.text;
    logprobs.insert(logprobs.end(), update.logprobs.begin(), update.logprobs.end());
    prompt_logprobs.insert(prompt_logprobs.end(), update.prompt_logprobs.begin(), update.prompt_logprobs.end());
    if (!first_.HasBeenNotified()) first_.Notify();
  }
  void OnEnd(GenerationEnd last) override {
    end = std::move(last);
    text += end.text;
    if (!first_.HasBeenNotified()) first_.Notify();
    done_.Notify();
  }
  void WaitForFirst() { first_.WaitForNotification(); }
  void Wait() { done_.WaitForNotification(); }
  bool done() const { return done_.HasBeenNotified(); }

  // Read after Wait.
  std::vector<int32_t> tokens;
  std::vector<TokenLogprobs> logprobs, prompt_logprobs;
  std::string text;
  GenerationEnd end;

 private:
  absl::Notification first_, done_;
};

class RecordingWatcher final : public JobSink {
 public:
  void OnEvent(const JobEvent& event) override {
    const absl::MutexLock lock(&mutex_);
    events_.push_back(event);
  }
  void OnEnd() override { done_.Notify(); }
  std::vector<JobEvent> Wait() {
    done_.WaitForNotification();
    const absl::MutexLock lock(&mutex_);
    return events_;
  }
  // Returns once the job has made its `step`-th step.
  void WaitForStep(int step) {
    const auto reached = [this, step] {
      mutex_.AssertHeld();
      for (const JobEvent& event : events_) {
        if (event.kind == JobEventKind::kStep && event.step >= step) return true;
      }
      return false;
    };
    const absl::MutexLock lock(&mutex_);
    mutex_.Await(absl::Condition(&reached));
  }

 private:
  absl::Mutex mutex_;
  std::vector<JobEvent> events_ ABSL_GUARDED_BY(mutex_);
  absl::Notification done_;
};

// The engine's step thread stands from construction to Release or destruction: it is kept at the end of a request of
// the hold's own. All that is posted meanwhile comes into the same step, however slowly the poster goes on.
class StepHold {
 public:
  // `token`: any of the vocabulary.
  explicit StepHold(InferenceApi& engine, int32_t token = 1) {
    GenerateRequest request;
    request.request_id = "step-hold";
    request.prompt = {token};
    request.stop.max_tokens = 1;
    CHECK(engine.Generate(std::move(request), gate_).ok());
    gate_->reached.WaitForNotification();
  }
  StepHold(const StepHold&) = delete;
  StepHold& operator=(const StepHold&) = delete;
  ~StepHold() { Release(); }
  void Release() {
    if (!gate_->open.HasBeenNotified()) gate_->open.Notify();
  }

 private:
  struct Gate final : GenerationSink {
    void OnUpdate(GenerationUpdate) override {}
    void OnEnd(GenerationEnd) override {
      reached.Notify();
      open.WaitForNotification();
    }
    absl::Notification reached, open;
  };
  const std::shared_ptr<Gate> gate_ = std::make_shared<Gate>();  // shared: with the engine
};

}  // namespace tandem
