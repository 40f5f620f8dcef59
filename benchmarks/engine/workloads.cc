#include "engine/workloads.h"

#include <algorithm>
#include <numeric>

#include "base/check.h"
#include "base/status.h"

namespace tandem::enginebench {

absl::StatusOr<std::unique_ptr<Workloads>> Workloads::Load(const std::string& directory, const BackendOptions& options,
                                                           const Size& size) {
  auto loaded = std::unique_ptr<Workloads>(new Workloads(size));
  ASSIGN_OR_RETURN(const ModelDesc desc, LoadModelDesc(directory));
  ASSIGN_OR_RETURN(loaded->backend_, CreateBackend(options));
  loaded->adapters_ = std::make_unique<AdapterStore>(*loaded->backend_, desc.linear_shapes());
  const int decode_blocks = size.max_sequences * ((size.decode_position + kDecodeSteps) / kBlockSize + 1);
  loaded->blocks_.resize(std::max(decode_blocks, (size.max_tokens + kBlockSize - 1) / kBlockSize));
  std::iota(loaded->blocks_.begin(), loaded->blocks_.end(), 0);
  const ModelOptions model_options = {.max_batch_rows = std::max(size.max_tokens, size.max_sequences),
                                      .max_context = std::max(size.max_tokens, size.decode_position + kDecodeSteps),
                                      .kv_blocks = static_cast<int>(loaded->blocks_.size()),
                                      .kv_block_size = kBlockSize};
  ASSIGN_OR_RETURN(loaded->model_, Model::Load(directory, model_options, *loaded->backend_, *loaded->adapters_));
  AdapterWeights weights({.rank = 8, .alpha = 16, .targets = {LinearKind::kQProj, LinearKind::kVProj}},
                         desc.linear_shapes());
  weights.Initialize(0);
  loaded->trainer_ = std::make_unique<AdapterTrainer>(weights, loaded->backend_.get(), loaded->adapters_.get());
  loaded->tape_ = std::make_unique<Tape>(*loaded->backend_, desc, loaded->model_->activation_dtype(), size.max_tokens);
  return loaded;
}

void Workloads::Append(Batch& batch, Span span) const {
  span.first_row = batch.num_rows();
  for (int i = 0; i < span.num_rows; ++i) {
    const int position = span.first_position + i, vocab = model_->desc().vocab;
    batch.token_ids.push_back((position * 7919 + static_cast<int>(span.sequence) * 104729) % vocab);
    batch.labels.push_back(span.kind == SpanKind::kTrainForward ? (position * 7907 + 1) % vocab : kIgnoredLabel);
  }
  batch.spans.push_back(span);
}

void Workloads::Run(const Batch& batch) {
  const absl::Status status = model_->Run(batch).status;
  CHECK(status.ok()) << status.ToString();
}

int Workloads::Prefill(int tokens) {
  Batch batch;
  Append(batch, {.sequence = 1, .num_rows = tokens, .blocks = Blocks(0)});
  batch.samples.push_back({.sequence = 1, .row = tokens - 1, .params = {.temperature = 0}});
  Run(batch);
  return tokens;
}

int Workloads::Decode(int sequences) {
  for (int step = 0; step < kDecodeSteps; ++step) {
    Batch batch;
    for (int i = 0; i < sequences; ++i) {
      Append(batch, {.sequence = i + 1,
                     .kind = SpanKind::kDecode,
                     .num_rows = 1,
                     .first_position = size_.decode_position + step,
                     .blocks = Blocks(i)});
      batch.samples.push_back({.sequence = i + 1, .row = i, .params = {.temperature = 0}});
    }
    Run(batch);
  }
  return kDecodeSteps * sequences;
}

int Workloads::TrainLora(int tokens, int window) {
  const AdapterRef adapter = trainer_->adapter();
  tape_->Begin(tokens, &trainer_->gradients());
  for (int begin = 0; begin < tokens; begin += window) {
    Batch batch;
    Append(batch, {.sequence = 1,
                   .adapter = adapter,
                   .kind = SpanKind::kTrainForward,
                   .num_rows = std::min(window, tokens - begin),
                   .first_position = begin,
                   .blocks = Blocks(0),
                   .tape = tape_.get()});
    Run(batch);
  }
  Batch batch;
  for (int layer = model_->desc().num_layers - 1; layer >= trainer_->lowest_layer(); --layer) {
    for (int end = tokens; end > 0; end -= window) {
      batch.backward.push_back({.sequence = 1,
                                .layer = layer,
                                .window = {std::max(0, end - window), end},
                                .adapter = adapter,
                                .blocks = Blocks(0),
                                .tape = tape_.get()});
    }
  }
  Run(batch);
  trainer_->Step({}, 1e-4, tokens);
  const absl::Status status = backend_->Finish();
  CHECK(status.ok()) << status.ToString();
  return tokens;
}

double Workloads::layer_flops() const {
  const ModelDesc& desc = model_->desc();
  const LinearShapes shapes = desc.linear_shapes();
  double weights = 0;
  for (const LinearKind kind : kAllLinears) weights += static_cast<double>(shapes[kind].in * shapes[kind].out);
  return 2 * weights * desc.num_layers;
}

double Workloads::head_flops() const {
  return 2.0 * model_->desc().vocab * model_->desc().hidden;
}

double Workloads::decode_weight_bytes() const {
  return kDecodeSteps * (layer_flops() + head_flops()) / 2 * static_cast<double>(ByteSize(model_->weight_dtype()));
}

}  // namespace tandem::enginebench
