#include <algorithm>
#include <cmath>
#include <numeric>

#include "ops/reference_rows.h"

namespace tandem::optest {

namespace {

// The router's choice for one row, and what backward needs of it.
struct RoutedRow {
  RoutedRow(const Case& c, const double* logits, int64_t n) : probabilities(logits, logits + n), chosen(n) {
    const double max = *std::max_element(probabilities.begin(), probabilities.end());
    double sum = 0;
    for (double& p : probabilities) sum += p = std::exp(p - max);
    for (double& p : probabilities) p /= sum;
    std::iota(chosen.begin(), chosen.end(), 0);
    std::stable_sort(chosen.begin(), chosen.end(), [&](int a, int b) { return probabilities[a] > probabilities[b]; });
    chosen.resize(c.top_k);
    std::sort(chosen.begin(), chosen.end());
    for (const int expert : chosen) divisor += c.normalize ? probabilities[expert] : 0;
    if (!c.normalize) divisor = 1;
  }
  Values probabilities;
  std::vector<int> chosen;
  double divisor = 0;
};

// logits [m, n]
std::vector<RoutedRow> RoutedRows(const Case& c, const Tensors& in, int64_t n) {
  std::vector<RoutedRow> rows;
  for (int64_t row = 0; row < c.m; ++row) rows.emplace_back(c, &in.at("logits")[row * n], n);
  return rows;
}

// One of them: of a row, by its number there.
struct Choice {
  int64_t row, number;
  int expert;
  double weight;
};
// By expert, then by row.
std::vector<Choice> ChoicesInOrder(const Case& c, const std::vector<RoutedRow>& rows) {
  std::vector<Choice> choices;
  for (size_t row = 0; row < rows.size(); ++row) {
    for (int i = 0; i < c.top_k; ++i) {
      const int expert = rows[row].chosen[i];
      choices.push_back({static_cast<int64_t>(row), static_cast<int64_t>(row) * c.top_k + i, expert,
                         rows[row].probabilities[expert] / rows[row].divisor});
    }
  }
  std::stable_sort(choices.begin(), choices.end(), [](const auto& a, const auto& b) { return a.expert < b.expert; });
  return choices;
}

}  // namespace

Tensors Route(const Case& c, const Tensors& in) {
  const std::vector<Choice> choices = ChoicesInOrder(c, RoutedRows(c, in, c.n));
  Values experts(choices.size()), weights(choices.size()), places(choices.size()), order, ends(c.n);
  for (size_t place = 0; place < choices.size(); ++place) {
    const Choice& choice = choices[place];
    experts[choice.number] = choice.expert;
    weights[choice.number] = choice.weight;
    places[choice.number] = static_cast<double>(place);
    order.push_back(static_cast<double>(choice.number));
    for (int64_t i = choice.expert; i < c.n; ++i) ends[i] = static_cast<double>(place + 1);
  }
  return {{"experts", experts}, {"weights", weights}, {"order", order}, {"places", places}, {"ends", ends}};
}

Tensors RouteBackward(const Case& c, const Tensors& in) {
  Values dlogits(c.m * c.n);
  for (int64_t row = 0; row < c.m; ++row) {
    const RoutedRow routed(c, &in.at("logits")[row * c.n], c.n);
    const double* dw = &in.at("dweights")[row * c.top_k];
    // The Jacobian entry by entry: w_i = p_i / S, dp_i / dl_j = p_i (delta_ij - p_j).
    for (int j = 0; j < c.n; ++j) {
      double ds = 0;
      const auto dp = [&](int i) { return routed.probabilities[i] * ((i == j ? 1 : 0) - routed.probabilities[j]); };
      for (const int i : routed.chosen) ds += c.normalize ? dp(i) : 0;
      for (int i = 0; i < c.top_k; ++i) {
        const int expert = routed.chosen[i];
        const double s = routed.divisor;
        dlogits[row * c.n + j] += dw[i] * (dp(expert) / s - routed.probabilities[expert] * ds / (s * s));
      }
    }
  }
  return {{"dlogits", dlogits}};
}

Tensors ExpertChoices(const Case& c, const Tensors& in) {
  const Values& x = in.at("x");
  const std::vector<Choice> choices = ChoicesInOrder(c, RoutedRows(c, in, c.experts));
  const int64_t count = static_cast<int64_t>(choices.size());
  Values gathered(count * c.k), combined = Initial(in, "y", 0), dx = Initial(in, "dx", 0), dweights(count);
  for (int64_t place = 0; place < count; ++place) {
    const Choice& choice = choices[place];
    for (int64_t i = 0; i < c.k; ++i) {
      const int64_t by_expert = place * c.k + i, by_row = choice.row * c.k + i;
      if (c.op == Op::kGatherChoices) gathered[by_expert] = x[by_row];
      if (c.op == Op::kCombineChoices) {
        combined[by_row] += (c.weighted ? in.at("factors")[choice.number] : 1) * x[by_expert];
      }
      if (c.op == Op::kWeighChoicesBackward) {
        dweights[choice.number] += dx[by_expert] * x[by_expert];
        dx[by_expert] *= choice.weight;
      }
    }
  }
  if (c.op == Op::kGatherChoices) return {{"y", gathered}};
  if (c.op == Op::kCombineChoices) return {{"y", combined}};
  return {{"dx", dx}, {"dweights", dweights}};
}

// weight [experts, n, k], one after the other.
Tensors ExpertProducts(const Case& c, const Tensors& in) {
  const bool backward = c.op == Op::kExpertLinearBackwardInput;
  const std::string to = backward ? "dx" : "y";
  const Values &x = in.at(backward ? "dy" : "x"), &weights = in.at("weight");
  const std::vector<Choice> choices = ChoicesInOrder(c, RoutedRows(c, in, c.experts));
  const int64_t inputs = backward ? c.n : c.k, outputs = backward ? c.k : c.n;
  Values y = Initial(in, to, static_cast<int64_t>(choices.size()) * outputs);
  for (size_t place = 0; place < choices.size(); ++place) {
    const double* w = &weights[choices[place].expert * c.n * c.k];
    for (int64_t o = 0; o < outputs; ++o) {
      for (int64_t i = 0; i < inputs; ++i) {
        y[place * outputs + o] += x[place * inputs + i] * w[backward ? i * c.k + o : o * c.k + i];
      }
    }
  }
  return {{to, y}};
}

}  // namespace tandem::optest
