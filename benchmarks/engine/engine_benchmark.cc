// Runs a model directory and says what share of the machine it reaches, limits measured in the same run:
//
//   engine_benchmark MODEL [--device cpu] [--threads 2] [--rounds 5] [--only prefill128,decode1,...] [--json FILE]
//                    [--peer PROGRAM --peer-model FILE [--peer-args "-rtr 1"]]
//
// Every round runs each workload once, the peer's directly after ours, so that a slow minute of the machine falls on
// all of them. Shares are of the median: of the arithmetic peak (prefill, training) or of the memory stream (decode; on
// the CPU that is a plain read of as many bytes just before each run, the median of those).
#include <algorithm>
#include <chrono>
#include <fstream>
#include <functional>
#include <iostream>
#include <map>
#include <optional>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "base/json.h"
#include "engine/peer.h"
#include "engine/workloads.h"
#include "limits/device_limits.h"

namespace tandem::enginebench {
namespace {

struct Workload {
  std::string name;
  std::function<int()> run;                     // returns its tokens
  double flops_per_run = 0, bytes_per_run = 0;  // the one that binds; the other 0
  std::vector<double> seconds = {};
  int tokens = 0;
  std::vector<double> stream_rates = {};  // bytes per second
  std::vector<double> peer_rates = {};    // tokens per second; empty: no peer, or it has no such workload
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

// "decode8": 8 sequences; "prefill128" and "train256": tokens.
struct WorkloadName {
  std::string kind;
  int size = 0;
};

std::optional<WorkloadName> Parse(const std::string& name) {
  const size_t digits = name.find_first_of("0123456789");
  WorkloadName parsed = {.kind = name.substr(0, digits)};
  const bool known = parsed.kind == "prefill" || parsed.kind == "decode" || parsed.kind == "train";
  if (!known || digits == std::string::npos || !absl::SimpleAtoi(name.substr(digits), &parsed.size))
    return std::nullopt;
  return parsed.size > 0 ? std::optional(parsed) : std::nullopt;
}

std::vector<Workload> MakeWorkloads(const std::vector<WorkloadName>& names, int window, Workloads& model) {
  std::vector<Workload> all;
  for (const auto& [kind, size] : names) {
    Workload& w = all.emplace_back(Workload{.name = absl::StrCat(kind, size)});
    if (kind == "prefill") {
      w.run = [&model, size = size] { return model.Prefill(size); };
      w.flops_per_run = size * model.layer_flops() + model.head_flops();
    } else if (kind == "decode") {
      w.run = [&model, size = size] { return model.Decode(size); };
      w.bytes_per_run = model.decode_weight_bytes();
    } else {
      // Forward and dX: the backbone's weights have no gradient.
      w.run = [&model, size = size, window] { return model.TrainLora(size, std::min(size, window)); };
      w.flops_per_run = 2 * size * (model.layer_flops() + model.head_flops());
    }
  }
  return all;
}

Workloads::Size SizeFor(const std::vector<WorkloadName>& names, int decode_position) {
  Workloads::Size size = {.max_tokens = 128, .max_sequences = 1, .decode_position = decode_position};
  for (const auto& [kind, count] : names) {
    int& most = kind == "decode" ? size.max_sequences : size.max_tokens;
    most = std::max(most, count);
  }
  return size;
}

Json Report(const Workload& w, const MachineLimits& limits) {
  const double median = Median(w.seconds);
  const auto [fastest, slowest] = std::minmax_element(w.seconds.begin(), w.seconds.end());
  const double peak = limits.bf16_flops_per_second > 0 ? limits.bf16_flops_per_second : limits.flops_per_second;
  const double stream = w.stream_rates.empty() ? limits.read_bytes_per_second : Median(w.stream_rates);
  const double share = w.flops_per_run > 0 ? w.flops_per_run / median / peak : w.bytes_per_run / median / stream;
  const char* limit = w.flops_per_run > 0 ? "of the arithmetic peak" : "of the memory stream";
  std::cout << absl::StrFormat("%-11s %8.1f tok/s  [%.1f - %.1f]  %5.1f %% %s\n", w.name, w.tokens / median,
                               w.tokens / *slowest, w.tokens / *fastest, 100 * share, limit);
  Json report = {{"workload", w.name},
                 {"tokens_per_second",
                  {{"median", w.tokens / median}, {"min", w.tokens / *slowest}, {"max", w.tokens / *fastest}}},
                 {"share", share},
                 {"share_of", limit}};
  if (!w.stream_rates.empty()) report["stream_bytes_per_second"] = stream;
  if (w.peer_rates.empty()) return report;
  const double peer = Median(w.peer_rates);
  const auto [low, high] = std::minmax_element(w.peer_rates.begin(), w.peer_rates.end());
  std::cout << absl::StrFormat("  peer      %8.1f tok/s  [%.1f - %.1f]  ours is %.2f times that\n", peer, *low, *high,
                               w.tokens / median / peer);
  report["peer_tokens_per_second"] = {{"median", peer}, {"min", *low}, {"max", *high}};
  report["ratio"] = w.tokens / median / peer;
  return report;
}

// One round: each workload, what it is a share of where memory binds it, and the peer's where there is one.
absl::Status RunRound(std::vector<Workload>& workloads, MemoryStream* stream, const std::optional<Peer>& peer,
                      int threads) {
  for (Workload& w : workloads) {
    if (stream != nullptr && w.bytes_per_run > 0) w.stream_rates.push_back(stream->Read(w.bytes_per_run / 8));
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
  int rounds = 5, window = 1024, decode_position = 32;
  BackendOptions options = {.kind = BackendKind::kCpu, .threads = 2};
  std::vector<std::string> wanted = {"prefill128", "prefill512", "decode1", "decode4",
                                     "decode8",    "decode16",   "train256"};
  app.add_option("MODEL", directory, "A Hugging Face directory")->required();
  const std::map<std::string, BackendKind> devices = {{"cpu", BackendKind::kCpu}, {"cuda", BackendKind::kCuda}};
  app.add_option("--device", options.kind, "cpu or cuda")->transform(CLI::CheckedTransformer(devices));
  app.add_option("--threads", options.threads)->check(CLI::Range(1, 1024))->capture_default_str();
  app.add_option("--rounds", rounds)->check(CLI::Range(1, 1000))->capture_default_str();
  app.add_option("--only", wanted, "prefillN and trainN: N tokens; decodeN: N sequences")
      ->delimiter(',')
      ->capture_default_str();
  app.add_option("--window", window, "Of training: rows a pass")->check(CLI::Range(1, 65536))->capture_default_str();
  app.add_option("--decode-position", decode_position, "Tokens before the first that is decoded")
      ->capture_default_str();
  app.add_option("--json", json_path, "Where the figures go as JSON");
  Peer peer;
  std::string peer_arguments;
  CLI::Option* peer_program = app.add_option("--peer", peer.program, "llama-bench or llama-batched-bench of a peer");
  app.add_option("--peer-model", peer.model, "Its own file of a model of the same shape")->needs(peer_program);
  app.add_option("--peer-args", peer_arguments, "More arguments for it, separated by spaces")->needs(peer_program);
  CLI11_PARSE(app, argc, argv);
  peer.arguments = absl::StrSplit(peer_arguments, ' ', absl::SkipEmpty());

  std::vector<WorkloadName> names;
  for (const std::string& name : wanted) {
    const std::optional<WorkloadName> parsed = Parse(name);
    if (!parsed.has_value()) {
      std::cerr << "engine_benchmark: no workload " << name << "; want prefillN, decodeN or trainN\n";
      return 1;
    }
    names.push_back(*parsed);
  }
  const int threads = options.threads;
  auto model = Workloads::Load(directory, options, SizeFor(names, decode_position));
  if (!model.ok()) {
    std::cerr << "engine_benchmark: " << model.status().message() << "\n";
    return 1;
  }
  const MachineLimits limits =
      options.kind == BackendKind::kCpu ? MeasureMachineLimits(threads) : MeasureDeviceLimits((*model)->backend());
  std::cout << absl::StrFormat("%s; fp32 %.0f, bf16 dot %.0f GFLOP/s, stream %.1f GB/s\n", (*model)->backend().name(),
                               limits.flops_per_second * 1e-9, limits.bf16_flops_per_second * 1e-9,
                               limits.read_bytes_per_second * 1e-9);
  std::vector<Workload> workloads = MakeWorkloads(names, window, **model);
  for (const Workload& w : workloads) w.run();  // touches every weight and all scratch once
  std::optional<MemoryStream> stream;
  if (options.kind == BackendKind::kCpu) stream.emplace(threads);
  for (int round = 0; round < rounds; ++round) {
    const auto status = RunRound(workloads, stream.has_value() ? &*stream : nullptr,
                                 peer.program.empty() ? std::nullopt : std::optional(peer), threads);
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
