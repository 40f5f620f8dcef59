#include "adapter/lora.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/names.h"
#include "base/status.h"

namespace tandem {
namespace {

constexpr std::string_view kAllLinear = "all-linear";

int PairIndex(int layer, LinearKind kind) {
  return layer * kNumLinears + static_cast<int>(kind);
}

// The output function of splitmix64 (Steele, Lea and Flood 2014) over a counter: draw i needs no draw before it.
constexpr uint64_t kGolden = 0x9e3779b97f4a7c15u;

uint64_t Mix(uint64_t z) {
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

void FillUniform(uint64_t key, double bound, const Tensor& tensor) {
  float* out = tensor.f32();
  for (int64_t i = 0, n = tensor.num_elements(); i < n; ++i) {
    const uint64_t bits = Mix(key + static_cast<uint64_t>(i + 1) * kGolden) >> 11;
    const double unit = (static_cast<double>(bits) + 0.5) * 0x1p-53;  // (0, 1), both ends open
    out[i] = static_cast<float>((2 * unit - 1) * bound);
  }
}

}  // namespace

float LoraSpec::scale() const {
  const double divisor = scaling == LoraScaling::kRankStabilized ? std::sqrt(static_cast<double>(rank)) : rank;
  return static_cast<float>(alpha / divisor);
}

absl::StatusOr<std::vector<LinearKind>> ParseTargetModules(absl::Span<const std::string> targets,
                                                           const LinearNames& names) {
  if (targets.empty() || (targets.size() == 1 && targets[0] == kAllLinear)) return names.Kinds();
  std::vector<LinearKind> kinds;
  for (const std::string& name : targets) {
    const std::optional<LinearKind> kind = names.Find(name);
    if (!kind.has_value()) {
      std::vector<std::string> known;
      for (const LinearKind each : names.Kinds()) known.emplace_back(names.Name(each));
      known.emplace_back(kAllLinear);
      const char* alone = name == kAllLinear ? " stands alone" : " is unknown";
      return absl::InvalidArgumentError(
          absl::StrCat("target module '", name, "'", alone, name == kAllLinear ? "" : SuggestNames(name, known)));
    }
    kinds.push_back(*kind);
  }
  std::sort(kinds.begin(), kinds.end());
  kinds.erase(std::unique(kinds.begin(), kinds.end()), kinds.end());
  return kinds;
}

absl::StatusOr<LoraSpec> MakeLoraSpec(const LoraConfig& config, const LinearNames& names) {
  if (config.rank < 1 || config.rank > kMaxLoraRank) {
    return absl::InvalidArgumentError(absl::StrCat("rank is ", config.rank, ", want from 1 to ", kMaxLoraRank));
  }
  if (!std::isfinite(config.alpha) || config.alpha <= 0) {
    return absl::InvalidArgumentError(absl::StrCat("alpha is ", config.alpha, ", want a finite number > 0"));
  }
  LoraSpec spec;
  spec.rank = config.rank;
  spec.alpha = config.alpha;
  ASSIGN_OR_RETURN(spec.targets, ParseTargetModules(config.target_modules, names));
  spec.names = names;
  return spec;
}

LoraWeights::LoraWeights(LoraSpec spec, const LinearShapes& shapes) : spec_(std::move(spec)) {
  spec_.names = shapes.names;
  for (int layer = 0; layer < shapes.num_layers; ++layer) {
    for (const LinearKind kind : spec_.targets) {
      pairs_.push_back({.linear = kind,
                        .layer = layer,
                        .a = Tensor::Zeros(DType::kF32, {spec_.rank, shapes[kind].in}),
                        .b = Tensor::Zeros(DType::kF32, {shapes[kind].out, spec_.rank})});
    }
  }
  IndexPairs();
}

LoraWeights::LoraWeights(LoraSpec spec, std::vector<LoraPair> pairs)
    : spec_(std::move(spec)), pairs_(std::move(pairs)) {
  std::sort(pairs_.begin(), pairs_.end(), [](const LoraPair& a, const LoraPair& b) {
    return PairIndex(a.layer, a.linear) < PairIndex(b.layer, b.linear);
  });
  IndexPairs();
}

void LoraWeights::IndexPairs() {
  CHECK(!pairs_.empty());
  CHECK(spec_.rank >= 1 && spec_.rank <= kMaxLoraRank) << spec_.rank;
  index_.assign(static_cast<size_t>(pairs_.back().layer + 1) * kNumLinears, -1);
  for (size_t i = 0; i < pairs_.size(); ++i) {
    const LoraPair& pair = pairs_[i];
    CHECK_EQ(pair.a.shape()[0], spec_.rank);
    CHECK_EQ(pair.b.shape()[1], spec_.rank);
    CHECK(std::find(spec_.targets.begin(), spec_.targets.end(), pair.linear) != spec_.targets.end());
    int& slot = index_[PairIndex(pair.layer, pair.linear)];
    CHECK_EQ(slot, -1) << "two pairs on " << spec_.names.ModuleName(pair.layer, pair.linear);
    slot = static_cast<int>(i);
  }
}

LoraWeights LoraWeights::Clone() const {
  std::vector<LoraPair> pairs;
  for (const LoraPair& pair : pairs_) {
    pairs.push_back({pair.linear, pair.layer, Tensor::CopyOf(pair.a.view()), Tensor::CopyOf(pair.b.view())});
  }
  return LoraWeights(spec_, std::move(pairs));
}

void LoraWeights::Initialize(uint64_t seed) {
  for (LoraPair& pair : pairs_) {
    const uint64_t stream = static_cast<uint64_t>(PairIndex(pair.layer, pair.linear)) + 1;
    const double bound = 1.0 / std::sqrt(static_cast<double>(pair.a.shape()[1]));
    FillUniform(Mix(Mix(seed + kGolden) + stream * kGolden), bound, pair.a);
    std::fill_n(pair.b.f32(), pair.b.num_elements(), 0.0f);
  }
}

int64_t LoraWeights::num_parameters() const {
  int64_t count = 0;
  for (const LoraPair& pair : pairs_) count += pair.a.num_elements() + pair.b.num_elements();
  return count;
}

const LoraPair* LoraWeights::Find(int layer, LinearKind kind) const {
  CHECK_GE(layer, 0);
  const size_t index = static_cast<size_t>(PairIndex(layer, kind));
  if (index >= index_.size() || index_[index] < 0) return nullptr;
  return &pairs_[index_[index]];
}

}  // namespace tandem
