// PEFT directories, in and out: adapter_config.json and adapter_model.safetensors. What peft writes is read where
// Tandem computes the same with it; what is written here, peft.PeftModel.from_pretrained loads.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "adapter/adapter_weights.h"

namespace tandem {

// Tensors may be F32, BF16 or F16. Errors name the file and the field or tensor with what was got and what is wanted:
// INVALID_ARGUMENT for what the model's shapes or Tandem do not admit, NOT_FOUND and the like from the file system.
absl::StatusOr<AdapterWeights> ReadPeftAdapter(const std::string& directory, const LinearShapes& shapes);

// Writes `directory`, whose parent exists, under a temporary name, syncs and renames: complete or absent. What stands
// there already, unless an empty directory, is ALREADY_EXISTS. `base_model` goes into the config for people to read.
absl::Status WritePeftAdapter(const std::string& directory, const AdapterWeights& weights,
                              const std::string& base_model);

}  // namespace tandem
