#include "engine/cost_profile.h"

#include <algorithm>
#include <filesystem>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/file.h"
#include "base/log.h"
#include "base/status.h"

namespace tandem {
namespace {

constexpr size_t kMaxFileBytes = size_t{1} << 20;
// Runs of a probe: the first fills caches and page tables, the fastest of the others counts; more of the very first
// probe, which all else is scaled by.
constexpr int kRuns = 3, kFirstRuns = 5;
constexpr absl::Duration kLongestProbe = absl::Milliseconds(300);  // that a request may have to wait for

// FNV-1a: the same on every platform and in every run.
uint64_t Hash(const std::string& text) {
  uint64_t hash = 0xcbf29ce484222325;
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3;
  return hash;
}

}  // namespace

std::string CostModelPath(const std::string& directory, const std::string& model_path, const ModelDesc& desc,
                          const std::string& device, const std::string& dtype) {
  const std::string name = std::filesystem::path(model_path).lexically_normal().filename().string();
  const std::string key =
      absl::StrCat(device, "|", dtype, "|", desc.num_layers, "|", desc.hidden, "|", desc.ffn, "|", desc.num_heads, "|",
                   desc.num_kv_heads, "|", desc.head_dim, "|", desc.vocab, "|", TANDEM_VERSION);
  return absl::StrCat(directory, "/", name.empty() ? "model" : name, "-", absl::StrFormat("%016x", Hash(key)), ".json");
}

ModelShape ShapeOf(const ModelDesc& desc, DType weight_dtype) {
  const double hidden = desc.hidden, experts = std::max(1, desc.experts.routing.top_k);
  return {.num_layers = desc.num_layers,
          .layer_parameters =
              hidden * (2 * desc.q_size() + 2 * desc.kv_size()) + (desc.gated ? 3 : 2) * hidden * desc.ffn * experts,
          .head_parameters = static_cast<double>(desc.vocab) * desc.embedding_width,
          .bytes_per_parameter = static_cast<double>(ByteSize(weight_dtype)),
          .query_width = static_cast<double>(desc.q_size())};
}

absl::StatusOr<CostModel> LoadCostModel(const std::string& path) {
  ASSIGN_OR_RETURN(const std::string text, ReadFile(path, kMaxFileBytes));
  absl::StatusOr<CostModel> model = CostModel::FromJson(text);
  if (!model.ok()) return Annotate(model.status(), path);
  return model;
}

void SaveCostModel(const std::string& path, const CostModel& model) {
  if (path.empty()) return;
  std::error_code error;
  std::filesystem::create_directories(std::filesystem::path(path).parent_path(), error);
  const absl::Status status = WriteFileAtomically(path, model.ToJson());
  if (!status.ok()) LOG_WARN("cost model: {}", status.ToString());
}

IdleProfile::IdleProfile(const Prober::Parts& parts, const ProbeLimits& limits, std::vector<Probe> probes,
                         absl::Duration limit)
    : prober_(parts, limits), probes_(std::move(probes)), limit_(limit) {}

void IdleProfile::RunNext(CostModel& model) {
  const Probe& probe = probes_[next_];
  const StepFeatures features = FeaturesOf(probe);
  // A guess that has seen nothing says nothing about how long the first one takes.
  if (next_ > 0 && model.Predict(features) > kLongestProbe) return Advance();
  const absl::StatusOr<absl::Duration> took = prober_.Run(probe);
  if (!took.ok()) return Advance();  // e.g. the pool is full of what is cached; the next one may be smaller
  spent_ += *took;
  if (runs_ > 0) least_ = runs_ == 1 ? *took : std::min(least_, *took);
  if (++runs_ < (next_ == 0 ? kFirstRuns : kRuns)) return;
  model.Observe(features, least_);
  Advance();
}

void IdleProfile::Advance() {
  ++next_;
  runs_ = 0;
  if (spent_ >= limit_) next_ = probes_.size();
}

}  // namespace tandem
