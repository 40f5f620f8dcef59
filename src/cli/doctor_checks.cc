#include <filesystem>
#include <system_error>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "cli/doctor.h"

namespace tandem {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kGiB = int64_t{1} << 30;
constexpr int64_t kEnoughDisk = kGiB;      // published adapters, some generations of them
constexpr double kPeakOverWeights = 1.15;  // what loading may take, and the KV pool and activations
constexpr int64_t kLeastMemory = kGiB / 2;

std::string GiB(int64_t bytes) {
  return absl::StrFormat("%.1f GiB", static_cast<double>(bytes) / kGiB);
}

// The value behind "name" and a colon, of the first line that has it.
std::string Field(const std::string& text, const std::string& name) {
  for (const auto line : absl::StrSplit(text, '\n')) {
    const std::vector<std::string> parts = absl::StrSplit(line, absl::MaxSplits(':', 1));
    if (parts.size() != 2 || parts[0].substr(0, parts[0].find_last_not_of(" \t") + 1) != name) continue;
    return parts[1].substr(std::min(parts[1].find_first_not_of(' '), parts[1].size()));
  }
  return "";
}

int64_t Kilobytes(const std::string& text, const std::string& name) {
  int64_t value = 0;
  const std::vector<std::string> words = absl::StrSplit(Field(text, name), ' ');
  return absl::SimpleAtoi(words[0], &value) ? value * 1024 : 0;
}

}  // namespace

Finding CheckCpu(const std::string& cpuinfo) {
  const std::string flags = absl::StrCat(" ", Field(cpuinfo, "flags"), " ");
  const auto has = [&](const char* flag) { return absl::StrContains(flags, absl::StrCat(" ", flag, " ")); };
  const std::string name = Field(cpuinfo, "model name");
  if (!has("avx2") || !has("fma")) {
    return {Health::kFail, "cpu", name + ": no AVX2 with FMA; run on a machine made since 2014 or so"};
  }
  std::string found = name + ": AVX2";
  if (has("avx512f") && has("avx512bw")) absl::StrAppend(&found, ", AVX-512");
  if (has("avx512_bf16")) absl::StrAppend(&found, ", AVX-512-BF16");
  if (has("avx512_vnni")) absl::StrAppend(&found, ", VNNI");
  if (has("amx_bf16")) absl::StrAppend(&found, ", AMX");
  return {Health::kOk, "cpu", found};
}

Finding CheckMemory(const std::string& meminfo, int64_t model_bytes) {
  const int64_t available = Kilobytes(meminfo, "MemAvailable");
  const int64_t total = Kilobytes(meminfo, "MemTotal");
  const int64_t want = static_cast<int64_t>(static_cast<double>(model_bytes) * kPeakOverWeights) + kLeastMemory;
  const std::string found = absl::StrCat(GiB(available), " free of ", GiB(total));
  if (available >= want) return {Health::kOk, "memory", found};
  return {
      total >= want ? Health::kWarn : Health::kFail, "memory",
      absl::StrCat(found, ", want about ", GiB(want), total >= want ? ": end something else" : ": a smaller model")};
}

Finding CheckHugePages(const std::string& enabled) {
  if (absl::StrContains(enabled, "[always]") || absl::StrContains(enabled, "[madvise]")) {
    return {Health::kOk, "huge pages", "transparent huge pages are there for those who ask"};
  }
  return {Health::kWarn, "huge pages",
          "transparent huge pages are off, weights are read slower: echo madvise > "
          "/sys/kernel/mm/transparent_hugepage/enabled (as root)"};
}

Finding CheckDisk(const std::string& directory, int64_t free_bytes) {
  const std::string found = absl::StrCat(GiB(free_bytes), " free at ", directory);
  if (free_bytes >= kEnoughDisk) return {Health::kOk, "disk", found};
  return {free_bytes > 0 ? Health::kWarn : Health::kFail, "disk",
          absl::StrCat(found, ", want at least ", GiB(kEnoughDisk), " for adapters: free some, or set state_dir")};
}

Finding CheckModel(const std::string& directory, int64_t* model_bytes) {
  std::error_code error;
  if (!fs::is_directory(directory, error)) {
    return {Health::kFail, "model", directory + " is no directory; want a Hugging Face model's"};
  }
  for (const char* file : {"config.json", "tokenizer.json"}) {
    if (fs::exists(fs::path(directory) / file, error)) continue;
    return {Health::kFail, "model", absl::StrCat(directory, " has no ", file, "; get the whole of the model's files")};
  }
  *model_bytes = 0;
  for (fs::directory_iterator entry(directory, error), end; !error && entry != end; entry.increment(error)) {
    std::error_code ignored;
    if (entry->path().extension() == ".safetensors") *model_bytes += static_cast<int64_t>(entry->file_size(ignored));
  }
  if (*model_bytes == 0) {
    return {Health::kFail, "model", directory + " has no *.safetensors; other formats are not read"};
  }
  return {Health::kOk, "model", absl::StrFormat("%s, %.0f MB of weights", directory, *model_bytes / 1e6)};
}

Finding CheckServedModel(const v1::DaemonStatus& status, const std::string& server) {
  if (!status.has_model()) {
    return {Health::kWarn, "daemon",
            absl::StrCat("runs at ", server, " and serves no model: tandem models load PATH, where none is under way")};
  }
  return {Health::kOk, "daemon", absl::StrCat("serves ", status.model().name(), " at ", server)};
}

}  // namespace tandem
