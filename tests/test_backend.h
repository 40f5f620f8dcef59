// The backend that a test binary runs on. Tests of the model and of training are linked twice: with cpu_test_backend.cc
// and, on the emulated device, with backend/cuda/cuda_test_backend.cc; those of the engine with the former and with
// engine/ahead_test_backend.cc.
#pragma once

#include <memory>
#include <vector>

#include "tandem/backend.h"

namespace tandem {

std::unique_ptr<Backend> MakeTestBackend(int threads);

// The elements of an f32 tensor on the backend's device.
inline std::vector<float> ReadTensor(Backend& backend, const TensorView& tensor) {
  std::vector<float> values(tensor.shape.num_elements());
  backend.Download(tensor, View(values.data(), tensor.shape));
  return values;
}

}  // namespace tandem
