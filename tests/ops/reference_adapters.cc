#include "ops/reference_adapters.h"

#include <cmath>
#include <numeric>

namespace tandem::optest {
namespace {

// u = A x, through the activation where there is one, and its slope there.
struct LoraU {
  LoraU(const Case& c, const Tensors& in) : value(c.m * c.rank), slope(c.m * c.rank, 1.0) {
    AddProduct(c.m, c.rank, c.k, 1, Plain(in.at("x"), c.k), Transposed(in.at("a"), c.k), value);
    if (!c.bottleneck) return;
    const Case activate{.op = Op::kActivate, .m = c.m, .k = c.rank, .activation = c.activation};
    Case backward = activate;
    backward.op = Op::kActivateBackward;
    slope = ActivateBackward(backward, {{"x", value}, {"dy", slope}}).at("dx");
    value = Activate(activate, {{"x", value}}).at("y");
  }
  Values value, slope;
};

double At(const Tensors& in, const std::string& name, size_t column, double otherwise) {
  const auto found = in.find(name);
  return found == in.end() ? otherwise : found->second[column];
}

}  // namespace

void AddProduct(int64_t m, int64_t n, int64_t k, double alpha, Strided a, Strided b, Values& c) {
  for (int64_t i = 0; i < m; ++i) {
    for (int64_t l = 0; l < k; ++l) {
      const double factor = alpha * a.data[i * a.row + l * a.column];
      for (int64_t j = 0; j < n; ++j) c[i * n + j] += factor * b.data[l * b.row + j * b.column];
    }
  }
}
Tensors Lora(const Case& c, const Tensors& in) {
  Values y = Initial(in, "y", c.m * c.n);
  const LoraU u(c, in);
  AddProduct(c.m, c.n, c.rank, kLoraScale, Plain(u.value, c.rank), Transposed(in.at("b"), c.rank), y);
  return {{"y", y}};
}

Tensors LoraBackward(const Case& c, const Tensors& in) {
  const Values& dy = in.at("dy");
  const LoraU u(c, in);
  Values du(c.m * c.rank), dx = in.at("dx"), da = in.at("da"), db = in.at("db");
  AddProduct(c.m, c.rank, c.n, kLoraScale, Plain(dy, c.n), Plain(in.at("b"), c.rank), du);
  for (size_t i = 0; i < du.size(); ++i) du[i] *= u.slope[i];
  AddProduct(c.n, c.rank, c.m, kLoraScale, Transposed(dy, c.n), Plain(u.value, c.rank), db);
  AddProduct(c.rank, c.k, c.m, 1, Transposed(du, c.rank), Plain(in.at("x"), c.k), da);
  AddProduct(c.m, c.k, c.rank, 1, Plain(du, c.rank), Plain(in.at("a"), c.k), dx);
  return {{"dx", dx}, {"da", da}, {"db", db}};
}

Tensors ScaleColumns(const Case& c, const Tensors& in) {
  Values y = in.at("y");
  for (size_t i = 0; i < y.size(); ++i) {
    const size_t column = i % c.k;
    const double center = At(in, "center", column, 0);
    y[i] = center + in.at("factor")[column] * At(in, "unit", column, 1) * (y[i] - center);
  }
  return {{"y", y}};
}

Tensors ScaleColumnsBackward(const Case& c, const Tensors& in) {
  Values dx = in.at("dy"), dfactor = in.at("dfactor");
  for (size_t i = 0; i < dx.size(); ++i) {
    const size_t column = i % c.k;
    dx[i] *= At(in, "unit", column, 1);
    dfactor[column] += dx[i] * (in.at("y")[i] - At(in, "center", column, 0));
    dx[i] *= in.at("factor")[column];
  }
  return {{"dy_before", dx}, {"dfactor", dfactor}};
}

Tensors RowSquares(const Case& c, const Tensors& in) {
  Values squares(c.n);
  for (int64_t i = 0; i < c.n * c.k; ++i) squares[i / c.k] += in.at("weight")[i] * in.at("weight")[i];
  return {{"squares", squares}};
}

Values RowNormInput(const Case& c, const std::string& name, const Tensors& in) {
  if (name == "squares") return RowSquares(c, in).at(name);
  const Values& a = in.at("a");
  Values out(c.rank * (name == "gram" ? c.rank : c.n));
  if (name == "gram") {
    AddProduct(c.rank, c.rank, c.k, 1, Plain(a, c.k), Transposed(a, c.k), out);
  } else {
    AddProduct(c.rank, c.n, c.k, 1, Plain(a, c.k), Transposed(in.at("weight"), c.k), out);
  }
  return out;
}

Tensors InverseRowNorms(const Case& c, const Tensors& in) {
  Values sum = in.at("weight"), inverse;
  AddProduct(c.n, c.k, c.rank, kLoraScale, Plain(in.at("b"), c.rank), Plain(in.at("a"), c.k), sum);
  for (auto row = sum.begin(); row != sum.end(); row += c.k) {
    inverse.push_back(1 / std::sqrt(std::inner_product(row, row + c.k, row, 0.0)));
  }
  return {{"inverse", inverse}};
}

}  // namespace tandem::optest
