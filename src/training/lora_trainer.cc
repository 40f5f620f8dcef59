#include "training/lora_trainer.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <utility>

#include "base/check.h"
#include "ops/optimizer.h"

namespace tandem {
namespace {

// torch.nn.utils.clip_grad_norm_ adds this to the norm that it divides by.
constexpr double kClipEpsilon = 1e-6;

}  // namespace

LoraTrainer::LoraTrainer(LoraWeights weights, Backend* backend, AdapterStore* store)
    : weights_(std::move(weights)),
      backend_(backend),
      store_(store),
      adapter_(store->AddWorkingCopy(weights_)),
      gradients_(static_cast<size_t>(store->shapes().num_layers)) {
  parameters_.reserve(2 * weights_.pairs().size());
  for (const LoraPair& pair : weights_.pairs()) {
    LoraGradients& gradients = gradients_[static_cast<size_t>(pair.layer)].linears[static_cast<int>(pair.linear)];
    gradients.da = Add(pair.a).gradient.view();
    gradients.db = Add(pair.b).gradient.view();
  }
}

LoraTrainer::~LoraTrainer() {
  store_->RemoveWorkingCopy(adapter_);
}

LoraTrainer::Parameter& LoraTrainer::Add(const Tensor& value) {
  const auto zeros = [&] { return Tensor::Zeros(DType::kF32, value.shape()); };
  return parameters_.emplace_back(Parameter{value.view(), zeros(), zeros(), zeros()});
}

int LoraTrainer::lowest_layer() const {
  return weights_.pairs().front().layer;
}

double LoraTrainer::Step(const Hyperparameters& h, double learning_rate, int64_t num_tokens) {
  CHECK_GE(num_tokens, 1);
  double sum_of_squares = 0;
  for (const Parameter& p : parameters_) sum_of_squares += ops::SumOfSquares(*backend_, p.gradient.view());
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
    ops::AdamW(*backend_, p.value, p.gradient.view(), p.m.view(), p.v.view(), step);
    std::memset(p.gradient.data(), 0, p.gradient.size_bytes());
  }
  store_->UpdateWorkingCopy(adapter_, weights_);
  return norm;
}

}  // namespace tandem
