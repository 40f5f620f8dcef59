#include "adapter/peft_files.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "adapter/peft_config.h"
#include "base/file.h"
#include "base/names.h"
#include "base/status.h"
#include "store/safetensors.h"
#include "tensor/dtype.h"

namespace tandem {
namespace {

constexpr char kConfigFile[] = "adapter_config.json";
constexpr char kTensorFile[] = "adapter_model.safetensors";
constexpr size_t kMaxConfigBytes = 10'000'000;

absl::Status Bad(std::string message) {
  return absl::InvalidArgumentError(std::move(message));
}

// "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"; `matrix` is 'A' or 'B'.
std::string TensorName(const LinearNames& names, int layer, LinearKind kind, char matrix) {
  return absl::StrCat("base_model.model.", names.ModuleName(layer, kind), ".lora_", std::string(1, matrix), ".weight");
}

// --- reading
// -----------------------------------------------------------------------------------------------------------

absl::Status CheckTensorNames(const SafetensorsFile& file, const LinearShapes& shapes) {
  std::vector<std::string> known;
  for (int layer = 0; layer < shapes.num_layers; ++layer) {
    for (const LinearKind kind : shapes.names.Kinds()) {
      for (const char matrix : {'A', 'B'}) known.push_back(TensorName(shapes.names, layer, kind, matrix));
    }
  }
  std::sort(known.begin(), known.end());
  for (const std::string& name : file.names()) {
    if (std::binary_search(known.begin(), known.end(), name)) continue;
    return Bad(absl::StrCat("tensor '", name, "' is no LoRA matrix of this model's ", shapes.num_layers, " layers",
                            SuggestNames(name, known)));
  }
  return absl::OkStatus();
}

// A tensor of the file as finite f32.
absl::StatusOr<Tensor> ReadTensor(const SafetensorsFile& file, const std::string& name, Shape want) {
  ASSIGN_OR_RETURN(const TensorView view, file.Find(name));
  if (view.shape != want) {
    return Bad(
        absl::StrCat(file.path(), ": tensor '", name, "': shape ", view.shape.ToString(), ", want ", want.ToString()));
  }
  if (view.dtype == DType::kI32)
    return Bad(absl::StrCat(file.path(), ": tensor '", name, "': I32, want F32, BF16 or F16"));
  Tensor tensor = Tensor::Empty(DType::kF32, want);
  ConvertToF32(view, tensor.f32());
  const float *begin = tensor.f32(), *end = begin + tensor.num_elements();
  const float* odd = std::find_if(begin, end, [](float value) { return !std::isfinite(value); });
  if (odd != end) {
    return Bad(absl::StrCat(file.path(), ": tensor '", name, "': element ", odd - begin, " is ", *odd,
                            ", want a finite number"));
  }
  return tensor;
}

absl::StatusOr<std::vector<LoraPair>> ReadPairs(const SafetensorsFile& file, int rank, const LinearShapes& shapes) {
  std::vector<LoraPair> pairs;
  for (int layer = 0; layer < shapes.num_layers; ++layer) {
    for (const LinearKind kind : shapes.names.Kinds()) {
      const std::string a = TensorName(shapes.names, layer, kind, 'A'), b = TensorName(shapes.names, layer, kind, 'B');
      if (!file.Contains(a) && !file.Contains(b)) continue;
      LoraPair pair;
      pair.linear = kind;
      pair.layer = layer;
      ASSIGN_OR_RETURN(pair.a, ReadTensor(file, a, {rank, shapes[kind].in}));
      ASSIGN_OR_RETURN(pair.b, ReadTensor(file, b, {shapes[kind].out, rank}));
      pairs.push_back(std::move(pair));
    }
  }
  if (pairs.empty()) return Bad(absl::StrCat(file.path(), ": no tensors, want LoRA matrices"));
  return pairs;
}

// As peft matches: a whole name, or its end behind a dot.
bool Matches(std::string_view module, std::string_view target) {
  return module.ends_with(target) &&
         (module.size() == target.size() || module[module.size() - target.size() - 1] == '.');
}

// The config's target_modules must be exactly what the file has pairs for.
absl::Status CheckTargets(const std::vector<std::string>& targets, const LoraWeights& weights, int num_layers) {
  const LinearNames& names = weights.spec().names;
  std::vector<bool> used(targets.size());
  std::vector<std::string> modules;
  for (int layer = 0; layer < num_layers; ++layer) {
    for (const LinearKind kind : names.Kinds()) {
      const std::string& module = modules.emplace_back(names.ModuleName(layer, kind));
      bool targeted = false;
      for (size_t i = 0; i < targets.size(); ++i) {
        if (!Matches(module, targets[i])) continue;
        targeted = used[i] = true;
      }
      if (targeted == (weights.Find(layer, kind) != nullptr)) continue;
      return Bad(targeted ? absl::StrCat(kTensorFile, " has no matrices for ", module, ", a target module")
                          : absl::StrCat(kTensorFile, " has matrices for ", module, ", which is no target module"));
    }
  }
  const auto unused = std::find(used.begin(), used.end(), false);
  if (unused == used.end()) return absl::OkStatus();
  for (const LinearKind kind : names.Kinds()) modules.emplace_back(names.Name(kind));
  const std::string& target = targets[unused - used.begin()];
  return Bad(
      absl::StrCat("target module '", target, "' is no linear of this model's layers", SuggestNames(target, modules)));
}

// --- writing
// -----------------------------------------------------------------------------------------------------------

// Short names where every layer has the same pairs; else every module by its whole name.
std::vector<std::string> TargetNames(const LoraWeights& weights) {
  const int num_layers = weights.pairs().back().layer + 1;
  std::vector<std::string> names;
  if (weights.pairs().size() == num_layers * weights.spec().targets.size()) {
    for (const LinearKind kind : weights.spec().targets) names.emplace_back(weights.spec().names.Name(kind));
  } else {
    for (const LoraPair& pair : weights.pairs())
      names.push_back(weights.spec().names.ModuleName(pair.layer, pair.linear));
  }
  return names;
}

absl::Status WriteFiles(const std::string& directory, const LoraWeights& weights, const std::string& base_model) {
  const LinearNames& names = weights.spec().names;
  std::vector<NamedTensor> tensors;
  for (const LoraPair& pair : weights.pairs()) {
    tensors.push_back({TensorName(names, pair.layer, pair.linear, 'A'), pair.a.view()});
    tensors.push_back({TensorName(names, pair.layer, pair.linear, 'B'), pair.b.view()});
  }
  RETURN_IF_ERROR(WriteSafetensors(absl::StrCat(directory, "/", kTensorFile), tensors, {{"format", "pt"}}));
  const Json config = MakePeftConfig(weights.spec(), TargetNames(weights), base_model);
  const std::string text = config.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
  return WriteFileAtomically(absl::StrCat(directory, "/", kConfigFile), text);
}

absl::Status SyncDirectory(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  const bool synced = fd >= 0 && ::fsync(fd) == 0;
  const int error = errno;
  if (fd >= 0) ::close(fd);
  return synced ? absl::OkStatus() : absl::ErrnoToStatus(error, absl::StrCat(path, ": cannot sync directory"));
}

// A new directory beside `directory` that is removed, with what is in it, unless it was renamed away.
class TemporaryDirectory {
 public:
  explicit TemporaryDirectory(const std::string& directory) : path_(directory + ".tmp.XXXXXX") {}
  TemporaryDirectory(const TemporaryDirectory&) = delete;
  TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;
  ~TemporaryDirectory() {
    std::error_code ignored;
    if (created_) std::filesystem::remove_all(path_, ignored);
  }

