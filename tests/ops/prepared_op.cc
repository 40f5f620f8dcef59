#include "ops/prepared_op.h"

#include <cmath>
#include <numeric>
#include <random>

#include "base/check.h"
#include "ops/activation.h"
#include "ops/attention.h"
#include "ops/embedding.h"
#include "ops/linear.h"
#include "ops/loss.h"
#include "ops/norm.h"
#include "ops/optimizer.h"
#include "ops/rope.h"
#include "ops/sampling.h"
#include "tensor/dtype.h"

namespace tandem::optest {
namespace {

constexpr int kBlockSize = 16;
constexpr double kUnwritten = -54321.0;  // the poison of outputs that are not f32

std::vector<SequenceRows> RowsOf(const Case& c) {
  std::vector<SequenceRows> rows;
  int first_row = 0;
  for (const SequenceShape& s : c.sequences) {
    rows.push_back({.first_row = first_row, .num_rows = s.num_rows, .first_position = s.first_position, .blocks = {}});
    first_row += s.num_rows;
  }
  return rows;
}

}  // namespace

std::vector<double> RandomValues(uint64_t seed, int64_t count) {
  std::mt19937_64 generator(seed);
  std::vector<double> values(count);
  // Multiples of 2^-23, which f32 holds exactly.
  for (double& value : values) value = static_cast<double>(generator() >> 40) * 0x1p-23 - 1;
  return values;
}

std::vector<double> Rounded(std::vector<double> values, DType dtype) {
  for (double& value : values) {
    const float narrow = static_cast<float>(value);
    value = dtype == DType::kBf16 ? Bf16ToF32(F32ToBf16(narrow)) : narrow;
  }
  return values;
}

TestKvPool::TestKvPool(Backend& backend, const Case& c, uint64_t seed) : backend_(backend), rows_(RowsOf(c)) {
  int needed = 0;
  for (const SequenceShape& s : c.sequences) needed += (s.context() + kBlockSize - 1) / kBlockSize;
  std::vector<BlockId> free(needed + 3);
  std::iota(free.begin(), free.end(), 0);
  std::shuffle(free.begin(), free.end(), std::mt19937_64(seed));
  for (const SequenceShape& s : c.sequences) {
    blocks_.emplace_back(free.end() - (s.context() + kBlockSize - 1) / kBlockSize, free.end());
    free.resize(free.size() - blocks_.back().size());
  }
  for (size_t i = 0; i < rows_.size(); ++i) rows_[i].blocks = blocks_[i];

  kv_ = {.dtype = c.dtype,
         .num_blocks = needed + 3,
         .block_size = kBlockSize,
         .num_kv_heads = c.num_kv_heads,
         .head_dim = c.head_dim};
  const size_t bytes =
      static_cast<size_t>(kv_.num_blocks) * kBlockSize * c.num_kv_heads * c.head_dim * ByteSize(c.dtype);
  kv_.keys = backend.Allocate(bytes);
  kv_.values = backend.Allocate(bytes);
  std::vector<uint8_t> poison(bytes, 0xff);  // a NaN in f32 and in bf16
  const Shape shape{static_cast<int64_t>(bytes / ByteSize(c.dtype))};
  for (void* pool : {kv_.keys, kv_.values}) backend.Upload({poison.data(), c.dtype, shape}, {pool, c.dtype, shape});
}

TestKvPool::~TestKvPool() {
  backend_.Free(kv_.keys);
  backend_.Free(kv_.values);
}

void TestKvPool::Fill(const TensorView& k, const TensorView& v) {
  std::vector<SequenceRows> whole = rows_;
  int first_row = 0;
  for (SequenceRows& rows : whole) {
    rows.num_rows += rows.first_position;
    rows.first_position = 0;
    rows.first_row = first_row;
    first_row += rows.num_rows;
  }
  ops::AppendKv(backend_, whole, k, v, kv_);
}

TensorView PreparedOp::Input(const std::string& name, Shape shape, DType stored, DType rounded_to) {
  inputs_[name] = Rounded(Rounded(RandomValues(seed_++, shape.num_elements()), rounded_to), stored);
  auto& tensor = input_tensors_[name] = std::make_unique<GuardedTensor>(backend_, shape, stored);
  tensor->Write(inputs_[name]);
  return tensor->view();
}

TensorView PreparedOp::Output(const std::string& name, Shape shape, DType stored) {
  return (output_tensors_[name] = std::make_unique<GuardedTensor>(backend_, shape, stored))->view();
}

TensorView PreparedOp::InOut(const std::string& name, Shape shape, DType stored) {
  const TensorView view = Output(name, shape, stored);
  inputs_[name] = Rounded(RandomValues(seed_++, shape.num_elements()), stored);
  output_tensors_[name]->Write(inputs_[name]);
  return view;
}

void PreparedOp::Run() {
  run_();
  const absl::Status status = backend_.Finish();
  CHECK(status.ok()) << status.ToString();
}

const Matrix& PreparedOp::Weight(const std::string& name, int64_t rows, int64_t columns, DType dtype) {
  inputs_[name] = Rounded(RandomValues(seed_++, rows * columns), dtype);
  std::vector<float> f32(inputs_[name].begin(), inputs_[name].end());
  std::vector<uint16_t> bf16(f32.size());
  std::transform(f32.begin(), f32.end(), bf16.begin(), F32ToBf16);
  void* data = dtype == DType::kBf16 ? static_cast<void*>(bf16.data()) : f32.data();
  matrices_.push_back(backend_.CreateMatrix({data, dtype, {rows, columns}}));
  return *matrices_.back();
}

PreparedOp::PreparedOp(const Case& c, Backend& backend, uint64_t seed)
    : backend_(backend), rows_(backend.ActivationDType(c.dtype)), seed_(seed * 1000) {
  switch (c.op) {
    case Op::kLinear:
    case Op::kLinearBackwardInput:
      PrepareProduct(c);
      break;
    case Op::kLora:
    case Op::kLoraBackward:
      PrepareLora(c);
      break;
    case Op::kScaleColumns:
    case Op::kScaleColumnsBackward:
      PrepareColumnScale(c);
      break;
    case Op::kRowSquares:
    case Op::kInverseRowNorms:
      PrepareRowNorms(c);
      break;
    case Op::kEmbedding:
    case Op::kGatherRows:
    case Op::kLinearCrossEntropy:
    case Op::kSample:
      PrepareHead(c);
      break;
    case Op::kRmsNorm:
    case Op::kRmsNormBackward:
    case Op::kLayerNorm:
    case Op::kLayerNormBackward:
      PrepareNorm(c);
      break;
    case Op::kActivate:
    case Op::kActivateBackward:
    case Op::kActivateMul:
    case Op::kActivateMulBackward:
      PrepareActivation(c);
      break;
    case Op::kAdd:
    case Op::kAddBias:
    case Op::kScale:
    case Op::kSoftCap:
      PrepareElementwise(c);
      break;
    case Op::kRoute:
    case Op::kRouteBackward:
      PrepareRouter(c);
      break;
    case Op::kGatherChoices:
    case Op::kCombineChoices:
    case Op::kWeighChoicesBackward:
      PrepareChoices(c);
      break;
    case Op::kExpertLinear:
    case Op::kExpertLinearBackwardInput:
      PrepareExpertProduct(c);
      break;
    case Op::kRope:
    case Op::kRopeBackward:
      PrepareRope(c);
      break;
    case Op::kAttention:
    case Op::kAttentionBackward:
      PrepareAttention(c);
      break;
    case Op::kClipGradients:
    case Op::kAdamW:
      PrepareOptimizer(c);
      break;
  }
}

void PreparedOp::PrepareProduct(const Case& c) {
  Backend& backend = backend_;
  if (c.op == Op::kLinear) {
    const TensorView x = Input("x", {c.m, c.k}, rows_, c.dtype), y = Result("y", {c.m, c.n}, c.mode);
    const Matrix& w = Weight("weight", c.n, c.k, c.dtype);
    run_ = [=, &backend, &w] { ops::Linear(backend, x, w, c.mode, y); };
  } else {
    const TensorView dy = Input("dy", {c.m, c.n}, rows_, c.dtype), dx = Result("dx", {c.m, c.k}, c.mode);
    const Matrix& w = Weight("weight", c.n, c.k, c.dtype);
    run_ = [=, &backend, &w] { ops::LinearBackwardInput(backend, dy, w, c.mode, dx); };
  }
}

void PreparedOp::PrepareNorm(const Case& c) {
  Backend& backend = backend_;
  const Shape shape{c.m, c.k};
  const TensorView x = Input("x", shape, rows_), weight = Input("weight", {c.k});
  if (c.op == Op::kRmsNorm) {
    const TensorView y = Result("y", shape, c.mode);
    run_ = [=, &backend] { ops::RmsNorm(backend, x, weight, kNormEpsilon, c.mode, y); };
  } else if (c.op == Op::kLayerNorm) {
    const TensorView bias = Input("bias", {c.k}), y = Result("y", shape, c.mode);
    run_ = [=, &backend] { ops::LayerNorm(backend, x, weight, bias, kNormEpsilon, c.mode, y); };
  } else {
    const TensorView dy = Input("dy", shape, rows_), dx = Result("dx", shape, c.mode);
    run_ = [=, &backend] {
      const auto backward = c.op == Op::kRmsNormBackward ? ops::RmsNormBackward : ops::LayerNormBackward;
      backward(backend, x, weight, kNormEpsilon, dy, c.mode, dx);
    };
  }
}

void PreparedOp::PrepareActivation(const Case& c) {
  Backend& backend = backend_;
  const Shape shape{c.m, c.k};
  const bool gated = c.op == Op::kActivateMul || c.op == Op::kActivateMulBackward;
  const TensorView x = Input(gated ? "gate" : "x", shape, rows_);
  const TensorView up = gated ? Input("up", shape, rows_) : TensorView();
  if (c.op == Op::kActivate || c.op == Op::kActivateMul) {
    const TensorView y = Output("y", shape, rows_);
    run_ = [=, &backend] {
      gated ? ops::ActivateMul(backend, c.activation, x, up, y) : ops::Activate(backend, c.activation, x, y);
    };
    return;
  }
  const TensorView dy = Input("dy", shape, rows_), dx = Output(gated ? "dgate" : "dx", shape, rows_);
  const TensorView dup = gated ? Output("dup", shape, rows_) : TensorView();
  run_ = [=, &backend] {
    if (gated) {
      ops::ActivateMulBackward(backend, c.activation, x, up, dy, {dx, dup});
    } else {
      ops::ActivateBackward(backend, c.activation, x, dy, dx);
    }
  };
}

void PreparedOp::PrepareElementwise(const Case& c) {
  Backend& backend = backend_;
  const TensorView y = InOut("y", {c.m, c.k}, rows_);
  if (c.op == Op::kAdd) {
    const TensorView x = Input("x", {c.m, c.k}, rows_);
    run_ = [=, &backend] { ops::Add(backend, x, y); };
  } else if (c.op == Op::kAddBias) {
    const TensorView bias = Input("bias", {c.k});
    run_ = [=, &backend] { ops::AddBias(backend, bias, y); };
  } else if (c.op == Op::kScale) {
    run_ = [=, &backend] { ops::Scale(backend, kFactor, y); };
  } else {
    run_ = [=, &backend] { ops::SoftCap(backend, kCap, y); };
  }
}

void PreparedOp::PrepareRope(const Case& c) {
  int64_t positions = 0;
  for (const SequenceShape& s : c.sequences) positions = std::max<int64_t>(positions, s.context());
  const TensorView table = Input("table", {positions, c.head_dim});
  std::vector<double>& angles = inputs_["table"];
  for (int64_t i = 0; i < positions * c.head_dim; ++i) {
    const int64_t position = i / c.head_dim, pair = i % (c.head_dim / 2);
    const double angle =
        static_cast<double>(position) * std::pow(10000.0, -2.0 * static_cast<double>(pair) / c.head_dim);
    angles[i] = static_cast<float>(i % c.head_dim < c.head_dim / 2 ? std::cos(angle) : std::sin(angle));
  }
  input_tensors_["table"]->Write(angles);
  const Shape shape{c.m, static_cast<int64_t>(c.num_heads()) * c.head_dim};
  Backend& backend = backend_;
  const std::vector<SequenceRows> rows = RowsOf(c);
  if (c.op == Op::kRope) {
    const TensorView x = InOut("x", shape, rows_);
    run_ = [=, &backend] { ops::Rope(backend, rows, table, x); };
  } else {
    const TensorView dx = InOut("dx", shape, rows_);
    run_ = [=, &backend] { ops::RopeBackward(backend, rows, table, dx); };
  }
}

void PreparedOp::PrepareAttention(const Case& c) {
  const int64_t kv_width = static_cast<int64_t>(c.num_kv_heads) * c.head_dim;
  const Shape q_shape{c.m, c.num_heads() * static_cast<int64_t>(c.head_dim)}, kv_shape{c.context(), kv_width};
  const TensorView q = Input("q", q_shape, rows_);
  pool_ = std::make_unique<TestKvPool>(backend_, c, seed_++);
  pool_->Fill(Input("k", kv_shape, rows_, c.dtype), Input("v", kv_shape, rows_, c.dtype));
  const AttentionOptions options = OptionsOf(c);
  Backend& backend = backend_;
  const TestKvPool& pool = *pool_;
  const Shape lse_shape{c.m, c.num_heads()};
  if (c.op == Op::kAttention) {
    const TensorView out = Output("out", q_shape, rows_), lse = Output("lse", lse_shape);
    run_ = [=, &backend, &pool] { ops::Attention(backend, pool.rows(), q, pool.kv(), options, out, lse); };
    return;
  }
  CHECK_EQ(c.sequences.size(), 1u);
  const TensorView out = Input("out", q_shape, rows_), lse = Input("lse", lse_shape);
  ops::Attention(backend, pool.rows(), q, pool.kv(), options, out, lse);
  const AttentionBackwardArgs args{.first_position = c.sequences[0].first_position,
                                   .blocks = pool.rows()[0].blocks,
                                   .kv = pool.kv(),
                                   .options = options,
                                   .q = q,
                                   .out = out,
                                   .dout = Input("dout", q_shape, rows_),
                                   .lse = lse,
                                   .dq = Output("dq", q_shape, rows_),
                                   .dk = InOut("dk", kv_shape),
                                   .dv = InOut("dv", kv_shape)};
  run_ = [=, &backend] { ops::AttentionBackward(backend, args); };
}

void PreparedOp::PrepareHead(const Case& c) {
  Backend& backend = backend_;
  if (c.op == Op::kEmbedding) {
    const Matrix& table = Weight("weight", c.n, c.k, c.dtype);
    const TensorView x = Output("x", {c.m, c.k}, rows_);
    for (int64_t row = 0; row < c.m; ++row) ids_.push_back(static_cast<int32_t>(row * 7919 % c.n));
    inputs_["ids"].assign(ids_.begin(), ids_.end());
    run_ = [this, &backend, &table, x] { ops::Embedding(backend, ids_, table, x); };
  } else if (c.op == Op::kGatherRows) {
    const TensorView x = Input("x", {c.n, c.k}, rows_), y = Output("y", {c.m, c.k}, rows_);
    for (int64_t row = 0; row < c.m; ++row) ids_.push_back(static_cast<int32_t>(row * 7919 % c.n));
    inputs_["rows"].assign(ids_.begin(), ids_.end());
    run_ = [this, &backend, x, y] { ops::GatherRows(backend, x, ids_, y); };
  } else if (c.op == Op::kLinearCrossEntropy) {
    const TensorView x = Input("x", {c.m, c.k}, rows_, c.dtype), dx = Output("dx", {c.m, c.k}, rows_);
    const LmHead head = {Weight("weight", c.n, c.k, c.dtype), c.soft_cap};
    for (int64_t row = 0; row < c.m; ++row) ids_.push_back(LabelOf(c, row));
    host_outputs_["losses"].assign(c.m, kUnwritten);
    run_ = [this, &backend, head, x, dx] {
      ops::LinearCrossEntropy(backend, x, head, ids_, host_outputs_.at("losses"), dx);
    };
  } else {
    const TensorView logits = Input("logits", {c.m, c.n}), scratch = Output("scratch", {c.m, c.n});
    for (int i = 0; i < c.m; ++i) requests_.push_back({.row = i, .params = c.sampling, .index = i});
    sampled_.assign(c.m, static_cast<int32_t>(kUnwritten));
    run_ = [this, &backend, logits, scratch] {
      backend.Copy(logits, scratch);
      ops::Sample(backend, scratch, requests_, sampled_);
    };
  }
}

// The first row is a tensor of its own.
void PreparedOp::PrepareOptimizer(const Case& c) {
  Backend& backend = backend_;
  const Shape shape{c.m, c.k};
  const auto parts = [&c](const TensorView& whole) {
    std::vector<TensorView> parts = {whole.Rows(0, 1)};
    if (c.m > 1) parts.push_back(whole.Rows(1, c.m - 1));
    return parts;
  };
  if (c.op == Op::kClipGradients) {
    const std::vector<TensorView> gradients = parts(Input("gradient", shape));
    const TensorView scale = Output("scale", {1});
    std::vector<double>& norm = host_outputs_["norm"] = {kUnwritten};
    run_ = [=, &backend, &norm] { ops::ClipGradients(backend, gradients, kClipOptions, scale, norm); };
    return;
  }
  const TensorView parameter = InOut("parameter", shape), gradient = InOut("gradient", shape);
  const TensorView m = InOut("m", shape), v = InOut("v", shape), scale = Input("scale", {1});
  inputs_["scale"] = {kGradientScale};
  input_tensors_["scale"]->Write(inputs_["scale"]);
  for (double& value : inputs_["v"]) value = value * value;  // a mean of squares
  inputs_["v"] = Rounded(std::move(inputs_["v"]), DType::kF32);
  output_tensors_["v"]->Write(inputs_["v"]);
  std::vector<TrainedTensor> tensors;
  for (size_t i = 0; i < parts(parameter).size(); ++i) {
    tensors.push_back({parts(parameter)[i], parts(gradient)[i], parts(m)[i], parts(v)[i]});
  }
  run_ = [=, &backend] { ops::AdamW(backend, tensors, kAdamWStep, scale); };
}

Tensors PreparedOp::Outputs() const {
  Tensors outputs = host_outputs_;
  for (const auto& [name, tensor] : output_tensors_) {
    if (name.starts_with("scratch")) continue;
    const std::vector<float> values = tensor->Read();
    outputs[name].assign(values.begin(), values.end());
  }
  if (!sampled_.empty()) outputs["sampled"].assign(sampled_.begin(), sampled_.end());
  return outputs;
}

bool PreparedOp::GuardsIntact() const {
  for (const auto& [name, tensor] : output_tensors_) {
    if (!tensor->GuardsIntact()) return false;
  }
  for (const auto& [name, tensor] : input_tensors_) {
    if (!tensor->GuardsIntact()) return false;
  }
  return true;
}

}  // namespace tandem::optest
