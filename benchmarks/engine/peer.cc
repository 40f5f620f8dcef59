#include "engine/peer.h"

#include <array>
#include <cstdio>
#include <map>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "base/json.h"
#include "base/status.h"

namespace tandem::enginebench {
namespace {

// What a shell takes as one word.
std::string Quoted(const std::string& word) {
  return absl::StrCat("'", absl::StrReplaceAll(word, {{"'", "'\\''"}}), "'");
}

absl::StatusOr<std::string> Output(const std::string& command) {
  FILE* pipe = popen(command.c_str(), "r");
  if (pipe == nullptr) return absl::InternalError(absl::StrCat("cannot run ", command));
  std::string output;
  std::array<char, 4096> buffer;
  while (const size_t read = fread(buffer.data(), 1, buffer.size(), pipe)) output.append(buffer.data(), read);
  if (pclose(pipe) != 0) return absl::InternalError(absl::StrCat("failed: ", command));
  return output;
}

// The last row of a table "| PP | TG | B | N_KV | T_PP s | S_PP t/s | T_TG s | S_TG t/s | ...": its S_TG.
std::optional<double> DecodeColumn(const std::string& table) {
  std::optional<double> found;
  for (const absl::string_view line : absl::StrSplit(table, '\n')) {
    const std::vector<absl::string_view> cells = absl::StrSplit(line, '|');
    double prompt = 0, rate = 0;
    if (cells.size() > 8 && absl::SimpleAtod(cells[1], &prompt) && absl::SimpleAtod(cells[8], &rate)) found = rate;
  }
  return found;
}

std::optional<double> AverageOfJson(const std::string& text) {
  const Json parsed = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!parsed.is_array() || parsed.empty() || !parsed[0].is_object()) return std::nullopt;
  const auto rate = parsed[0].find("avg_ts");
  if (rate == parsed[0].end() || !rate->is_number()) return std::nullopt;
  return rate->get<double>();
}

}  // namespace

absl::StatusOr<std::optional<double>> RunPeer(const Peer& peer, const std::string& workload, int threads) {
  static const std::map<std::string, std::string> kBench = {
      {"prefill128", "-p 128 -n 0"}, {"prefill512", "-p 512 -n 0"}, {"decode1", "-p 0 -n 32"}};
  static const std::map<std::string, std::string> kBatched = {
      {"decode4", "-npl 4"}, {"decode8", "-npl 8"}, {"decode16", "-npl 16"}};
  const bool batched = peer.program.ends_with("llama-batched-bench");
  const auto& workloads = batched ? kBatched : kBench;
  const auto found = workloads.find(workload);
  if (found == workloads.end()) return std::nullopt;

  std::string command = absl::StrCat(Quoted(peer.program), " -m ", Quoted(peer.model), " -t ", threads, " ",
                                     found->second, batched ? " -npp 32 -ntg 32 -c 4096" : " -r 1 -o json");
  for (const std::string& argument : peer.arguments) absl::StrAppend(&command, " ", Quoted(argument));
  command += batched ? " 2>&1" : " 2>/dev/null";  // the table goes to the standard error
  ASSIGN_OR_RETURN(const std::string output, Output(command));
  const std::optional<double> rate = batched ? DecodeColumn(output) : AverageOfJson(output);
  if (!rate.has_value()) return absl::InternalError(absl::StrCat("no figure in what this printed: ", command));
  return rate;
}

}  // namespace tandem::enginebench
