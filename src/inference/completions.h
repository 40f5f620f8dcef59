// The completions of one request, as its sink sees them: numbered, their usage added up, one end.
#pragma once

#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "tandem/generation.h"

namespace tandem {

// Step thread only.
class Completions : public std::enable_shared_from_this<Completions> {
 public:
  Completions(int count, std::shared_ptr<GenerationSink> sink);

  // Where completion `index` writes to. An end with an error ends all of them; what the others say then is dropped.
  std::shared_ptr<GenerationSink> Sink(int index);

  const absl::Status& status() const { return status_; }  // not OK: one of them failed

 private:
  class OneSink;
  void Update(int index, GenerationUpdate update);
  void End(int index, GenerationEnd end);
  // Of all of them, where that of `index` is `usage`.
  Usage Total(int index, const Usage& usage);

  std::vector<Usage> usage_;
  int running_;                           // that have not ended
  std::shared_ptr<GenerationSink> sink_;  // shared: as in Sequence; null once it heard of the end
  absl::Status status_;
};

}  // namespace tandem
