#include "training/sample_pipeline.h"

#include <algorithm>
#include <utility>

#include "base/check.h"

namespace tandem {

SamplePipeline::SamplePipeline(const PipelineOptions& options, std::vector<Tape> tapes,
                               const std::vector<LayerGradients>* gradients, BlockPool* pool, SequenceIds* ids)
    : options_(options), tapes_(std::move(tapes)), gradients_(gradients), pool_(pool), ids_(ids) {
  CHECK(!tapes_.empty());
  CHECK_GE(options.forward_window, 1);
  CHECK_GE(options.backward_window, 1);
  CHECK(options.lowest_layer >= 0 && options.lowest_layer < options.num_layers) << options.lowest_layer;
  for (Tape& tape : tapes_) free_tapes_.push_back(&tape);
}

void SamplePipeline::Begin(std::vector<const Sample*> samples) {
  CHECK(done());
  queue_.assign(samples.begin(), samples.end());
  StartNext();
}

void SamplePipeline::StartNext() {
  if (queue_.empty() || free_tapes_.empty()) return;
  if (!runs_.empty() && runs_.back().in_forward()) return;
  Run& run = runs_.emplace_back();
  run.id = ids_->Next();
  run.sample = queue_.front();
  run.tape = free_tapes_.back();
  queue_.pop_front();
  free_tapes_.pop_back();
  run.tape->Begin(run.num_rows(), gradients_);
}

void SamplePipeline::AppendOffers(Offers& offers) const {
  for (const Run& run : runs_) {
    offers.blocks_held += run.blocks.size();
    if (!run.in_forward() && !run.recomputes()) continue;
    offers.spans.push_back(
        {.sequence = run.id,
         .kind = SpanKind::kTrainForward,
         .ready_rows = std::min(options_.forward_window, run.next_end() - run.kv_rows),
         .rows_to_end = run.num_rows() - run.kv_rows,
         .first_position = run.kv_rows,
         .blocks_to_reserve = run.blocks.empty() ? static_cast<int>(pool_->BlocksFor(run.num_rows())) : 0,
         .priority = options_.priority,
         .arrival = {}});  // the order of the offers counts
  }
  // The last one has the least behind it.
  for (auto run = runs_.rbegin(); run != runs_.rend(); ++run) {
    if (!run->blocks.empty()) offers.held.push_back({.sequence = run->id, .blocks = run->blocks.size()});
  }
  if (runs_.empty() || runs_.front().in_forward() || runs_.front().recomputes()) return;
  const Run& run = runs_.front();
  BackwardOffer offer{.job = options_.job, .sequence = run.id, .units = {}};
  for (int k = run.backward_units; k < UnitsOf(run); ++k) offer.units.push_back(WindowOf(run, k));
  offers.backward.push_back(std::move(offer));
}

bool SamplePipeline::Emit(const SpanGrant& grant, AdapterRef adapter, Batch& batch) {
  Run* const run = FindRun(grant.sequence);
  if (run == nullptr) return false;
  CHECK_GE(grant.num_rows, 1);
  CHECK_LE(grant.num_rows, run->next_end() - run->kv_rows);
  if (run->blocks.empty()) {
    absl::StatusOr<BlockTable> blocks = pool_->Allocate(static_cast<int>(pool_->BlocksFor(run->num_rows())));
    CHECK(blocks.ok()) << "granted what is not free: " << blocks.status();
    run->blocks = std::move(*blocks);
  }
  const bool recomputes = run->recomputes();
  batch.spans.push_back({.sequence = run->id,
                         .adapter = adapter,
                         .kind = recomputes ? SpanKind::kEvaluate : SpanKind::kTrainForward,
                         .first_row = batch.num_rows(),
                         .num_rows = grant.num_rows,
                         .first_position = run->kv_rows,
                         .blocks = run->blocks.blocks(),
                         .tape = recomputes ? nullptr : run->tape});
  const auto append = [&](const std::vector<int32_t>& from, std::vector<int32_t>& to) {
    const auto first = from.begin() + run->kv_rows;
    to.insert(to.end(), first, first + grant.num_rows);
  };
  append(run->sample->tokens, batch.token_ids);
  if (recomputes) {
    batch.labels.insert(batch.labels.end(), grant.num_rows, kIgnoredLabel);
  } else {
    append(run->sample->labels, batch.labels);
  }
  return true;
}

bool SamplePipeline::Emit(const BackwardGrant& grant, AdapterRef adapter, Batch& batch) {
  Run* const run = FindRun(grant.sequence);
  if (run == nullptr) return false;
  CHECK(run == &runs_.front() && !run->in_forward() && !run->recomputes())
      << "backward of sequence " << run->id << " was not on offer";
  CHECK_LE(run->backward_units + grant.num_units, UnitsOf(*run));
  for (int k = run->backward_units; k < run->backward_units + grant.num_units; ++k) {
    batch.backward.push_back({.job = options_.job,
                              .sequence = run->id,
                              .layer = LayerOf(*run, k),
                              .window = WindowOf(*run, k),
                              .adapter = adapter,
                              .blocks = run->blocks.blocks(),
                              .tape = run->tape});
  }
  return true;
}

const Sample* SamplePipeline::Find(SequenceId sequence) const {
  const auto is_it = [&](const Run& run) { return run.id == sequence; };
  for (const std::deque<Run>* runs : {&runs_, &leaving_}) {
    const auto run = std::find_if(runs->begin(), runs->end(), is_it);
    if (run != runs->end()) return run->sample;
  }
  return nullptr;
}

void SamplePipeline::Launched(const Span& span) {
  Run* const run = FindRun(span.sequence);
  CHECK(run != nullptr);
  CHECK_EQ(span.first_position, run->kv_rows);
  run->kv_rows += span.num_rows;
  if (span.tape == nullptr) return;
  run->forward_rows += span.num_rows;
  if (!run->in_forward()) StartNext();
}

// What a sample held goes to the next one at once: whatever that runs is launched behind.
void SamplePipeline::Launched(const BackwardUnit& unit) {
  CHECK(!runs_.empty());
  Run& run = runs_.front();
  CHECK_EQ(unit.sequence, run.id);
  CHECK_EQ(unit.layer, LayerOf(run, run.backward_units));
  CHECK_EQ(unit.window.begin, WindowOf(run, run.backward_units).begin);
  if (++run.backward_units < UnitsOf(run)) return;
  free_tapes_.push_back(run.tape);
  run.blocks.Release();
  leaving_.push_back(std::move(run));
  runs_.pop_front();
  StartNext();
}

void SamplePipeline::Commit(const Span& span, double loss) {
  if (span.tape != nullptr) FindInFlight(span.sequence)->loss += loss;
}

std::optional<SamplePipeline::Finished> SamplePipeline::Commit(const BackwardUnit& unit) {
  Run& run = *FindInFlight(unit.sequence);
  if (++run.units_over < UnitsOf(run)) return std::nullopt;
  CHECK_EQ(run.id, leaving_.front().id);
  const Finished finished{.sample = run.sample, .loss = run.loss};
  leaving_.pop_front();
  return finished;
}

bool SamplePipeline::Preempt(SequenceId sequence) {
  Run* const run = FindRun(sequence);
  if (run == nullptr) return false;
  run->blocks.Release();
  run->kv_rows = 0;
  return true;
}

SamplePipeline::Run* SamplePipeline::FindRun(SequenceId sequence) {
  const auto run = std::find_if(runs_.begin(), runs_.end(), [&](const Run& r) { return r.id == sequence; });
  return run == runs_.end() ? nullptr : &*run;
}

SamplePipeline::Run* SamplePipeline::FindInFlight(SequenceId sequence) {
  const auto run = std::find_if(leaving_.begin(), leaving_.end(), [&](const Run& r) { return r.id == sequence; });
  Run* const found = run != leaving_.end() ? &*run : FindRun(sequence);
  CHECK(found != nullptr) << "sequence " << sequence;
  return found;
}

int SamplePipeline::WindowsOf(const Run& run) const {
  return (run.num_rows() + options_.backward_window - 1) / options_.backward_window;
}

TokenWindow SamplePipeline::WindowOf(const Run& run, int k) const {
  const int windows = WindowsOf(run);
  const int begin = (windows - 1 - k % windows) * options_.backward_window;
  return {.begin = begin, .end = std::min(begin + options_.backward_window, run.num_rows())};
}

}  // namespace tandem
