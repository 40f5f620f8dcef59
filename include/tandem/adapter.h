// Adapters as other folders name them.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/time/time.h"

namespace tandem {

// One immutable generation of one adapter, or one job's working copy. id 0 is the bare base model.
struct AdapterRef {
  int32_t id = 0;
  int32_t generation = 0;
  bool is_base() const { return id == 0; }
  bool operator==(const AdapterRef&) const = default;
};

// How an adapter changes the linears that it targets, y = W x + bias. What it targets unless told otherwise follows.
enum class PeftMethod : uint8_t {
  kLora,        // y + s B A x (Hu et al. 2021); every linear
  kDora,        // m (W + s B A) / ||W + s B A|| x + bias, row by row (Liu et al. 2024); every linear
  kIa3,         // l y, or W (l x) + bias (Liu et al. 2022); k_proj, v_proj, down_proj
  kBottleneck,  // y + U f(D y) (Houlsby et al. 2019); o_proj, down_proj
};

constexpr std::string_view Name(PeftMethod method) {
  constexpr std::string_view kNames[] = {"lora", "dora", "ia3", "bottleneck"};
  return kNames[static_cast<int>(method)];
}

// Where a job's request keeps the method's options: LoRA and DoRA are one message.
constexpr std::string_view FieldOf(PeftMethod method) {
  return method == PeftMethod::kDora ? Name(PeftMethod::kLora) : Name(method);
}

struct AdapterInfo {
  std::string name;
  int generation = 0;  // the one that new requests get; numbered from 1
  PeftMethod method = PeftMethod::kLora;
  int rank = 0;                             // of a bottleneck its width; 0: the method has none
  double alpha = 0;                         // 0: the method has none
  std::vector<std::string> target_modules;  // short names: "q_proj"
  int64_t num_parameters = 0;
  std::string path;    // the PEFT directory of this generation; "" where it has none
  std::string job_id;  // the job that published it; "" where loaded from a file
  absl::Time created;
};

}  // namespace tandem
