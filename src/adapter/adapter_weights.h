// An adapter's parameters on the host: a bypass around some of the linears y = W x + bias of each layer. f32
// throughout; what training updates and what PEFT files hold. What each method computes with them: PeftMethod.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "tandem/job.h"
#include "tandem/linears.h"
#include "tensor/tensor.h"

namespace tandem {

inline constexpr int kMaxRank = 4096;

enum class LoraScaling { kStandard, kRankStabilized };  // alpha / rank; alpha / sqrt(rank) (Kalajdzievski 2023)

// What an adapter is before its numbers: the single place that knows which parameters a method has and where they act.
struct PeftSpec {
  PeftMethod method = PeftMethod::kLora;
  int rank = 0;                     // 1 .. kMaxRank; of a bottleneck its width; IA3: 0
  double alpha = 0;                 // finite; LoRA and DoRA
  std::vector<LinearKind> targets;  // distinct, in the order of LinearKind; at least one
  LoraScaling scaling = LoraScaling::kStandard;
  std::vector<LinearKind> feedforward = {};   // IA3: the targets whose input is scaled; in the order of LinearKind
  Activation activation = Activation::kSilu;  // of a bottleneck
  LinearNames names = {};                     // of the model that the adapter belongs to

  bool has_pair() const { return method != PeftMethod::kIa3; }  // A and B
  bool has_alpha() const { return method == PeftMethod::kLora || method == PeftMethod::kDora; }
  bool has_factor() const { return method == PeftMethod::kDora || method == PeftMethod::kIa3; }
  bool scales_input(LinearKind kind) const;
  // Whether the bypass reads what the linear has computed: its own rows of y, not only x.
  bool reads_output(LinearKind kind) const { return method != PeftMethod::kLora && !scales_input(kind); }
  std::vector<LinearKind> targets_that_read_output() const;
  float scale() const;  // of the pair

  // Of each parameter around a linear of this size; empty shapes where the method has none.
  struct Shapes {
    Shape a, b, factor;
    int64_t num_elements() const;
  };
  Shapes ShapesOf(LinearKind kind, const LinearDims& dims) const;
};

// The kinds that `targets` mean in a model with these linears: short names, or "all-linear" alone; none mean those that
// the method targets by itself. INVALID_ARGUMENT suggests the nearest.
absl::StatusOr<std::vector<LinearKind>> ParseTargetModules(absl::Span<const std::string> targets,
                                                           const LinearNames& names = {},
                                                           PeftMethod method = PeftMethod::kLora);

// How requests and files spell a bottleneck's activation.
inline constexpr std::string_view kActivationNames = "silu, gelu, gelu_tanh or relu";
std::string_view NameOf(Activation activation);
std::optional<Activation> ParseActivation(std::string_view name);

// INVALID_ARGUMENT names the field of `options` that is out of range.
absl::StatusOr<PeftSpec> MakePeftSpec(const PeftOptions& options, const LinearNames& names = {});

// The bypass of one linear. Tensors that the method does not have are empty.
struct BypassWeights {
  LinearKind linear = LinearKind::kQProj;
  int layer = 0;
  Tensor a = {};       // [rank, in] f32; [rank, out] where a bottleneck reads the output
  Tensor b = {};       // [out, rank] f32
  Tensor factor = {};  // [out] f32; [in] where it scales the input
};

// The same on the device of a backend.
struct BypassViews {
  LinearKind linear = LinearKind::kQProj;
  int layer = 0;
  TensorView a = {}, b = {}, factor = {};
};

// Every bypass of one adapter. Move-only. Not thread-safe.
class AdapterWeights {
 public:
  AdapterWeights() = default;
  // All zero, a bypass on every target of every layer.
  AdapterWeights(PeftSpec spec, const LinearShapes& shapes);
  // `bypasses` in any order, at least one, at most one on each linear of a layer, on targets only, of the spec's rank.
  AdapterWeights(PeftSpec spec, std::vector<BypassWeights> bypasses);
  AdapterWeights(AdapterWeights&&) = default;
  AdapterWeights& operator=(AdapterWeights&&) = default;
  AdapterWeights Clone() const;

  // As peft starts, so that the adapter changes nothing: A uniform in (-1/sqrt(in), 1/sqrt(in)) (Kaiming, a = sqrt(5)),
  // B zero, IA3's factors one. Each number is a function of (seed, layer, linear, index) alone, whatever the targets.
  // DoRA's factors are to be the norms of W's rows, which only the model knows: they stay zero here, and
  // needs_magnitudes() true until SetMagnitudes.
  void Initialize(uint64_t seed);
  bool needs_magnitudes() const { return needs_magnitudes_; }
  // norms(layer, linear) is a tensor [out] of f32.
  template <typename Norms>
  void SetMagnitudes(Norms&& norms) {
    for (BypassWeights& bypass : bypasses_) bypass.factor = norms(bypass.layer, bypass.linear);
    needs_magnitudes_ = false;
  }

  const PeftSpec& spec() const { return spec_; }
  int rank() const { return spec_.rank; }
  double alpha() const { return spec_.alpha; }
  float scale() const { return spec_.scale(); }
  int64_t num_parameters() const;

  // By layer, then in the order of LinearKind.
  const std::vector<BypassWeights>& bypasses() const { return bypasses_; }
  std::vector<BypassWeights>& bypasses() { return bypasses_; }
  // Null where that linear has no bypass.
  const BypassWeights* Find(int layer, LinearKind kind) const;

 private:
  void IndexBypasses();

  PeftSpec spec_;
  std::vector<BypassWeights> bypasses_;
  std::vector<int> index_;  // [layers * kNumLinears] into bypasses_, or -1
  bool needs_magnitudes_ = false;
};

}  // namespace tandem
