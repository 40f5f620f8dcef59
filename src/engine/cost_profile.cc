#include "engine/cost_profile.h"

#include <algorithm>
#include <filesystem>
#include <memory>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "base/check.h"
#include "base/file.h"
#include "base/log.h"
#include "model/tape.h"
#include "sched/profile.h"

namespace tandem {
namespace {

constexpr int kProbeRank = 16;  // of the adapter that training probes run with: JobSpec's default
constexpr size_t kMaxFileBytes = size_t{1} << 20;

// FNV-1a: the same on every platform and in every run.
uint64_t Hash(const std::string& text) {
  uint64_t hash = 0xcbf29ce484222325;
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3;
  return hash;
}

// Runs one probe after the other on the model; holds the blocks and the tape that they share.
class Prober {
 public:
  Prober(const CostProfileParts& parts, int max_context)
      : model_(*parts.model),
        adapters_(*parts.adapters),
        gradients_(static_cast<size_t>(model_.desc().num_layers)),
        tape_(*parts.backend, model_.desc(), model_.activation_dtype(), max_context) {
    const absl::StatusOr<LoraSpec> spec =
        MakeLoraSpec({.rank = kProbeRank, .alpha = kProbeRank}, adapters_.shapes().names);
    CHECK(spec.ok()) << spec.status().ToString();
    LoraWeights weights(*spec, adapters_.shapes());
    weights.Initialize(0);
    adapter_ = adapters_.AddWorkingCopy(weights);
    gradient_tensors_.reserve(2 * weights.pairs().size());
    for (const LoraPair& pair : weights.pairs()) {
      LoraGradients& to = gradients_[static_cast<size_t>(pair.layer)].linears[static_cast<int>(pair.linear)];
      to.da = gradient_tensors_.emplace_back(*parts.backend, DType::kF32, pair.a.shape()).view();
      to.db = gradient_tensors_.emplace_back(*parts.backend, DType::kF32, pair.b.shape()).view();
    }
    absl::StatusOr<BlockTable> blocks = parts.pool->Allocate(static_cast<int>(parts.pool->BlocksFor(max_context)));
    CHECK(blocks.ok()) << blocks.status().ToString();
    blocks_ = std::move(*blocks);
  }
  Prober(const Prober&) = delete;
  Prober& operator=(const Prober&) = delete;
  ~Prober() { adapters_.RemoveWorkingCopy(adapter_); }

  absl::Duration Run(const Probe& probe) {
    const Batch batch = probe.backward_rows > 0 ? Backward(probe.backward_rows) : Forward(probe);
    const absl::Time begin = absl::Now();
    model_.Run(batch);
    return absl::Now() - begin;
  }

 private:
  Batch Forward(const Probe& probe) {
    Batch batch;
    if (probe.training) tape_.Begin(probe.span_rows, &gradients_);
    for (int i = 0; i < probe.spans; ++i) {
      // All sequences share the blocks: what they hold does not change what reading and writing them costs.
      batch.spans.push_back({.sequence = i + 1,
                             .adapter = probe.training ? adapter_ : AdapterRef{},
                             .kind = probe.training         ? SpanKind::kTrainForward
                                     : probe.span_rows == 1 ? SpanKind::kDecode
                                                            : SpanKind::kPrefill,
                             .first_row = batch.num_rows(),
                             .num_rows = probe.span_rows,
                             .first_position = probe.context,
                             .blocks = blocks_.blocks(),
                             .tape = probe.training ? &tape_ : nullptr});
      batch.token_ids.insert(batch.token_ids.end(), probe.span_rows, 0);
      batch.labels.insert(batch.labels.end(), probe.span_rows, probe.training ? 0 : kIgnoredLabel);
      if (i < probe.samples) batch.samples.push_back({.sequence = i + 1, .row = batch.num_rows() - 1});
    }
    return batch;
  }

  // One unit of a layer in the middle. The tape holds what no forward wrote (zeros): the arithmetic is the same.
  Batch Backward(int rows) {
    tape_.Begin(rows, &gradients_);
    Batch batch;
    batch.backward.push_back({.job = 1,
                              .sequence = 1,
                              .layer = model_.desc().num_layers / 2,
                              .window = {0, rows},
                              .adapter = adapter_,
                              .blocks = blocks_.blocks(),
                              .tape = &tape_});
    return batch;
  }

  Model& model_;
  AdapterStore& adapters_;
  AdapterRef adapter_;
  std::vector<DeviceTensor> gradient_tensors_;
  std::vector<LayerGradients> gradients_;
  Tape tape_;
  BlockTable blocks_;
};

}  // namespace

std::string CostModelPath(const std::string& directory, const std::string& model_path, const ModelDesc& desc,
                          const std::string& device, const std::string& dtype) {
  const std::string name = std::filesystem::path(model_path).lexically_normal().filename().string();
  const std::string key =
      absl::StrCat(device, "|", dtype, "|", desc.num_layers, "|", desc.hidden, "|", desc.ffn, "|", desc.num_heads, "|",
                   desc.num_kv_heads, "|", desc.head_dim, "|", desc.vocab, "|", TANDEM_VERSION);
  return absl::StrCat(directory, "/", name.empty() ? "model" : name, "-", absl::StrFormat("%016x", Hash(key)), ".json");
}

CostModel ProfileModel(const CostProfileParts& parts) {
  const int pool_tokens = parts.pool->free() * parts.pool->block_size();
  ProfileOptions options{.limit = parts.limit, .max_rows = parts.max_batch_rows};
  options.max_context = std::min({1024, parts.model->max_context(), pool_tokens});
  options.max_backward_rows = std::min(parts.max_backward_rows, options.max_context);
  Prober prober(parts, options.max_context);
  const absl::Time begin = absl::Now();
  const CostModel model(MeasureProfile(options, [&](const Probe& probe) { return prober.Run(probe); }));
  StepFeatures one;
  one.AddSpan(SpanKind::kDecode, 1, 0);
  one.samples = 1;
  LOG_INFO("cost model: profiled in {:.1f} s; a decode takes {:.2f} ms, a row beyond {:.3f} ms",
           absl::ToDoubleSeconds(absl::Now() - begin), 1e3 * model.Seconds(one), 1e3 * model.SecondsPerRow());
  return model;
}

CostModel LoadOrProfile(const std::string& path, const CostProfileParts& parts) {
  if (!path.empty()) {
    const absl::StatusOr<std::string> text = ReadFile(path, kMaxFileBytes);
    if (text.ok()) {
      absl::StatusOr<CostModel> model = CostModel::FromJson(*text);
      if (model.ok()) {
        LOG_INFO("cost model: from {}", path);
        return *std::move(model);
      }
      LOG_WARN("{}: {}; profiling again", path, std::string(model.status().message()));
    }
  }
  CostModel model = ProfileModel(parts);
  SaveCostModel(path, model);
  return model;
}

void SaveCostModel(const std::string& path, const CostModel& model) {
  if (path.empty()) return;
  std::error_code error;
  std::filesystem::create_directories(std::filesystem::path(path).parent_path(), error);
  const absl::Status status = WriteFileAtomically(path, model.ToJson());
  if (!status.ok()) LOG_WARN("cost model: {}", status.ToString());
}

}  // namespace tandem
