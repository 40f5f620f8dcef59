#include "training/adapter_trainer.h"

#include <utility>

#include "base/check.h"
#include "base/status.h"
#include "ops/optimizer.h"

namespace tandem {
AdapterTrainer::AdapterTrainer(const AdapterWeights& weights, Backend* backend, AdapterStore* store)
    : spec_(weights.spec()),
      backend_(backend),
      store_(store),
      adapter_(store->AddWorkingCopy(weights)),
      clip_scale_(*backend, DType::kF32, {1}),
      gradients_(static_cast<size_t>(store->shapes().num_layers)) {
  CHECK(!weights.needs_magnitudes());
  parameters_.reserve(3 * weights.bypasses().size());
  for (const BypassWeights& bypass : weights.bypasses()) {
    BypassViews& value = bypasses_.emplace_back(BypassViews{.linear = bypass.linear, .layer = bypass.layer});
    BypassGradients& gradient = gradients_[static_cast<size_t>(bypass.layer)].linears[static_cast<int>(bypass.linear)];
    const auto add = [&](const Tensor& initial, TensorView& of_value, TensorView& of_gradient) {
      if (initial.empty()) return;
      const Parameter& parameter = Add(initial);
      of_value = parameter.value.view();
      of_gradient = parameter.gradient.view();
    };
    add(bypass.a, value.a, gradient.da);
    add(bypass.b, value.b, gradient.db);
    add(bypass.factor, value.factor, gradient.dfactor);
  }
  for (const Parameter& p : parameters_) {
    all_tensors_.push_back({p.value.view(), p.gradient.view(), p.m.view(), p.v.view()});
    all_gradients_.push_back(p.gradient.view());
  }
}

AdapterTrainer::~AdapterTrainer() {
  if (!norm().has_value()) backend_->Finish().IgnoreError();  // whose error it is, is told otherwise
  store_->RemoveWorkingCopy(adapter_);
}

const AdapterTrainer::Parameter& AdapterTrainer::Add(const Tensor& value) {
  const auto zeros = [&] { return DeviceTensor(*backend_, DType::kF32, value.shape()); };
  return parameters_.emplace_back(Parameter{DeviceTensor::CopyOf(*backend_, value.view()), zeros(), zeros(), zeros()});
}

absl::StatusOr<AdapterWeights> AdapterTrainer::Snapshot() const {
  const auto download = [&](const TensorView& view) {
    if (view.data == nullptr) return Tensor();
    Tensor host = Tensor::Empty(view.dtype, view.shape);
    backend_->Download(view, host.view());
    return host;
  };
  std::vector<BypassWeights> bypasses;
  for (const BypassViews& of : bypasses_) {
    bypasses.push_back({of.linear, of.layer, download(of.a), download(of.b), download(of.factor)});
  }
  RETURN_IF_ERROR(backend_->step_error());
  return AdapterWeights(spec_, std::move(bypasses));
}

int AdapterTrainer::lowest_layer() const {
  return bypasses_.front().layer;
}

void AdapterTrainer::Step(const Hyperparameters& h, double learning_rate, int64_t num_tokens) {
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
  store_->UpdateWorkingCopy(adapter_, bypasses_);
}

}  // namespace tandem
