// Runs a model directory and says what share of the machine it reaches, limits measured in the same run:
//
//   engine_benchmark MODEL [--threads 2] [--rounds 5] [--only prefill128,decode1,...] [--json FILE]
//                    [--peer PROGRAM --peer-model FILE [--peer-args "-rtr 1"]]
//
// Every round runs each workload once, the peer's directly after ours, so that a slow minute of the machine falls on
// all of them. Shares are of the median: of the arithmetic peak (prefill, training) or of the memory stream (decode).
#include <algorithm>
#include <chrono>
#include <fstream>
#include <functional>
#include <iostream>
#include <optional>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "base/json.h"
#include "engine/peer.h"
#include "engine/workloads.h"
#include "limits/limits.h"

namespace tandem::enginebench {
namespace {

struct Workload {
  std::string name;
  std::function<int()> run;                     // returns its tokens
  double flops_per_run = 0, bytes_per_run = 0;  // the one that binds; the other 0
  std::vector<double> seconds = {};
  int tokens = 0;
  std::vector<double> peer_rates = {};  // tokens per second; empty: no peer, or it has no such workload
};

double Median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const size_t half = values.size() / 2;
  return values.size() % 2 == 1 ? values[half] : (values[half - 1] + values[half]) / 2;
}

double Seconds(const std::function<int()>& run, int& tokens) {
  const auto start = std::chrono::steady_clock::now();
  tokens = run();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

std::vector<Workload> AllWorkloads(Workloads& model) {
  std::vector<Workload> all;
  for (const int tokens : {128, 512}) {
    all.push_back({.name = absl::StrCat("prefill", tokens),
                   .run = [&model, tokens] { return model.Prefill(tokens); },
                   .flops_per_run = tokens * model.layer_flops() + model.head_flops()});
  }
  for (const int sequences : {1, 4, 8, 16}) {
    all.push_back({.name = absl::StrCat("decode", sequences),
                   .run = [&model, sequences] { return model.Decode(sequences); },
                   .bytes_per_run = model.decode_weight_bytes()});
  }
  // Forward and dX: the backbone's weights have no gradient.
  all.push_back({.name = "train256",
                 .run = [&model] { return model.TrainLora(256, 256); },
                 .flops_per_run = 2 * 256 * (model.layer_flops() + model.head_flops())});
  return all;
}

Json Report(const Workload& w, const MachineLimits& limits) {
  const double median = Median(w.seconds);
  const auto [fastest, slowest] = std::minmax_element(w.seconds.begin(), w.seconds.end());
  const double peak = limits.bf16_flops_per_second > 0 ? limits.bf16_flops_per_second : limits.flops_per_second;
  const double share =
      w.flops_per_run > 0 ? w.flops_per_run / median / peak : w.bytes_per_run / median / limits.read_bytes_per_second;
  const char* limit = w.flops_per_run > 0 ? "of the arithmetic peak" : "of the memory stream";
  std::cout << absl::StrFormat("%-11s %8.1f tok/s  [%.1f - %.1f]  %5.1f %% %s\n", w.name, w.tokens / median,
                               w.tokens / *slowest, w.tokens / *fastest, 100 * share, limit);
  Json report = {{"workload", w.name},
                 {"tokens_per_second",
                  {{"median", w.tokens / median}, {"min", w.tokens / *slowest}, {"max", w.tokens / *fastest}}},
                 {"share", share},
                 {"share_of", limit}};
  if (w.peer_rates.empty()) return report;
  const double peer = Median(w.peer_rates);
  const auto [low, high] = std::minmax_element(w.peer_rates.begin(), w.peer_rates.end());
  std::cout << absl::StrFormat("  peer      %8.1f tok/s  [%.1f - %.1f]  ours is %.2f times that\n", peer, *low, *high,
                               w.tokens / median / peer);
  report["peer_tokens_per_second"] = {{"median", peer}, {"min", *low}, {"max", *high}};
  report["ratio"] = w.tokens / median / peer;
  return report;
}

// One round: each workload, and the peer's where there is one.
absl::Status RunRound(std::vector<Workload>& workloads, const std::optional<Peer>& peer, int threads) {
  for (Workload& w : workloads) {
    w.seconds.push_back(Seconds(w.run, w.tokens));
    if (!peer.has_value()) continue;
    const auto rate = RunPeer(*peer, w.name, threads);
    if (!rate.ok()) return rate.status();
    if (rate->has_value()) w.peer_rates.push_back(**rate);
  }
  return absl::OkStatus();
}

int Main(int argc, char** argv) {
  CLI::App app{"Tokens per second of a model, next to the machine's limits.", "engine_benchmark"};
  std::string directory, json_path;
  int threads = 2, rounds = 5;
  std::vector<std::string> only;
  app.add_option("MODEL", directory, "A Hugging Face directory")->required();
  app.add_option("--threads", threads)->check(CLI::Range(1, 1024))->capture_default_str();
  app.add_option("--rounds", rounds)->check(CLI::Range(1, 1000))->capture_default_str();
  app.add_option("--only", only, "prefill128, prefill512, decode1, decode4, decode8, decode16, train256")
      ->delimiter(',');
  app.add_option("--json", json_path, "Where the figures go as JSON");
  Peer peer;
  std::string peer_arguments;
  CLI::Option* peer_program = app.add_option("--peer", peer.program, "llama-bench or llama-batched-bench of a peer");
  app.add_option("--peer-model", peer.model, "Its own file of a model of the same shape")->needs(peer_program);
  app.add_option("--peer-args", peer_arguments, "More arguments for it, separated by spaces")->needs(peer_program);
  CLI11_PARSE(app, argc, argv);
  peer.arguments = absl::StrSplit(peer_arguments, ' ', absl::SkipEmpty());

  auto model = Workloads::Load(directory, threads);
  if (!model.ok()) {
    std::cerr << "engine_benchmark: " << model.status().message() << "\n";
    return 1;
  }
  const MachineLimits limits = MeasureMachineLimits(threads);
  std::cout << absl::StrFormat("%s; fp32 %.0f, bf16 dot %.0f GFLOP/s, stream %.1f GB/s\n", (*model)->backend().name(),
                               limits.flops_per_second * 1e-9, limits.bf16_flops_per_second * 1e-9,
                               limits.read_bytes_per_second * 1e-9);
  std::vector<Workload> workloads = AllWorkloads(**model);
  std::erase_if(workloads, [&](const Workload& w) {
    return !only.empty() && std::find(only.begin(), only.end(), w.name) == only.end();
  });
  (*model)->Prefill(128);  // touches every weight and all scratch once
  for (int round = 0; round < rounds; ++round) {
    const auto status = RunRound(workloads, peer.program.empty() ? std::nullopt : std::optional(peer), threads);
    if (status.ok()) continue;
    std::cerr << "engine_benchmark: " << status.message() << "\n";
    return 1;
  }
  Json report = {{"backend", (*model)->backend().name()},
                 {"model", directory},
                 {"command", absl::StrJoin(std::vector<std::string>(argv, argv + argc), " ")},
                 {"rounds", rounds},
                 {"limits",
                  {{"fp32_flops", limits.flops_per_second},
                   {"bf16_dot_flops", limits.bf16_flops_per_second},
                   {"read_bytes_per_second", limits.read_bytes_per_second}}},
                 {"results", Json::array()}};
  for (const Workload& w : workloads) report["results"].push_back(Report(w, limits));
  if (json_path.empty()) return 0;
  std::ofstream file(json_path);
  file << report.dump(1) << "\n";
  return file.good() ? 0 : 1;
}

}  // namespace
}  // namespace tandem::enginebench

int main(int argc, char** argv) {
  return tandem::enginebench::Main(argc, argv);
}
