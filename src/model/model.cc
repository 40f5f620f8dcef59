#include "model/model.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/status.h"
#include "ops/activation.h"
#include "ops/embedding.h"
#include "ops/linear.h"
#include "ops/loss.h"
#include "ops/sampling.h"
#include "tensor/dtype.h"

namespace tandem {
namespace {

// Rows of logits that exist at a time.
constexpr int kLogitsChunk = 64;

int ContextOf(const ModelDesc& desc, const ModelOptions& options) {
  return options.max_context > 0 ? std::min(options.max_context, desc.max_context) : desc.max_context;
}

std::vector<DeviceTensor> MakeRopeTables(Backend& backend, const ModelDesc& desc, int positions) {
  std::vector<DeviceTensor> tables;
  for (const RopeDesc& rope : desc.ropes) {
    tables.push_back(DeviceTensor::CopyOf(backend, MakeRopeTable(rope, positions, desc.head_dim).view()));
  }
  return tables;
}

// Of rows' losses in steps of 2^-30: every sum of them is exact (below 2^22), so that it does not matter which windows
// a sequence was cut into.
double SumOfLosses(std::span<const double> rows) {
  double sum = 0;
  for (const double loss : rows) sum += std::nearbyint(loss * 0x1p30) * 0x1p-30;
  return sum;
}

// Whether it is one row of each sequence and nothing else: the batches that come again and again.
bool IsDecode(const Batch& batch) {
  return std::all_of(batch.spans.begin(), batch.spans.end(),
                     [](const Span& span) { return span.kind == SpanKind::kDecode && span.num_rows == 1; });
}

}  // namespace

absl::StatusOr<std::unique_ptr<Model>> Model::Load(const std::string& directory, const ModelOptions& options,
                                                   Backend& backend, const AdapterStore& adapters) {
  ASSIGN_OR_RETURN(ModelDesc desc, LoadModelDesc(directory));
  if (desc.head_dim % 16 != 0) {
    return absl::UnimplementedError(
        absl::StrCat(directory, "/config.json: head_dim is ", desc.head_dim, ", want a multiple of 16"));
  }
  ASSIGN_OR_RETURN(const std::unique_ptr<Checkpoint> checkpoint, Checkpoint::Open(directory));
  auto weights = LoadWeights(desc, *checkpoint, backend, options.progress);
  if (!weights.ok()) return Annotate(weights.status(), directory);
  return std::unique_ptr<Model>(new Model(std::move(desc), *std::move(weights), options, backend, adapters));
}

Model::Model(ModelDesc desc, ModelWeights weights, const ModelOptions& options, Backend& backend,
             const AdapterStore& adapters)
    : desc_(std::move(desc)),
      weights_(std::move(weights)),
      backend_(backend),
      adapters_(adapters),
      kv_(backend, {.num_layers = desc_.num_layers,
                    .num_blocks = options.kv_blocks + 1,
                    .block_size = options.kv_block_size,
                    .num_kv_heads = desc_.num_kv_heads,
                    .head_dim = desc_.head_dim,
                    .dtype = weights_.dtype}),
      max_context_(ContextOf(desc_, options)),
      activations_(backend.ActivationDType(weights_.dtype)),
      padding_block_(options.kv_blocks),
      rope_tables_(MakeRopeTables(backend, desc_, max_context_)),
      row_norms_(backend, weights_, activations_),
      scratch_(backend, desc_, activations_, options.max_batch_rows),
      hidden_(backend, activations_, {options.max_batch_rows, desc_.hidden}),
      dhead_(backend, activations_, {options.max_batch_rows, desc_.embedding_width}),
      logits_(backend, DType::kF32, {kLogitsChunk, desc_.vocab}) {
  std::unique_ptr<Backend> lane = backend.CreateLane();
  if (backend.overlaps_backward() || lane != nullptr) {
    backward_scratch_.emplace(backend, desc_, activations_, options.max_batch_rows);
  }
  if (lane == nullptr) return;
  lane_ = std::make_unique<BackwardLane>(backend, std::move(lane), [this](Backend& backend, const BackwardUnit& unit) {
    DecoderBackward(context(backend), unit, *backward_scratch_);
  });
}

Model::InFlight Model::Launch(const Batch& batch) {
  CHECK_LE(batch.num_rows(), hidden_.shape()[0]);
  InFlight step;
  step.row_losses.resize(batch.num_rows());
  BeginBackward(batch);
  if (batch.num_rows() == 0) return step;
  RunForward(batch);
  Sample(batch, step.result);
  Score(batch, step.result);
  Pool(batch);
  for (const Span& span : batch.spans) {
    Loss(span, batch, std::span(step.row_losses).subspan(span.first_row, span.num_rows));
  }
  return step;
}

void Model::LaunchBackward(const Batch& batch, const std::atomic<bool>* yield, InFlight& step) {
  EndBackward(batch, yield, step.result);
  backend_.EndStep();
}

StepResult Model::Collect(const Batch& batch, InFlight step) {
  step.result.status = backend_.AwaitStep();
  for (const Span& span : batch.spans) {
    const auto begin = step.row_losses.begin() + span.first_row;
    step.result.losses.push_back(SumOfLosses({begin, begin + span.num_rows}));
  }
  return std::move(step.result);
}

StepResult Model::Run(const Batch& batch, const std::atomic<bool>* yield) {
  InFlight step = Launch(batch);
  LaunchBackward(batch, yield, step);
  return Collect(batch, std::move(step));
}

void Model::PrepareAdapters(const Batch& batch) {
  for (const Span& span : batch.spans) {
    if (span.adapter.is_base()) continue;
    if (const Adapter* adapter = adapters_.Find(span.adapter)) row_norms_.Update(*adapter);
  }
}

// A batch of decode is filled up to a size that comes again, and run as what was run before. What pads it is a sequence
// of one token, whose results nobody reads.
void Model::RunForward(const Batch& batch) {
  PrepareAdapters(batch);
  const int rows = batch.num_rows(), padded_rows = backend_.PaddedRows(rows);
  if (!IsDecode(batch) || padded_rows > hidden_.shape()[0]) {
    DecoderForward(context(), batch, scratch_, hidden_.view().Rows(0, rows));
    return;
  }
  Batch padded{.spans = batch.spans, .token_ids = batch.token_ids};
  for (int row = rows; row < padded_rows; ++row) {
    padded.spans.push_back(
        {.kind = SpanKind::kDecode, .first_row = row, .num_rows = 1, .blocks = std::span(&padding_block_, 1)});
    padded.token_ids.push_back(0);
  }
  backend_.RunRepeated(padded_rows,
                       [&] { DecoderForward(context(), padded, scratch_, hidden_.view().Rows(0, padded_rows)); });
}

void Model::BeginBackward(const Batch& batch) {
  if (lane_ == nullptr) return;
  if (batch.backward_beside && batch.num_rows() > 0) {
    lane_->Give(batch.backward);
  } else {
    lane_->Pause();
  }
}

void Model::EndBackward(const Batch& batch, const std::atomic<bool>* yield, StepResult& result) {
  int ran = 0;
  if (lane_ != nullptr && batch.backward_beside && batch.num_rows() > 0) {
    const BackwardLane::Progress progress = lane_->Report();
    ran = progress.done;
    result.time = progress.ran_dry ? StepResult::Time::kMixed : StepResult::Time::kOfForwardBeside;
  } else if (!batch.backward.empty()) {
    // What was begun beside an earlier iteration is part of this one's time, and nobody knows how much of it.
    const bool settled = lane_ == nullptr || lane_->settled();
    if (!settled) result.time = StepResult::Time::kMixed;
    if (settled || lane_->Settle(yield)) ran = RunBackward(batch.backward, yield);
  }
  result.backward_skipped = static_cast<int>(batch.backward.size()) - ran;
}

void Model::SettleBackward() {
  if (lane_ != nullptr) lane_->Settle();
}

int Model::RunBackward(std::span<const BackwardUnit> units, const std::atomic<bool>* yield) {
  int ran = 0;
  for (const BackwardUnit& unit : units) {
    if (yield != nullptr && yield->load(std::memory_order_relaxed)) break;
    ++ran;
    if (unit.tape->RanBackward(unit)) continue;
    backend_.BeginBackward();
    DecoderBackward(context(), unit, backward_scratch_.has_value() ? *backward_scratch_ : scratch_);
    backend_.EndBackward();
  }
  return ran;
}

Tensor Model::Logits(const Batch& batch) {
  Tensor logits = Tensor::Empty(DType::kF32, {batch.num_rows(), desc_.vocab});
  PrepareAdapters(batch);
  DecoderForward(context(), batch, scratch_, hidden_.view().Rows(0, batch.num_rows()));
  for (int first = 0; first < batch.num_rows(); first += kLogitsChunk) {
    const int count = std::min(kLogitsChunk, batch.num_rows() - first);
    const TensorView chunk = logits_.view().Rows(0, count);
    Head(hidden_.view().Rows(first, count), chunk);
    backend_.Download(chunk, logits.view().Rows(first, count));
  }
  return logits;
}

TensorView Model::HeadInput(const TensorView& hidden) {
  TensorView x = hidden;
  if (weights_.final_norm.exists()) {
    x = scratch_.normed.view().Rows(0, hidden.rows());
    Norm(context(), weights_.final_norm, hidden, Accumulate::kNo, x);
  }
  if (weights_.project_out == nullptr) return x;
  const TensorView projected = scratch_.embedded.view().Rows(0, hidden.rows());
  ops::Linear(backend_, x, *weights_.project_out, Accumulate::kNo, projected);
  return projected;
}

void Model::HeadInputBackward(const TensorView& hidden, const TensorView& dinput, const TensorView& dx) {
  TensorView dnormed = dinput;
  if (weights_.project_out != nullptr) {
    dnormed = weights_.final_norm.exists() ? scratch_.branch.view().Rows(0, hidden.rows()) : dx;
    ops::LinearBackwardInput(backend_, dinput, *weights_.project_out, Accumulate::kNo, dnormed);
  }
  if (weights_.final_norm.exists()) {
    NormBackward(context(), weights_.final_norm, hidden, dnormed, Accumulate::kNo, dx);
  } else if (dnormed.data != dx.data) {
    backend_.Copy(dnormed, dx);
  }
}

void Model::Head(const TensorView& hidden, const TensorView& logits) {
  ops::Linear(backend_, HeadInput(hidden), weights_.head(), Accumulate::kNo, logits);
  if (desc_.logit_soft_cap > 0) ops::SoftCap(backend_, desc_.logit_soft_cap, logits);
}

template <typename Request>
TensorView Model::LogitsOf(std::span<const Request> requests) {
  std::vector<int32_t> rows;
  for (const Request& request : requests) rows.push_back(request.row);
  const int64_t count = static_cast<int64_t>(rows.size());
  // dnormed is backward's; here it gathers the rows.
  const TensorView gathered = scratch_.dnormed.view().Rows(0, count), logits = logits_.view().Rows(0, count);
  ops::GatherRows(backend_, hidden_.view(), rows, gathered);
  Head(gathered, logits);
  return logits;
}

void Model::Sample(const Batch& batch, StepResult& result) {
  result.sampled.resize(batch.samples.size());
  const bool wants_logprobs = std::any_of(batch.samples.begin(), batch.samples.end(), [](const SampleRequest& request) {
    return request.params.num_logprobs.has_value();
  });
  if (wants_logprobs) result.logprobs.resize(batch.samples.size());
  for (size_t first = 0; first < batch.samples.size(); first += kLogitsChunk) {
    const size_t count = std::min<size_t>(kLogitsChunk, batch.samples.size() - first);
    const auto requests = std::span(batch.samples).subspan(first, count);
    const TensorView logits = LogitsOf(requests);
    // Here and not on the backend's threads, which would spin beside the one that still computes a mask.
    for (const SampleRequest& request : requests) {
      if (request.mask != nullptr) request.mask->Wait();
    }
    const auto logprobs = std::span(result.logprobs);
    ops::Sample(backend_, logits, requests, std::span(result.sampled).subspan(first, count),
                wants_logprobs ? logprobs.subspan(first, count) : logprobs);
  }
}

void Model::Score(const Batch& batch, StepResult& result) {
  result.scores.resize(batch.scores.size());
  for (size_t first = 0; first < batch.scores.size(); first += kLogitsChunk) {
    const size_t count = std::min<size_t>(kLogitsChunk, batch.scores.size() - first);
    const auto requests = std::span(batch.scores).subspan(first, count);
    const TensorView logits = LogitsOf(requests);
    ops::Score(backend_, logits, requests, std::span(result.scores).subspan(first, count));
  }
}

void Model::Pool(const Batch& batch) {
  const int64_t width = desc_.embedding_width;
  for (const PoolRequest& pool : batch.pools) {
    CHECK_EQ(pool.sum.size(), static_cast<size_t>(width));
    const TensorView x = HeadInput(hidden_.view().Rows(pool.first_row, pool.num_rows));
    const Tensor host = Tensor::Empty(x.dtype, x.shape);
    backend_.Download(x, host.view());
    for (int64_t i = 0; i < host.num_elements(); ++i) {
      pool.sum[i % width] +=
          x.dtype == DType::kBf16 ? Bf16ToF32(static_cast<const uint16_t*>(host.data())[i]) : host.f32()[i];
    }
  }
}

// The loss of a training or evaluation span; a training span's gradient goes to its tape, through the final norm, so
// that backward starts at the last layer's output.
void Model::Loss(const Span& span, const Batch& batch, std::span<double> losses) {
  if (span.kind != SpanKind::kTrainForward && span.kind != SpanKind::kEvaluate) return;
  const TensorView hidden = hidden_.view().Rows(span.first_row, span.num_rows);
  const TensorView x = HeadInput(hidden);
  const auto labels = std::span(batch.labels).subspan(span.first_row, span.num_rows);
  if (span.tape == nullptr) {
    ops::LinearCrossEntropy(backend_, x, head(), labels, losses, {});
  } else {
    const TensorView dx = dhead_.view().Rows(0, span.num_rows);
    ops::LinearCrossEntropy(backend_, x, head(), labels, losses, dx);
    HeadInputBackward(hidden, dx, span.tape->dhidden().view().Rows(span.first_position, span.num_rows));
  }
}

}  // namespace tandem
