// The operands of what adapters do beside the backbone's products.
#include "ops/column_scale.h"
#include "ops/lora.h"
#include "ops/prepared_op.h"
#include "ops/reference_adapters.h"

namespace tandem::optest {

void PreparedOp::PrepareLora(const Case& c) {
  Backend& backend = backend_;
  const TensorView x = Input("x", {c.m, c.k}, rows_);
  const LoraSegment segment{
      .num_rows = static_cast<int>(c.m),
      .a = &Weight("a", c.rank, c.k, DType::kF32),
      .b = &Weight("b", c.n, c.rank, DType::kF32),
      .scale = kLoraScale,
      .activation = c.bottleneck ? std::optional(c.activation) : std::nullopt,
  };
  if (c.op == Op::kLora) {
    const TensorView y = InOut("y", {c.m, c.n}, rows_);
    run_ = [=, &backend] { ops::Lora(backend, x, {&segment, 1}, y); };
  } else {
    const TensorView dy = Input("dy", {c.m, c.n}, rows_), dx = InOut("dx", {c.m, c.k}, rows_);
    const LoraGradients gradients{.da = InOut("da", {c.rank, c.k}), .db = InOut("db", {c.n, c.rank})};
    run_ = [=, &backend] { ops::LoraBackward(backend, x, dy, segment, gradients, dx); };
  }
}

void PreparedOp::PrepareColumnScale(const Case& c) {
  Backend& backend = backend_;
  ScaleSegment segment{.num_rows = static_cast<int>(c.m), .factor = Input("factor", {c.k})};
  if (c.k % 2 == 1) {
    segment.unit = Input("unit", {c.k});
    segment.center = Input("center", {c.k});
  }
  if (c.op == Op::kScaleColumns) {
    const TensorView y = InOut("y", {c.m, c.k}, rows_);
    run_ = [=, &backend] { ops::ScaleColumns(backend, {&segment, 1}, y); };
    return;
  }
  const TensorView x = Input("y", {c.m, c.k}, rows_), dy = Input("dy", {c.m, c.k}, rows_);
  const TensorView dfactor = InOut("dfactor", {c.k}), dx = Output("dy_before", {c.m, c.k}, rows_);
  run_ = [=, &backend] { ops::ScaleColumnsBackward(backend, x, dy, segment, dfactor, dx); };
}

void PreparedOp::PrepareRowNorms(const Case& c) {
  Backend& backend = backend_;
  if (c.op == Op::kRowSquares) {
    const Matrix& w = Weight("weight", c.n, c.k, c.dtype);
    const TensorView squares = Output("squares", {c.n});
    run_ = [=, &backend, &w] { ops::RowSquares(backend, w, squares); };
    return;
  }
  inputs_["weight"] = RandomValues(seed_++, c.n * c.k);
  inputs_["a"] = RandomValues(seed_++, c.rank * c.k);
  const TensorView b = Input("b", {c.n, c.rank});
  const auto given = [&](const std::string& name, Shape shape) {
    const TensorView view = Input(name, shape);
    inputs_[name] = Rounded(RowNormInput(c, name, inputs_), DType::kF32);
    input_tensors_[name]->Write(inputs_[name]);
    return view;
  };
  const RowNormArgs args{.squares = given("squares", {c.n}),
                         .b = b,
                         .projected = given("projected", {c.rank, c.n}),
                         .gram = given("gram", {c.rank, c.rank}),
                         .scale = kLoraScale};
  const TensorView inverse = Output("inverse", {c.n});
  run_ = [=, &backend] { ops::InverseRowNorms(backend, args, inverse); };
}

}  // namespace tandem::optest
