#include "inference/completions.h"

#include <utility>

#include "base/check.h"

namespace tandem {

class Completions::OneSink final : public GenerationSink {
 public:
  OneSink(std::shared_ptr<Completions> all, int index) : all_(std::move(all)), index_(index) {}
  void OnUpdate(GenerationUpdate update) override { all_->Update(index_, std::move(update)); }
  void OnEnd(GenerationEnd end) override { all_->End(index_, std::move(end)); }

 private:
  const std::shared_ptr<Completions> all_;  // shared: by the sinks of all completions
  const int index_;
};

Completions::Completions(int count, std::shared_ptr<GenerationSink> sink)
    : usage_(count), running_(count), sink_(std::move(sink)) {
  CHECK(sink_ != nullptr);
}

std::shared_ptr<GenerationSink> Completions::Sink(int index) {
  return std::make_shared<OneSink>(shared_from_this(), index);
}

// The prompt is the first one's: the others found it computed.
Usage Completions::Total(int index, const Usage& usage) {
  usage_[index] = usage;
  Usage total{.prompt_tokens = usage.prompt_tokens, .cached_tokens = usage_[0].cached_tokens};
  for (const Usage& one : usage_) {
    total.completion_tokens += one.completion_tokens;
    total.drafted_tokens += one.drafted_tokens;
    total.accepted_tokens += one.accepted_tokens;
  }
  return total;
}

void Completions::Update(int index, GenerationUpdate update) {
  if (sink_ == nullptr) return;
  update.index = index;
  update.usage = Total(index, update.usage);
  sink_->OnUpdate(std::move(update));
}

void Completions::End(int index, GenerationEnd end) {
  if (sink_ == nullptr) return;
  end.index = index;
  end.usage = Total(index, end.usage);
  status_ = end.status;
  if (--running_ > 0 && status_.ok()) return sink_->OnCompletionEnd(std::move(end));
  std::exchange(sink_, nullptr)->OnEnd(std::move(end));
}

}  // namespace tandem
