// The linears of a decoder layer: their roles, what a family calls them, and their sizes. What adapters attach to and
// what a checkpoint holds.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace tandem {

// Roles, in the order in which a layer runs them. An MLP without a gate has an up and a down projection.
enum class LinearKind : uint8_t { kQProj, kKProj, kVProj, kOProj, kGateProj, kUpProj, kDownProj };

inline constexpr int kNumLinears = 7;
inline constexpr std::array<LinearKind, kNumLinears> kAllLinears = {
    LinearKind::kQProj,    LinearKind::kKProj,  LinearKind::kVProj,   LinearKind::kOProj,
    LinearKind::kGateProj, LinearKind::kUpProj, LinearKind::kDownProj};

// Where a family keeps its linears: "<layers>.<layer>.<path>". The default is Llama's.
struct LinearNames {
  std::string layers = "model.layers";
  std::array<std::string, kNumLinears> paths = {"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj",
                                                "self_attn.o_proj", "mlp.gate_proj",    "mlp.up_proj",
                                                "mlp.down_proj"};  // by LinearKind; "": the family has none

  const std::string& path(LinearKind kind) const { return paths[static_cast<int>(kind)]; }
  bool Has(LinearKind kind) const { return !path(kind).empty(); }
  // In the order of LinearKind.
  std::vector<LinearKind> Kinds() const {
    std::vector<LinearKind> kinds;
    for (const LinearKind kind : kAllLinears) {
      if (Has(kind)) kinds.push_back(kind);
    }
    return kinds;
  }
  // "q_proj": what PEFT's target_modules name.
  std::string_view Name(LinearKind kind) const {
    const std::string_view whole = path(kind);
    return whole.substr(whole.rfind('.') + 1);
  }
  std::optional<LinearKind> Find(std::string_view name) const {
    for (const LinearKind kind : kAllLinears) {
      if (Has(kind) && Name(kind) == name) return kind;
    }
    return std::nullopt;
  }
  // "model.layers.3.self_attn.q_proj"
  std::string ModuleName(int layer, LinearKind kind) const {
    return layers + "." + std::to_string(layer) + "." + path(kind);
  }
};

struct LinearDims {
  int64_t in = 0, out = 0;
  bool operator==(const LinearDims&) const = default;
};

// Of every layer alike.
struct LinearShapes {
  int num_layers = 0;
  std::array<LinearDims, kNumLinears> dims;  // by LinearKind
  LinearNames names = {};
  const LinearDims& operator[](LinearKind kind) const { return dims[static_cast<int>(kind)]; }
};

}  // namespace tandem
