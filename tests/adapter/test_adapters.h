// A small model's shapes and adapters for it.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "adapter/adapter_weights.h"

namespace tandem {

// Of tests/golden/models/gqa_untied.
inline LinearShapes GoldenShapes() {
  return {.num_layers = 3, .dims = {{{64, 64}, {64, 32}, {64, 32}, {64, 64}, {64, 160}, {64, 160}, {160, 64}}}};
}

// One layer of 4 -> 4 linears.
inline LinearShapes TinyShapes() {
  return {.num_layers = 1, .dims = {{{4, 4}, {4, 4}, {4, 4}, {4, 4}, {4, 4}, {4, 4}, {4, 4}}}};
}

inline PeftSpec MakeSpec(int rank, double alpha, std::vector<LinearKind> targets) {
  PeftSpec spec;
  spec.rank = rank;
  spec.alpha = alpha;
  spec.targets = std::move(targets);
  return spec;
}

// On q_proj and v_proj, every element of every A and B set.
inline AdapterWeights TestAdapter(const LinearShapes& shapes, int rank, float value) {
  AdapterWeights weights(MakeSpec(rank, rank, {LinearKind::kQProj, LinearKind::kVProj}), shapes);
  for (BypassWeights& pair : weights.bypasses()) {
    for (const Tensor* tensor : {&pair.a, &pair.b}) {
      for (int64_t i = 0; i < tensor->num_elements(); ++i) tensor->f32()[i] = value;
    }
  }
  return weights;
}

// For the CPU backend, whose memory is the host's. Borrows from `weights`.
inline std::vector<BypassViews> ViewsOf(const AdapterWeights& weights) {
  std::vector<BypassViews> views;
  for (const BypassWeights& pair : weights.bypasses()) {
    views.push_back({pair.linear, pair.layer, pair.a.view(), pair.b.view(), pair.factor.view()});
  }
  return views;
}

}  // namespace tandem
