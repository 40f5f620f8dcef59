#include "adapter/adapter_weights.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/names.h"
#include "base/status.h"

namespace tandem {
namespace {

constexpr std::string_view kAllLinear = "all-linear";

int IndexOf(int layer, LinearKind kind) {
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

bool Contains(const std::vector<LinearKind>& kinds, LinearKind kind) {
  return std::find(kinds.begin(), kinds.end(), kind) != kinds.end();
}

std::vector<LinearKind> DefaultTargets(PeftMethod method, const LinearNames& names) {
  std::vector<LinearKind> kinds;
  switch (method) {
    case PeftMethod::kLora:
    case PeftMethod::kDora:
      return names.Kinds();
    case PeftMethod::kIa3:
      kinds = {LinearKind::kKProj, LinearKind::kVProj, LinearKind::kDownProj};
      break;
    case PeftMethod::kBottleneck:
      kinds = {LinearKind::kOProj, LinearKind::kDownProj};
      break;
  }
  std::erase_if(kinds, [&](LinearKind kind) { return !names.Has(kind); });
  return kinds;
}

absl::StatusOr<std::vector<LinearKind>> ParseFeedforward(const std::vector<std::string>& modules,
                                                         const PeftSpec& spec) {
  if (modules.empty()) {
    if (!Contains(spec.targets, LinearKind::kDownProj)) return std::vector<LinearKind>();
    return std::vector<LinearKind>{LinearKind::kDownProj};
  }
  ASSIGN_OR_RETURN(const std::vector<LinearKind> kinds, ParseTargetModules(modules, spec.names, spec.method));
  for (const LinearKind kind : kinds) {
    if (Contains(spec.targets, kind)) continue;
    return absl::InvalidArgumentError(
        absl::StrCat("feedforward module '", std::string(spec.names.Name(kind)), "' is none of the target modules"));
  }
  return kinds;
}

Tensor ZerosOf(const Shape& shape) {
  return shape.rank() == 0 ? Tensor() : Tensor::Zeros(DType::kF32, shape);
}

Tensor CopyOf(const Tensor& tensor) {
  return tensor.empty() ? Tensor() : Tensor::CopyOf(tensor.view());
}

}  // namespace

bool PeftSpec::scales_input(LinearKind kind) const {
  return method == PeftMethod::kIa3 && Contains(feedforward, kind);
}

std::vector<LinearKind> PeftSpec::targets_that_read_output() const {
  std::vector<LinearKind> kinds;
  std::copy_if(targets.begin(), targets.end(), std::back_inserter(kinds),
               [this](LinearKind kind) { return reads_output(kind); });
  return kinds;
}

float PeftSpec::scale() const {
  if (!has_alpha()) return 1;
  const double divisor = scaling == LoraScaling::kRankStabilized ? std::sqrt(static_cast<double>(rank)) : rank;
  return static_cast<float>(alpha / divisor);
}

int64_t PeftSpec::Shapes::num_elements() const {
  const auto elements = [](const Shape& shape) { return shape.rank() == 0 ? 0 : shape.num_elements(); };
  return elements(a) + elements(b) + elements(factor);
}

PeftSpec::Shapes PeftSpec::ShapesOf(LinearKind kind, const LinearDims& dims) const {
  Shapes shapes;
  if (has_pair()) {
    shapes.a = {rank, method == PeftMethod::kBottleneck ? dims.out : dims.in};
    shapes.b = {dims.out, rank};
  }
  if (has_factor()) shapes.factor = {scales_input(kind) ? dims.in : dims.out};
  return shapes;
}

absl::StatusOr<std::vector<LinearKind>> ParseTargetModules(absl::Span<const std::string> targets,
                                                           const LinearNames& names, PeftMethod method) {
  if (targets.empty()) return DefaultTargets(method, names);
  if (targets.size() == 1 && targets[0] == kAllLinear) return names.Kinds();
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

std::string_view NameOf(Activation activation) {
  switch (activation) {
    case Activation::kSilu:
      return "silu";
    case Activation::kGeluTanh:
      return "gelu_tanh";
    case Activation::kGelu:
      return "gelu";
    case Activation::kRelu:
      break;
  }
  return "relu";
}

std::optional<Activation> ParseActivation(std::string_view name) {
  for (const Activation each : {Activation::kSilu, Activation::kGelu, Activation::kGeluTanh, Activation::kRelu}) {
    if (name == NameOf(each)) return each;
  }
  return std::nullopt;
}

absl::StatusOr<PeftSpec> MakePeftSpec(const PeftOptions& options, const LinearNames& names) {
  PeftSpec spec;
  spec.method = options.method.value_or(PeftMethod::kLora);
  if (spec.has_pair()) {
    if (options.rank < 1 || options.rank > kMaxRank) {
      const char* field = spec.method == PeftMethod::kBottleneck ? "width" : "rank";
      return absl::InvalidArgumentError(absl::StrCat(field, " is ", options.rank, ", want from 1 to ", kMaxRank));
    }
    spec.rank = options.rank;
  }
  if (spec.has_alpha()) {
    if (!std::isfinite(options.alpha) || options.alpha <= 0) {
      return absl::InvalidArgumentError(absl::StrCat("alpha is ", options.alpha, ", want a finite number > 0"));
    }
    spec.alpha = options.alpha;
    if (options.rank_stabilized.value_or(false)) spec.scaling = LoraScaling::kRankStabilized;
  }
  if (spec.method == PeftMethod::kBottleneck) spec.activation = options.activation.value_or(spec.activation);
  spec.names = names;
  ASSIGN_OR_RETURN(spec.targets, ParseTargetModules(options.target_modules, names, spec.method));
  if (spec.targets.empty()) {
    return absl::InvalidArgumentError(absl::StrCat("target_modules is empty, and the model has none of those that ",
                                                   std::string(Name(spec.method)), " takes by itself"));
  }
  if (spec.method == PeftMethod::kIa3) {
    ASSIGN_OR_RETURN(spec.feedforward, ParseFeedforward(options.feedforward_modules, spec));
  }
  return spec;
}

AdapterWeights::AdapterWeights(PeftSpec spec, const LinearShapes& shapes) : spec_(std::move(spec)) {
  spec_.names = shapes.names;
  for (int layer = 0; layer < shapes.num_layers; ++layer) {
    for (const LinearKind kind : spec_.targets) {
      const PeftSpec::Shapes of = spec_.ShapesOf(kind, shapes[kind]);
      bypasses_.push_back({kind, layer, ZerosOf(of.a), ZerosOf(of.b), ZerosOf(of.factor)});
    }
  }
  IndexBypasses();
}

AdapterWeights::AdapterWeights(PeftSpec spec, std::vector<BypassWeights> pairs)
    : spec_(std::move(spec)), bypasses_(std::move(pairs)) {
  std::sort(bypasses_.begin(), bypasses_.end(), [](const BypassWeights& a, const BypassWeights& b) {
    return IndexOf(a.layer, a.linear) < IndexOf(b.layer, b.linear);
  });
  IndexBypasses();
}

void AdapterWeights::IndexBypasses() {
  CHECK(!bypasses_.empty());
  CHECK(!spec_.has_pair() || (spec_.rank >= 1 && spec_.rank <= kMaxRank)) << spec_.rank;
  index_.assign(static_cast<size_t>(bypasses_.back().layer + 1) * kNumLinears, -1);
  for (size_t i = 0; i < bypasses_.size(); ++i) {
    const BypassWeights& bypass = bypasses_[i];
    CHECK_EQ(bypass.factor.shape().rank(), spec_.has_factor() ? 1 : 0);
    CHECK_EQ(bypass.a.shape().rank(), spec_.has_pair() ? 2 : 0);
    if (spec_.has_pair()) {
      CHECK_EQ(bypass.a.shape()[0], spec_.rank);
      CHECK_EQ(bypass.b.shape()[1], spec_.rank);
    }
    CHECK(Contains(spec_.targets, bypass.linear));
    int& slot = index_[IndexOf(bypass.layer, bypass.linear)];
    CHECK_EQ(slot, -1) << "two bypasses on " << spec_.names.ModuleName(bypass.layer, bypass.linear);
    slot = static_cast<int>(i);
  }
}

AdapterWeights AdapterWeights::Clone() const {
  std::vector<BypassWeights> bypasses;
  for (const BypassWeights& bypass : bypasses_) {
    bypasses.push_back({bypass.linear, bypass.layer, CopyOf(bypass.a), CopyOf(bypass.b), CopyOf(bypass.factor)});
  }
  AdapterWeights clone(spec_, std::move(bypasses));
  clone.needs_magnitudes_ = needs_magnitudes_;
  return clone;
}

void AdapterWeights::Initialize(uint64_t seed) {
  needs_magnitudes_ = spec_.method == PeftMethod::kDora;
  for (BypassWeights& bypass : bypasses_) {
    if (spec_.has_factor()) {
      std::fill_n(bypass.factor.f32(), bypass.factor.num_elements(), needs_magnitudes_ ? 0.0f : 1.0f);
    }
    if (!spec_.has_pair()) continue;
    const uint64_t stream = static_cast<uint64_t>(IndexOf(bypass.layer, bypass.linear)) + 1;
    const double bound = 1.0 / std::sqrt(static_cast<double>(bypass.a.shape()[1]));
    FillUniform(Mix(Mix(seed + kGolden) + stream * kGolden), bound, bypass.a);
    std::fill_n(bypass.b.f32(), bypass.b.num_elements(), 0.0f);
  }
}

int64_t AdapterWeights::num_parameters() const {
  int64_t count = 0;
  for (const BypassWeights& bypass : bypasses_) {
    count += bypass.a.num_elements() + bypass.b.num_elements() + bypass.factor.num_elements();
  }
  return count;
}

const BypassWeights* AdapterWeights::Find(int layer, LinearKind kind) const {
  CHECK_GE(layer, 0);
  const size_t index = static_cast<size_t>(IndexOf(layer, kind));
  if (index >= index_.size() || index_[index] < 0) return nullptr;
  return &bypasses_[index_[index]];
}

}  // namespace tandem
