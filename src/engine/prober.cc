#include "engine/prober.h"

#include <algorithm>

#include "absl/time/clock.h"
#include "base/check.h"
#include "base/status.h"

namespace tandem {
namespace {

constexpr int kProbeRank = 16;   // of the adapter that training probes run with: JobSpec's default
constexpr int kBesideRows = 32;  // of the units beside a probe: the next one waits for the rest of one of them

}  // namespace

Prober::Prober(const Parts& parts, const ProbeLimits& limits)
    : parts_(parts),
      limits_(limits),
      gradients_(static_cast<size_t>(parts.model->desc().num_layers)),
      tape_(*parts.backend, parts.model->desc(), parts.model->activation_dtype(), limits.max_trained) {
  const absl::StatusOr<PeftSpec> spec =
      MakePeftSpec({.rank = kProbeRank, .alpha = kProbeRank}, parts.adapters->shapes().names);
  CHECK(spec.ok()) << spec.status().ToString();
  AdapterWeights weights(*spec, parts.adapters->shapes());
  weights.Initialize(0);
  adapter_ = parts.adapters->AddWorkingCopy(weights);
  gradient_tensors_.reserve(2 * weights.bypasses().size());
  for (const BypassWeights& bypass : weights.bypasses()) {
    BypassGradients& to = gradients_[static_cast<size_t>(bypass.layer)].linears[static_cast<int>(bypass.linear)];
    to.da = gradient_tensors_.emplace_back(*parts.backend, DType::kF32, bypass.a.shape()).view();
    to.db = gradient_tensors_.emplace_back(*parts.backend, DType::kF32, bypass.b.shape()).view();
  }
}

Prober::~Prober() {
  parts_.adapters->RemoveWorkingCopy(adapter_);
}

absl::StatusOr<absl::Duration> Prober::Run(const Probe& probe) {
  int tokens = 1;
  for (const Probe::Rows& span : probe.spans) tokens = std::max(tokens, span.first_position + span.num_rows);
  for (const TokenWindow& unit : UnitsOf(probe)) tokens = std::max(tokens, unit.end);
  CHECK_LE(tokens, limits_.max_context);
  ASSIGN_OR_RETURN(const BlockTable blocks, parts_.pool->Allocate(static_cast<int>(parts_.pool->BlocksFor(tokens))));
  const Batch batch = MakeBatch(probe, blocks.blocks());
  const absl::Time begin = absl::Now();
  const StepResult result = parts_.model->Run(batch);
  const absl::Duration took = absl::Now() - begin;
  parts_.model->SettleBackward();
  if (probe.beside && result.time != StepResult::Time::kOfForwardBeside) {
    return absl::FailedPreconditionError("backward was through before the forward");
  }
  return took;
}

// Beside what is to be timed: one of each layer, about as much as a forward of as many rows on half of the cores.
std::vector<TokenWindow> Prober::UnitsOf(const Probe& probe) const {
  if (!probe.beside) return probe.units;
  const TokenWindow window{0, std::min({kBesideRows, limits_.max_backward_rows, limits_.max_trained})};
  return std::vector<TokenWindow>(static_cast<size_t>(parts_.model->desc().num_layers), window);
}

// All sequences share the blocks: what they hold does not change what reading and writing them costs. Nor does it that
// a unit's forward never ran: the tape holds zeros then.
Batch Prober::MakeBatch(const Probe& probe, std::span<const BlockId> blocks) {
  tape_.Begin(limits_.max_trained, &gradients_);
  Batch batch;
  for (const Probe::Rows& rows : probe.spans) {
    const bool trains = rows.kind == SpanKind::kTrainForward;
    batch.spans.push_back({.sequence = static_cast<SequenceId>(batch.spans.size()) + 1,
                           .adapter = trains ? adapter_ : AdapterRef{},
                           .kind = rows.kind,
                           .first_row = batch.num_rows(),
                           .num_rows = rows.num_rows,
                           .first_position = rows.first_position,
                           .blocks = blocks,
                           .tape = trains ? &tape_ : nullptr});
    batch.token_ids.insert(batch.token_ids.end(), rows.num_rows, 0);
    batch.labels.insert(batch.labels.end(), rows.num_rows, trains ? 0 : kIgnoredLabel);
    if (static_cast<int>(batch.samples.size()) < probe.samples && !trains) {
      batch.samples.push_back({.sequence = batch.spans.back().sequence, .row = batch.num_rows() - 1});
    }
  }
  const int layers = parts_.model->desc().num_layers;
  batch.backward_beside = probe.beside;
  int unit = 0;
  for (const TokenWindow& window : UnitsOf(probe)) {
    batch.backward.push_back({.job = 1,
                              .sequence = 1,
                              .layer = layers - 1 - unit++ % layers,
                              .window = window,
                              .adapter = adapter_,
                              .blocks = blocks,
                              .tape = &tape_});
  }
  return batch;
}

}  // namespace tandem
