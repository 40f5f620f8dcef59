#include "training/lora_trainer.h"

#include <utility>

#include "base/check.h"
#include "base/status.h"
#include "ops/optimizer.h"

namespace tandem {
LoraTrainer::LoraTrainer(const LoraWeights& weights, Backend* backend, AdapterStore* store)
    : spec_(weights.spec()),
      backend_(backend),
      store_(store),
      adapter_(store->AddWorkingCopy(weights)),
      clip_scale_(*backend, DType::kF32, {1}),
      gradients_(static_cast<size_t>(store->shapes().num_layers)) {
  parameters_.reserve(2 * weights.pairs().size());
  for (const LoraPair& pair : weights.pairs()) {
    const Parameter &a = Add(pair.a), &b = Add(pair.b);
    pairs_.push_back({pair.linear, pair.layer, a.value.view(), b.value.view()});
    gradients_[static_cast<size_t>(pair.layer)].linears[static_cast<int>(pair.linear)] = {a.gradient.view(),
                                                                                          b.gradient.view()};
  }
  for (const Parameter& p : parameters_) {
    all_tensors_.push_back({p.value.view(), p.gradient.view(), p.m.view(), p.v.view()});
    all_gradients_.push_back(p.gradient.view());
  }
}

LoraTrainer::~LoraTrainer() {
  if (!norm().has_value()) backend_->Finish().IgnoreError();  // whose error it is, is told otherwise
  store_->RemoveWorkingCopy(adapter_);
}

const LoraTrainer::Parameter& LoraTrainer::Add(const Tensor& value) {
  const auto zeros = [&] { return DeviceTensor(*backend_, DType::kF32, value.shape()); };
  return parameters_.emplace_back(Parameter{DeviceTensor::CopyOf(*backend_, value.view()), zeros(), zeros(), zeros()});
}

absl::StatusOr<LoraWeights> LoraTrainer::Snapshot() const {
  const auto download = [&](const TensorView& view) {
    Tensor host = Tensor::Empty(view.dtype, view.shape);
    backend_->Download(view, host.view());
    return host;
  };
  std::vector<LoraPair> pairs;
  for (const LoraViews& pair : pairs_) pairs.push_back({pair.linear, pair.layer, download(pair.a), download(pair.b)});
  RETURN_IF_ERROR(backend_->step_error());
  return LoraWeights(spec_, std::move(pairs));
}

int LoraTrainer::lowest_layer() const {
  return pairs_.front().layer;
}

void LoraTrainer::Step(const Hyperparameters& h, double learning_rate, int64_t num_tokens) {
  CHECK_GE(num_tokens, 1);
  norm_ = -1;
  ops::ClipGradients(*backend_, all_gradients_,
                     {.divisor = static_cast<double>(num_tokens), .max_norm = h.max_grad_norm}, clip_scale_.view(),
                     {&norm_, 1});
  const AdamWStep step{.learning_rate = learning_rate,
                       .beta1 = h.beta1,
                       .beta2 = h.beta2,
                       .epsilon = h.epsilon,
                       .weight_decay = h.weight_decay,
                       .step = ++num_steps_};
  ops::AdamW(*backend_, all_tensors_, step, clip_scale_.view());
  store_->UpdateWorkingCopy(adapter_, pairs_);
}

}  // namespace tandem
