// The linears of a decoder layer: their names as Hugging Face spells them, and their sizes. What adapters attach to and
// what a checkpoint holds.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace tandem {

// In the order in which a layer runs them.
enum class LinearKind : uint8_t { kQProj, kKProj, kVProj, kOProj, kGateProj, kUpProj, kDownProj };

inline constexpr int kNumLinears = 7;
inline constexpr std::array<LinearKind, kNumLinears> kAllLinears = {
    LinearKind::kQProj,    LinearKind::kKProj,  LinearKind::kVProj,   LinearKind::kOProj,
    LinearKind::kGateProj, LinearKind::kUpProj, LinearKind::kDownProj};

// "q_proj": what PEFT's target_modules name.
constexpr std::string_view Name(LinearKind kind) {
  constexpr std::array<std::string_view, kNumLinears> kNames = {"q_proj",    "k_proj",  "v_proj",   "o_proj",
                                                                "gate_proj", "up_proj", "down_proj"};
  return kNames[static_cast<int>(kind)];
}

constexpr std::optional<LinearKind> FindLinear(std::string_view name) {
  for (const LinearKind kind : kAllLinears) {
    if (Name(kind) == name) return kind;
  }
  return std::nullopt;
}

// "model.layers.3.self_attn.q_proj"
inline std::string ModuleName(int layer, LinearKind kind) {
  const bool attention = kind <= LinearKind::kOProj;
  return "model.layers." + std::to_string(layer) + (attention ? ".self_attn." : ".mlp.") + std::string(Name(kind));
}

// "model.layers.3.self_attn.q_proj.weight": [out, in]
inline std::string WeightName(int layer, LinearKind kind) {
  return ModuleName(layer, kind) + ".weight";
}

struct LinearDims {
  int64_t in = 0, out = 0;
  bool operator==(const LinearDims&) const = default;
};

// Of every layer alike.
struct LinearShapes {
  int num_layers = 0;
  std::array<LinearDims, kNumLinears> dims;  // by LinearKind
  const LinearDims& operator[](LinearKind kind) const { return dims[static_cast<int>(kind)]; }
};

}  // namespace tandem
