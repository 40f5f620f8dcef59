#include "training/job.h"

#include <algorithm>
#include <cmath>
#include <span>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/status.h"

namespace tandem {
namespace {

std::vector<Tape> MakeTapes(const PreparedJob& job, const TrainingParts& parts) {
  std::vector<Tape> tapes;
  const std::vector<LinearKind> kept = job.weights.spec().targets_that_read_output();
  const int num_tapes = SamplesInFlight(job.spec.hyperparameters, job.dataset);
  for (int i = 0; i < num_tapes; ++i)
    tapes.emplace_back(*parts.backend, *parts.desc, parts.activations, job.dataset.max_rows, kept);
  return tapes;
}

std::span<const BackwardUnit> UnitsThatRan(const Batch& batch, int backward_skipped) {
  return std::span(batch.backward).first(batch.backward.size() - backward_skipped);
}

// Completed with what only the model knows of a fresh DoRA adapter.
const AdapterWeights& WithMagnitudes(AdapterWeights& weights, RowNorms* row_norms) {
  if (weights.needs_magnitudes()) {
    CHECK(row_norms != nullptr);
    weights.SetMagnitudes([&](int layer, LinearKind kind) { return row_norms->Of(layer, kind); });
  }
  return weights;
}

PipelineOptions PipelineOptionsOf(JobId id, const TrainingParts& parts, int lowest_layer) {
  return {.job = id,
          .num_layers = parts.desc->num_layers,
          .lowest_layer = lowest_layer,
          .forward_window = parts.options.forward_window,
          .backward_window = parts.options.backward_window,
          .priority = parts.options.priority};
}

}  // namespace

TrainingJob::TrainingJob(JobId id, PreparedJob prepared, const TrainingParts& parts)
    : id_(id),
      prepared_(std::move(prepared)),
      schedule_(prepared_.spec.hyperparameters, static_cast<int64_t>(prepared_.dataset.samples.size())),
      registry_(parts.registry),
      settle_backward_(parts.settle_backward),
      trainer_(WithMagnitudes(prepared_.weights, parts.row_norms), parts.backend, parts.publication.store),
      publisher_(parts.publication, id, prepared_.spec.adapter_name),
      pipeline_(PipelineOptionsOf(id, parts, trainer_.lowest_layer()), MakeTapes(prepared_, parts),
                &trainer_.gradients(), parts.pool, parts.sequence_ids) {
  prepared_.weights = {};
  registry_->MarkRunning(id_);
  BeginStep();
}

void TrainingJob::BeginStep() {
  const Hyperparameters& h = prepared_.spec.hyperparameters;
  const std::vector<Sample>& samples = prepared_.dataset.samples;
  const Schedule::Step step = schedule_.At(step_);
  if (step.epoch != order_epoch_) {
    order_ = EpochOrder(static_cast<int>(samples.size()), h.seed, step.epoch, h.shuffle ? Shuffle::kYes : Shuffle::kNo);
    order_epoch_ = step.epoch;
  }
  learned_tokens_ = 0;
  loss_ = 0;
  tokens_ = 0;
  std::vector<const Sample*> chosen;
  for (int i = step.first; i < step.first + step.num_samples; ++i) {
    chosen.push_back(&samples[static_cast<size_t>(order_[static_cast<size_t>(i)])]);
    learned_tokens_ += chosen.back()->num_learned;
  }
  pipeline_.Begin(std::move(chosen));
}

void TrainingJob::Launched(const Batch& batch, int backward_skipped) {
  for (const Span& span : batch.spans) {
    if (pipeline_.Find(span.sequence) != nullptr) pipeline_.Launched(span);
  }
  for (const BackwardUnit& unit : UnitsThatRan(batch, backward_skipped)) {
    if (unit.job == id_) pipeline_.Launched(unit);
  }
}

absl::StatusOr<TrainingJob::Progress> TrainingJob::Commit(const Batch& batch, const StepResult& result) {
  RETURN_IF_ERROR(publisher_.failure());
  if (!result.status.ok() && TakesPart(batch)) return Annotate(result.status, absl::StrCat("step ", step_ + 1));
  if (!result.status.ok() && stepped_.has_value()) {
    return Annotate(result.status, absl::StrCat("the optimizer of step ", stepped_->step));
  }
  CHECK_EQ(result.losses.size(), batch.spans.size());
  for (size_t i = 0; i < batch.spans.size(); ++i) RETURN_IF_ERROR(TakeSpan(batch.spans[i], result.losses[i]));
  for (const BackwardUnit& unit : UnitsThatRan(batch, result.backward_skipped)) {
    if (unit.job == id_) TakeUnit(unit);
  }
  if (pipeline_.done() && !stepped_.has_value()) StepOptimizer();
  return stepped_.has_value() && trainer_.norm().has_value() ? EndStep(*trainer_.norm()) : Progress::kRunning;
}

bool TrainingJob::TakesPart(const Batch& batch) const {
  const auto own_span = [&](const Span& span) { return pipeline_.Find(span.sequence) != nullptr; };
  const auto own_unit = [&](const BackwardUnit& unit) { return unit.job == id_; };
  return std::any_of(batch.spans.begin(), batch.spans.end(), own_span) ||
         std::any_of(batch.backward.begin(), batch.backward.end(), own_unit);
}

absl::Status TrainingJob::TakeSpan(const Span& span, double loss) {
  const Sample* const sample = pipeline_.Find(span.sequence);
  if (sample == nullptr) return absl::OkStatus();
  if (!std::isfinite(loss)) {
    return absl::InternalError(absl::StrCat("step ", step_ + 1, ": the loss of the sample in line ", sample->line,
                                            " is ", loss, ", want a finite number; a lower learning rate may help"));
  }
  pipeline_.Commit(span, loss);
  return absl::OkStatus();
}

void TrainingJob::TakeUnit(const BackwardUnit& unit) {
  const std::optional<SamplePipeline::Finished> finished = pipeline_.Commit(unit);
  if (!finished.has_value()) return;
  const int rows = finished->sample->num_rows();
  loss_ += finished->loss;
  tokens_ += rows;
  trained_tokens_ += rows;
  registry_->AddTokens(id_, rows);
}

bool TrainingJob::publishes() const {
  const int every = prepared_.spec.publish_every_steps;
  return step_ == schedule_.total_steps() || (every > 0 && step_ % every == 0);
}

// The next step begins behind it, but where it would change what is to be published.
void TrainingJob::StepOptimizer() {
  const double learning_rate = schedule_.LearningRate(step_);
  trainer_.Step(prepared_.spec.hyperparameters, learning_rate, learned_tokens_);
  ++step_;
  stepped_ = {.step = step_,
              .epoch = schedule_.EpochsAfter(step_),
              .loss = loss_ / static_cast<double>(learned_tokens_),
              .learning_rate = learning_rate,
              .tokens = tokens_};
  if (!publishes()) BeginStep();
}

absl::StatusOr<TrainingJob::Progress> TrainingJob::EndStep(double norm) {
  StepReport report = *std::exchange(stepped_, std::nullopt);
  report.gradient_norm = norm;
  if (!std::isfinite(norm)) {
    return absl::InternalError(absl::StrCat("step ", report.step, ": the gradient norm is ", norm,
                                            ", want a finite number; a lower learning rate may help"));
  }
  registry_->ReportStep(id_, report);
  if (report.step < step_ || !publishes()) return Progress::kRunning;
  ASSIGN_OR_RETURN(AdapterWeights weights, trainer_.Snapshot());
  if (step_ == schedule_.total_steps()) {
    publisher_.PublishAndFinish(std::move(weights));
    return Progress::kTrained;
  }
  publisher_.Publish(std::move(weights), step_);
  BeginStep();
  return Progress::kRunning;
}

}  // namespace tandem
