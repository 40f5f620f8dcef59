// The trainable state of one job, on the device: its adapter's parameters in f32, their gradients, AdamW's moments, and
// the working copy that the model runs with.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "adapter/adapter_store.h"
#include "adapter/adapter_weights.h"
#include "backend/device_tensor.h"
#include "model/tape.h"
#include "tandem/backend.h"
#include "tandem/job.h"

namespace tandem {

// Step thread only.
class AdapterTrainer {
 public:
  // Starts from `weights`, magnitudes included, and registers the working copy; backend and store are borrowed.
  AdapterTrainer(const AdapterWeights& weights, Backend* backend, AdapterStore* store);
  AdapterTrainer(const AdapterTrainer&) = delete;
  AdapterTrainer& operator=(const AdapterTrainer&) = delete;
  ~AdapterTrainer();

  // The parameters now. An error is the device's.
  absl::StatusOr<AdapterWeights> Snapshot() const;
  AdapterRef adapter() const { return adapter_; }
  // [num_layers] where backward adds the gradients of the sum of all losses. Valid as long as this is.
  const std::vector<LayerGradients>& gradients() const { return gradients_; }
  // The lowest layer that holds a bypass: no gradient is needed below it.
  int lowest_layer() const;

  // Gives the device one optimizer step: divides the gradients by num_tokens, clips them to h.max_grad_norm as torch's
  // clip_grad_norm_ does, applies AdamW and zeroes them; the working copy follows. Where the norm is not finite nothing
  // changes, and this is not to be called again.
  void Step(const Hyperparameters& h, double learning_rate, int64_t num_tokens);
  // The norm of the last Step's gradients before clipping: there when the backend's step that it falls into is over.
  std::optional<double> norm() const { return norm_ < 0 ? std::nullopt : std::optional(norm_); }

 private:
  // One parameter tensor and what belongs to it.
  struct Parameter {
    DeviceTensor value, gradient, m, v;
  };

  const Parameter& Add(const Tensor& value);

  const PeftSpec spec_;
  Backend* const backend_;
  AdapterStore* const store_;
  const AdapterRef adapter_;
  std::vector<Parameter> parameters_;       // of each bypass those that its method has
  std::vector<TrainedTensor> all_tensors_;  // parameters_, as the optimizer takes them
  std::vector<TensorView> all_gradients_;
  DeviceTensor clip_scale_;            // [1], of the step
  std::vector<BypassViews> bypasses_;  // the values of parameters_
  std::vector<LayerGradients> gradients_;
  int num_steps_ = 0;
  double norm_ = 0;  // below 0: in flight, the backend will write it
};

}  // namespace tandem
