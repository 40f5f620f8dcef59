// Embeddings as every front end offers them: what a client may say, and the ends of its inputs gathered into one
// answer.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "tandem/generation.h"

namespace tandem {

enum class Normalization { kNone, kUnitLength };

struct EmbeddingResult {
  std::vector<std::vector<float>> embeddings;  // in the order of the inputs
  std::vector<int> tokens;                     // of each input
  Usage usage;
  int adapter_generation = 0;  // 0: the base model
};

// Thread-safe.
class EmbeddingGatherer : public std::enable_shared_from_this<EmbeddingGatherer> {
 public:
  // `done` is called once, on whatever thread brings the last end or the first error.
  using Done = std::function<void(absl::StatusOr<EmbeddingResult>)>;
  EmbeddingGatherer(size_t count, Normalization normalization, Done done);

  // Where the request of input `index` ends.
  std::shared_ptr<GenerationSink> Sink(size_t index);

  // An error that no request brings: `status` is not OK.
  void Fail(const absl::Status& status);

 private:
  class OneSink;
  void Take(size_t index, GenerationEnd end);

  const Normalization normalization_;
  absl::Mutex mutex_;
  Done done_ ABSL_GUARDED_BY(mutex_);  // null once it was called
  EmbeddingResult result_ ABSL_GUARDED_BY(mutex_);
  size_t running_ ABSL_GUARDED_BY(mutex_);
};

// `values` divided by its Euclidean length; one of zeros stays as it is.
void NormalizeLength(std::vector<float>& values);

}  // namespace tandem
