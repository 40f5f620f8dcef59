// How well the cost model predicts: it learns a model's profile as the daemon does, then predicts drawn iterations that
// it has not seen, before each is run and learned from. Prints mean, median and 90th percentile of the error for each
// iteration, and how much iterations differ that are the same.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <map>
#include <numeric>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "CLI/CLI.hpp"
#include "base/status.h"
#include "engine/cost_profile.h"

namespace tandem {
namespace {

constexpr int kBlocks = 256, kBlockSize = 16;

struct CommandLine {
  std::string model = "models/demo";
  int threads = 0, iterations = 200, max_rows = 512;
  double profile_s = 10, budget_s = 40;
};

enum class Backward { kAfter, kBeside };

std::string KindOf(const Probe& probe) {
  int decodes = 0;
  bool prefills = false, trains = false;
  for (const Probe::Rows& span : probe.spans) {
    decodes += span.kind == SpanKind::kDecode;
    prefills = prefills || span.kind == SpanKind::kPrefill;
    trains = trains || span.kind == SpanKind::kTrainForward;
  }
  std::string kind = decodes == 1 ? "decode of 1" : "decode of more";
  if (prefills) kind += " + prefill";
  if (trains || !probe.units.empty()) kind += " + training";
  return probe.beside ? kind + ", beside" : kind;
}

// Relative errors of the predictions, and how far the very same iteration was off when it ran again at once: nobody
// predicts better than that.
struct Errors {
  std::vector<double> predicted, repeated;
};

double Mean(const std::vector<double>& values) {
  return std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
}

void Print(const std::string& kind, Errors errors) {
  for (std::vector<double>* values : {&errors.predicted, &errors.repeated}) std::sort(values->begin(), values->end());
  const size_t count = errors.predicted.size();
  std::printf("%-44s %5zu %7.1f %% %7.1f %% %7.1f %%    %7.1f %% %7.1f %%\n", kind.c_str(), count,
              100 * Mean(errors.predicted), 100 * errors.predicted[count / 2], 100 * errors.predicted[count * 9 / 10],
              100 * Mean(errors.repeated), 100 * errors.repeated[count / 2]);
}

// Runs drawn iterations until either limit; each is predicted, run, and then learned from, as in production.
void Measure(const CommandLine& line, Backward backward, Prober& prober, CostModel& cost) {
  std::map<std::string, Errors> errors;
  std::mt19937_64 random(12345);
  absl::Duration spent;
  for (int i = 0; i < line.iterations && spent < absl::Seconds(line.budget_s); ++i) {
    Probe probe = DrawProbe(prober.limits(), random);
    if (backward == Backward::kBeside) {
      probe.units.clear();
      probe.beside = true;
    }
    const StepFeatures features = FeaturesOf(probe);
    const absl::Duration predicted = cost.Predict(features);
    const absl::StatusOr<absl::Duration> took = prober.Run(probe), again = prober.Run(probe);
    if (!took.ok() || !again.ok()) continue;  // backward was through first
    spent += *took + *again;
    for (Errors* of : {&errors[KindOf(probe)], &errors[backward == Backward::kBeside ? "all, beside" : "all"]}) {
      of->predicted.push_back(std::abs(absl::FDivDuration(*took - predicted, predicted)));
      of->repeated.push_back(std::abs(absl::FDivDuration(*again - *took, *took)));
    }
    cost.Observe(features, *took);
  }
  std::printf("%-44s %5s %9s %9s %9s    %9s %9s\n", "ITERATION", "COUNT", "MEAN", "MEDIAN", "P90",
              "REPEATED:", "MEDIAN");
  for (const auto& [kind, of_kind] : errors) Print(kind, of_kind);
}

absl::Status Run(const CommandLine& line) {
  const auto backend = CreateCpuBackend(line.threads > 0 ? line.threads : std::thread::hardware_concurrency());
  ASSIGN_OR_RETURN(const ModelDesc desc, LoadModelDesc(line.model));
  AdapterStore adapters(*backend, desc.linear_shapes());
  BlockPool pool(kBlocks, kBlockSize);
  ASSIGN_OR_RETURN(const auto model,
                   Model::Load(line.model, {.kv_blocks = kBlocks, .kv_block_size = kBlockSize}, *backend, adapters));
  const ProbeLimits limits{
      .max_rows = line.max_rows, .max_context = std::min(1024, model->max_context()), .max_backward_rows = 256};
  CostModel cost(ShapeOf(desc, model->weight_dtype()));
  const Prober::Parts parts{model.get(), backend.get(), &pool, &adapters};
  const auto learn = [&](CostModel& cost, std::vector<Probe> probes) {
    IdleProfile profile(parts, limits, std::move(probes), absl::Seconds(line.profile_s));
    while (!profile.done()) profile.RunNext(cost);
  };
  learn(cost, ProfileProbes(limits));
  Prober prober(parts, limits);
  Measure(line, Backward::kAfter, prober, cost);
  if (!model->has_lane()) return absl::OkStatus();
  CostModel beside = cost.Unscaled();
  learn(beside, BesideProbes(limits));
  Measure(line, Backward::kBeside, prober, beside);
  return absl::OkStatus();
}

}  // namespace
}  // namespace tandem

int main(int argc, char** argv) {
  tandem::CommandLine line;
  CLI::App app{"The cost model's error on iterations that it has not seen"};
  app.add_option("--model", line.model, "A Hugging Face directory")->capture_default_str();
  app.add_option("--threads", line.threads, "0: one per core");
  app.add_option("--iterations", line.iterations, "To predict, at most")->capture_default_str();
  app.add_option("--max-rows", line.max_rows, "Of an iteration")->capture_default_str();
  app.add_option("--profile-seconds", line.profile_s, "What the profile may take")->capture_default_str();
  app.add_option("--seconds", line.budget_s, "What the iterations may take")->capture_default_str();
  CLI11_PARSE(app, argc, argv);
  const absl::Status status = tandem::Run(line);
  if (!status.ok()) std::fprintf(stderr, "%s\n", std::string(status.message()).c_str());
  return status.ok() ? 0 : 1;
}
