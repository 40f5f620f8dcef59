#include "training/lora_trainer.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "base/check.h"
#include "base/status.h"
#include "ops/optimizer.h"

namespace tandem {
namespace {

// torch.nn.utils.clip_grad_norm_ adds this to the norm that it divides by.
constexpr double kClipEpsilon = 1e-6;

}  // namespace

LoraTrainer::LoraTrainer(const LoraWeights& weights, Backend* backend, AdapterStore* store)
    : spec_(weights.spec()),
      backend_(backend),
      store_(store),
      adapter_(store->AddWorkingCopy(weights)),
      gradients_(static_cast<size_t>(store->shapes().num_layers)) {
  parameters_.reserve(2 * weights.pairs().size());
  for (const LoraPair& pair : weights.pairs()) {
    const Parameter &a = Add(pair.a), &b = Add(pair.b);
    pairs_.push_back({pair.linear, pair.layer, a.value.view(), b.value.view()});
    gradients_[static_cast<size_t>(pair.layer)].linears[static_cast<int>(pair.linear)] = {a.gradient.view(),
                                                                                          b.gradient.view()};
  }
}

LoraTrainer::~LoraTrainer() {
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
  RETURN_IF_ERROR(backend_->Finish());
  return LoraWeights(spec_, std::move(pairs));
}

int LoraTrainer::lowest_layer() const {
  return pairs_.front().layer;
}

absl::StatusOr<double> LoraTrainer::Step(const Hyperparameters& h, double learning_rate, int64_t num_tokens) {
  CHECK_GE(num_tokens, 1);
  double sum_of_squares = 0;
  for (const Parameter& p : parameters_) sum_of_squares += ops::SumOfSquares(*backend_, p.gradient.view());
  RETURN_IF_ERROR(backend_->Finish());
  const double norm = std::sqrt(sum_of_squares) / static_cast<double>(num_tokens);
  if (!std::isfinite(norm)) return norm;

  const double clip = h.max_grad_norm > 0 ? std::min(1.0, h.max_grad_norm / (norm + kClipEpsilon)) : 1.0;
  const AdamWStep step{.learning_rate = learning_rate,
                       .beta1 = h.beta1,
                       .beta2 = h.beta2,
                       .epsilon = h.epsilon,
                       .weight_decay = h.weight_decay,
                       .gradient_scale = clip / static_cast<double>(num_tokens),
                       .step = ++num_steps_};
  for (Parameter& p : parameters_) {
    ops::AdamW(*backend_, p.value.view(), p.gradient.view(), p.m.view(), p.v.view(), step);
    backend_->Zero(p.gradient.view());
  }
  store_->UpdateWorkingCopy(adapter_, pairs_);
  RETURN_IF_ERROR(backend_->Finish());
  return norm;
}

}  // namespace tandem
