// decoder of tokenizer.json: token strings back to text, one token at a time, so that streaming and whole decoding are
// one.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "base/json.h"

namespace tandem {

// One step of a running decoder: tokens in, tokens out.
class DecodeStep {
 public:
  virtual ~DecodeStep() = default;
  virtual void Push(std::string token, std::vector<std::string>* out) = 0;
  virtual void Flush(std::vector<std::string>* out) {}
};

// The state of one decoding. What it has returned is final: whole characters that no later token changes.
class DecodeChain {
 public:
  explicit DecodeChain(std::vector<std::unique_ptr<DecodeStep>> steps) : steps_(std::move(steps)) {}
  std::string Push(std::string token);
  std::string Flush();

 private:
  std::vector<std::string> Through(size_t first_step, std::vector<std::string> tokens);
  std::vector<std::unique_ptr<DecodeStep>> steps_;
};

// Immutable; thread-safe. Chains must not outlive it.
class Decoder {
 public:
  // `config` may be null: tokens are joined by spaces. INVALID_ARGUMENT names the field that is wrong or not supported.
  static absl::StatusOr<Decoder> Make(const Json* config);
  DecodeChain NewChain() const;

 private:
  using StepFactory = std::function<std::unique_ptr<DecodeStep>()>;
  absl::Status Add(const Json& config, const std::string& path);
  absl::Status AddStrip(const Json& config, const std::string& path);
  absl::Status AddReplace(const Json& config, const std::string& path);
  absl::Status AddMetaspace(const Json& config, const std::string& path);
  template <typename Step, typename... Args>
  void AddStep(Args... args);

  std::vector<StepFactory> factories_;
  bool fused_ = false;  // a step joins all tokens into one: later steps see parts of that one
};

}  // namespace tandem
