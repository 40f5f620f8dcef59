#include "serve/core/embedding.h"

#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/status.h"

namespace tandem {

class EmbeddingGatherer::OneSink final : public GenerationSink {
 public:
  OneSink(std::shared_ptr<EmbeddingGatherer> all, size_t index) : all_(std::move(all)), index_(index) {}
  void OnUpdate(GenerationUpdate) override {}
  void OnEnd(GenerationEnd end) override { all_->Take(index_, std::move(end)); }

 private:
  const std::shared_ptr<EmbeddingGatherer> all_;  // shared: by the sinks of all inputs
  const size_t index_;
};

EmbeddingGatherer::EmbeddingGatherer(size_t count, Normalization normalization, Done done)
    : normalization_(normalization), done_(std::move(done)), running_(count) {
  CHECK_GE(count, size_t{1});
  result_.embeddings.resize(count);
  result_.tokens.resize(count);
}

std::shared_ptr<GenerationSink> EmbeddingGatherer::Sink(size_t index) {
  return std::make_shared<OneSink>(shared_from_this(), index);
}

void EmbeddingGatherer::Fail(const absl::Status& status) {
  CHECK(!status.ok());
  Done done;
  {
    const absl::MutexLock lock(&mutex_);
    done = std::exchange(done_, nullptr);
  }
  if (done != nullptr) done(status);
}

void EmbeddingGatherer::Take(size_t index, GenerationEnd end) {
  if (!end.status.ok()) return Fail(Annotate(end.status, absl::StrCat("inputs[", index, "]")));
  if (normalization_ == Normalization::kUnitLength) NormalizeLength(end.embedding);
  Done done;
  EmbeddingResult result;
  {
    const absl::MutexLock lock(&mutex_);
    result_.embeddings[index] = std::move(end.embedding);
    result_.tokens[index] = end.usage.prompt_tokens;
    result_.usage.prompt_tokens += end.usage.prompt_tokens;
    result_.usage.cached_tokens += end.usage.cached_tokens;
    result_.adapter_generation = end.adapter_generation;
    if (--running_ > 0) return;
    done = std::exchange(done_, nullptr);
    result = std::move(result_);
  }
  if (done != nullptr) done(std::move(result));
}

void NormalizeLength(std::vector<float>& values) {
  double squares = 0;
  for (const float value : values) squares += static_cast<double>(value) * value;
  if (squares == 0) return;
  const double scale = 1 / std::sqrt(squares);
  for (float& value : values) value = static_cast<float>(value * scale);
}

}  // namespace tandem
