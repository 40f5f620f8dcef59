#include "model/model.h"

#include <algorithm>
#include <cstring>
#include <numeric>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/status.h"
#include "ops/activation.h"
#include "ops/linear.h"
#include "ops/loss.h"
#include "ops/sampling.h"

namespace tandem {
namespace {

// Rows of logits that exist at a time.
constexpr int kSampleChunk = 64;

int ContextOf(const ModelDesc& desc, const ModelOptions& options) {
  return options.max_context > 0 ? std::min(options.max_context, desc.max_context) : desc.max_context;
}

std::vector<Tensor> MakeRopeTables(const ModelDesc& desc, int positions) {
  std::vector<Tensor> tables;
  for (const RopeDesc& rope : desc.ropes) tables.push_back(MakeRopeTable(rope, positions, desc.head_dim));
  return tables;
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
  auto weights = LoadWeights(desc, *checkpoint, backend);
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
                    .num_blocks = options.kv_blocks,
                    .block_size = options.kv_block_size,
                    .num_kv_heads = desc_.num_kv_heads,
                    .head_dim = desc_.head_dim,
                    .dtype = weights_.dtype}),
      max_context_(ContextOf(desc_, options)),
      rope_tables_(MakeRopeTables(desc_, max_context_)),
      scratch_(desc_, options.max_batch_rows),
      hidden_(Tensor::Empty(DType::kF32, {options.max_batch_rows, desc_.hidden})),
      dhead_(Tensor::Empty(DType::kF32, {options.max_batch_rows, desc_.embedding_width})) {}

StepResult Model::Run(const Batch& batch, const std::atomic<bool>* yield) {
  StepResult result;
  CHECK_LE(batch.num_rows(), hidden_.shape()[0]);
  if (batch.num_rows() > 0) {
    DecoderForward(context(), batch, scratch_, hidden_.view().Rows(0, batch.num_rows()));
    Sample(batch, result);
    Score(batch, result);
    for (const Span& span : batch.spans) result.losses.push_back(Loss(span, batch));
  }
  result.backward_skipped = static_cast<int>(batch.backward.size());
  for (const BackwardUnit& unit : batch.backward) {
    if (yield != nullptr && yield->load(std::memory_order_relaxed)) break;
    DecoderBackward(context(), unit, scratch_);
    --result.backward_skipped;
  }
  return result;
}

Tensor Model::Logits(const Batch& batch) {
  Tensor logits = Tensor::Empty(DType::kF32, {batch.num_rows(), desc_.vocab});
  const TensorView hidden = hidden_.view().Rows(0, batch.num_rows());
  DecoderForward(context(), batch, scratch_, hidden);
  Head(hidden, logits.view());
  return logits;
}

TensorView Model::HeadInput(const TensorView& hidden) {
  TensorView x = hidden;
  if (weights_.final_norm.exists()) {
    x = scratch_.normed.view().Rows(0, hidden.rows());
    Norm(context(), weights_.final_norm, hidden, x);
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
    std::memcpy(dx.data, dnormed.data, dx.size_bytes());
  }
}

void Model::Head(const TensorView& hidden, const TensorView& logits) {
  ops::Linear(backend_, HeadInput(hidden), weights_.head(), Accumulate::kNo, logits);
  if (desc_.logit_soft_cap > 0) ops::SoftCap(backend_, desc_.logit_soft_cap, logits);
}

template <typename Request>
Tensor Model::LogitsOf(std::span<const Request> requests) {
  const int64_t rows = static_cast<int64_t>(requests.size());
  // dnormed is backward's; here it gathers the rows.
  const TensorView gathered = scratch_.dnormed.view().Rows(0, rows);
  for (int64_t i = 0; i < rows; ++i) {
    std::memcpy(gathered.f32() + i * desc_.hidden, hidden_.view().Rows(requests[i].row, 1).data,
                desc_.hidden * sizeof(float));
  }
  Tensor logits = Tensor::Empty(DType::kF32, {rows, desc_.vocab});
  Head(gathered, logits.view());
  return logits;
}

void Model::Sample(const Batch& batch, StepResult& result) {
  result.sampled.resize(batch.samples.size());
  const bool wants_logprobs = std::any_of(batch.samples.begin(), batch.samples.end(), [](const SampleRequest& request) {
    return request.params.num_logprobs.has_value();
  });
  if (wants_logprobs) result.logprobs.resize(batch.samples.size());
  for (size_t first = 0; first < batch.samples.size(); first += kSampleChunk) {
    const size_t count = std::min<size_t>(kSampleChunk, batch.samples.size() - first);
    const auto requests = std::span(batch.samples).subspan(first, count);
    const Tensor logits = LogitsOf(requests);
    // Here and not on the backend's threads, which would spin beside the one that still computes a mask.
    for (const SampleRequest& request : requests) {
      if (request.mask != nullptr) request.mask->Wait();
    }
    const auto logprobs = std::span(result.logprobs);
    ops::Sample(backend_, logits.view(), requests, std::span(result.sampled).subspan(first, count),
                wants_logprobs ? logprobs.subspan(first, count) : logprobs);
  }
}

void Model::Score(const Batch& batch, StepResult& result) {
  result.scores.resize(batch.scores.size());
  for (size_t first = 0; first < batch.scores.size(); first += kSampleChunk) {
    const size_t count = std::min<size_t>(kSampleChunk, batch.scores.size() - first);
    const auto requests = std::span(batch.scores).subspan(first, count);
    const Tensor logits = LogitsOf(requests);
    ops::Score(backend_, logits.view(), requests, std::span(result.scores).subspan(first, count));
  }
}

// The loss of a training or evaluation span; a training span's gradient goes to its tape, through the final norm, so
// that backward starts at the last layer's output.
double Model::Loss(const Span& span, const Batch& batch) {
  if (span.kind != SpanKind::kTrainForward && span.kind != SpanKind::kEvaluate) return 0;
  const TensorView hidden = hidden_.view().Rows(span.first_row, span.num_rows);
  const TensorView x = HeadInput(hidden);
  const auto labels = std::span(batch.labels).subspan(span.first_row, span.num_rows);
  std::vector<double> losses(span.num_rows);
  if (span.tape == nullptr) {
    ops::LinearCrossEntropy(backend_, x, head(), labels, losses, {});
  } else {
    const TensorView dx = dhead_.view().Rows(0, span.num_rows);
    ops::LinearCrossEntropy(backend_, x, head(), labels, losses, dx);
    HeadInputBackward(hidden, dx, span.tape->dhidden().view().Rows(span.first_position, span.num_rows));
  }
  return std::accumulate(losses.begin(), losses.end(), 0.0);
}

}  // namespace tandem
