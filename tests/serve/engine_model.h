// The real engine as a model that a ModelHost loads.
#pragma once

#include <memory>
#include <string_view>
#include <utility>

#include "engine/engine.h"
#include "serve/core/model_host.h"

namespace tandem {

class EngineModel : public LoadedModel {
 public:
  explicit EngineModel(std::unique_ptr<Engine> engine) : engine_(std::move(engine)) {}
  ServeParts parts() override {
    ServeParts parts;
    parts.model = {
        .tokenizer = &engine_->tokenizer(), .max_context = engine_->max_context(), .vocab = engine_->desc().vocab};
    parts.inference = engine_.get();
    parts.fine_tuning = engine_.get();
    parts.adapters = engine_.get();
    parts.status = engine_.get();
    parts.random = [] { return uint64_t{1}; };
    return parts;
  }
  void Start() override { engine_->Start(); }
  void Drain(absl::Duration grace, std::string_view reason) override { engine_->Drain(grace, reason); }
  absl::Status failure() const override { return engine_->failure(); }

 private:
  const std::unique_ptr<Engine> engine_;
};

// Engines with these options, on the source's directory.
inline ModelLoader EngineLoader(const EngineOptions& options) {
  return [options](const ModelSource& source,
                   const LoadProgress& progress) -> absl::StatusOr<std::unique_ptr<LoadedModel>> {
    EngineOptions own = options;
    own.model_path = source.path;
    own.progress = progress;
    auto engine = Engine::Create(own);
    if (!engine.ok()) return engine.status();
    return std::make_unique<EngineModel>(*std::move(engine));
  };
}

}  // namespace tandem