  absl::Status Create() {
    created_ = ::mkdtemp(path_.data()) != nullptr;
    if (created_ && ::chmod(path_.c_str(), 0755) == 0) return absl::OkStatus();
    return absl::ErrnoToStatus(errno, absl::StrCat(path_, ": cannot create directory"));
  }
  absl::Status RenameTo(const std::string& directory) {
    if (::rename(path_.c_str(), directory.c_str()) == 0) {
      created_ = false;
      return absl::OkStatus();
    }
    if (errno == ENOTEMPTY || errno == EEXIST || errno == ENOTDIR) {
      return absl::AlreadyExistsError(absl::StrCat(directory, ": exists already"));
    }
    return absl::ErrnoToStatus(errno, absl::StrCat(directory, ": cannot rename into place"));
  }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
  bool created_ = false;
};

}  // namespace

absl::StatusOr<LoraWeights> ReadPeftAdapter(const std::string& directory, const LinearShapes& shapes) {
  const std::string config_path = absl::StrCat(directory, "/", kConfigFile);
  const std::string tensor_path = absl::StrCat(directory, "/", kTensorFile);
  ASSIGN_OR_RETURN(const std::string text, ReadFile(config_path, kMaxConfigBytes));
  const absl::StatusOr<Json> json = ParseJson(text);
  if (!json.ok()) return Annotate(json.status(), config_path);
  absl::StatusOr<PeftConfig> config = ParsePeftConfig(*json);
  if (!config.ok()) return Annotate(config.status(), config_path);

  ASSIGN_OR_RETURN(const auto file, SafetensorsFile::Open(tensor_path));
  RETURN_IF_ERROR(Annotate(CheckTensorNames(*file, shapes), tensor_path));
  ASSIGN_OR_RETURN(std::vector<LoraPair> pairs, ReadPairs(*file, config->spec.rank, shapes));
  for (const LoraPair& pair : pairs) config->spec.targets.push_back(pair.linear);
  std::sort(config->spec.targets.begin(), config->spec.targets.end());
  config->spec.targets.erase(std::unique(config->spec.targets.begin(), config->spec.targets.end()),
                             config->spec.targets.end());
  config->spec.names = shapes.names;
  LoraWeights weights(config->spec, std::move(pairs));
  if (config->target_modules.has_value()) {
    RETURN_IF_ERROR(Annotate(CheckTargets(*config->target_modules, weights, shapes.num_layers), config_path));
  }
  return weights;
}

absl::Status WritePeftAdapter(const std::string& directory, const LoraWeights& weights, const std::string& base_model) {
  std::string target = directory;
  while (target.size() > 1 && target.back() == '/') target.pop_back();
  TemporaryDirectory temporary(target);
  RETURN_IF_ERROR(temporary.Create());
  RETURN_IF_ERROR(WriteFiles(temporary.path(), weights, base_model));
  RETURN_IF_ERROR(temporary.RenameTo(target));
  const std::string parent = std::filesystem::path(target).parent_path().string();
  return SyncDirectory(parent.empty() ? "." : parent);
}

}  // namespace tandem
