// LoRA parameters on the host: y = W x + scale B (A x) with A [rank, in], B [out, rank] and scale = alpha / rank
// (Hu et al. 2021). f32 throughout; what training updates and what PEFT files hold.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "tandem/job.h"
#include "tandem/linears.h"
#include "tensor/tensor.h"

namespace tandem {

inline constexpr int kMaxLoraRank = 4096;

enum class LoraScaling { kStandard, kRankStabilized };  // alpha / rank; alpha / sqrt(rank) (Kalajdzievski 2023)

// What an adapter is before its numbers.
struct LoraSpec {
  int rank = 0;                     // 1 .. kMaxLoraRank
  double alpha = 0;                 // finite
  std::vector<LinearKind> targets;  // distinct, in the order of LinearKind; at least one
  LoraScaling scaling = LoraScaling::kStandard;
  LinearNames names = {};  // of the model that the adapter belongs to

  float scale() const;
};

// The kinds that `targets` mean in a model with these linears: short names, or "all-linear" alone; none mean all.
// INVALID_ARGUMENT suggests the nearest.
absl::StatusOr<std::vector<LinearKind>> ParseTargetModules(absl::Span<const std::string> targets,
                                                           const LinearNames& names = {});

// INVALID_ARGUMENT names the field of `config` that is out of range.
absl::StatusOr<LoraSpec> MakeLoraSpec(const LoraConfig& config, const LinearNames& names = {});

// The bypass of one linear.
struct LoraPair {
  LinearKind linear = LinearKind::kQProj;
  int layer = 0;
  Tensor a;  // [rank, in] f32
  Tensor b;  // [out, rank] f32
};

// A and B of one linear's bypass on the device of a backend.
struct LoraViews {
  LinearKind linear = LinearKind::kQProj;
  int layer = 0;
  TensorView a, b;  // as LoraPair's
};

// Every pair of one adapter. Move-only. Not thread-safe.
class LoraWeights {
 public:
  LoraWeights() = default;
  // All zero, a pair on every target of every layer.
  LoraWeights(LoraSpec spec, const LinearShapes& shapes);
  // `pairs` in any order, at least one, at most one on each linear of a layer, on targets only, of the spec's rank.
  LoraWeights(LoraSpec spec, std::vector<LoraPair> pairs);
  LoraWeights(LoraWeights&&) = default;
  LoraWeights& operator=(LoraWeights&&) = default;
  LoraWeights Clone() const;

  // As peft starts: A uniform in (-1/sqrt(in), 1/sqrt(in)) (Kaiming, a = sqrt(5)), B zero. Each number is a function of
  // (seed, layer, linear, index) alone, whatever the targets.
  void Initialize(uint64_t seed);

  const LoraSpec& spec() const { return spec_; }
  int rank() const { return spec_.rank; }
  double alpha() const { return spec_.alpha; }
  float scale() const { return spec_.scale(); }
  int64_t num_parameters() const;

  // By layer, then in the order of LinearKind.
  const std::vector<LoraPair>& pairs() const { return pairs_; }
  std::vector<LoraPair>& pairs() { return pairs_; }
  // Null where that linear has no bypass.
  const LoraPair* Find(int layer, LinearKind kind) const;

 private:
  void IndexPairs();

  LoraSpec spec_;
  std::vector<LoraPair> pairs_;
  std::vector<int> index_;  // [layers * kNumLinears] into pairs_, or -1
};

}  // namespace tandem
