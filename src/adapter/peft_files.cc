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

// One parameter of a bypass as files have it.
struct FileTensor {
  const char* suffix;
  Tensor BypassWeights::*tensor;
  Shape shape;  // in the file; in memory it may be flat
};

// Those of one linear's bypass. IA3's vector stands as the column or the row that it multiplies W with.
std::vector<FileTensor> TensorsOf(const PeftSpec& spec, LinearKind kind, const LinearDims& dims) {
  const PeftSpec::Shapes shapes = spec.ShapesOf(kind, dims);
  switch (spec.method) {
    case PeftMethod::kLora:
      return {{"lora_A.weight", &BypassWeights::a, shapes.a}, {"lora_B.weight", &BypassWeights::b, shapes.b}};
    case PeftMethod::kDora:
      return {{"lora_A.weight", &BypassWeights::a, shapes.a},
              {"lora_B.weight", &BypassWeights::b, shapes.b},
              {"lora_magnitude_vector", &BypassWeights::factor, shapes.factor}};
    case PeftMethod::kIa3: {
      const int64_t size = shapes.factor[0];
      return {{"ia3_l", &BypassWeights::factor, spec.scales_input(kind) ? Shape{1, size} : Shape{size, 1}}};
    }
    case PeftMethod::kBottleneck:
      return {{"bottleneck_down.weight", &BypassWeights::a, shapes.a},
              {"bottleneck_up.weight", &BypassWeights::b, shapes.b}};
  }
  return {};
}

// "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"
std::string TensorName(const LinearNames& names, int layer, LinearKind kind, std::string_view suffix) {
  return absl::StrCat("base_model.model.", names.ModuleName(layer, kind), ".", std::string(suffix));
}

// --- reading
// -----------------------------------------------------------------------------------------------------------

absl::Status CheckTensorNames(const SafetensorsFile& file, const PeftSpec& spec, const LinearShapes& shapes) {
  std::vector<std::string> known;
  for (int layer = 0; layer < shapes.num_layers; ++layer) {
    for (const LinearKind kind : shapes.names.Kinds()) {
      for (const FileTensor& tensor : TensorsOf(spec, kind, shapes[kind])) {
        known.push_back(TensorName(shapes.names, layer, kind, tensor.suffix));
      }
    }
  }
  std::sort(known.begin(), known.end());
  for (const std::string& name : file.names()) {
    if (std::binary_search(known.begin(), known.end(), name)) continue;
    return Bad(absl::StrCat("tensor '", name, "' is none of a ", std::string(Name(spec.method)),
                            " adapter on this model's ", shapes.num_layers, " layers", SuggestNames(name, known)));
  }
  return absl::OkStatus();
}

// A tensor of the file as finite f32; flat where it is a row or a column.
absl::StatusOr<Tensor> ReadTensor(const SafetensorsFile& file, const std::string& name, Shape want, bool flat) {
  ASSIGN_OR_RETURN(const TensorView view, file.Find(name));
  if (view.shape != want) {
    return Bad(
        absl::StrCat(file.path(), ": tensor '", name, "': shape ", view.shape.ToString(), ", want ", want.ToString()));
  }
  if (view.dtype == DType::kI32)
    return Bad(absl::StrCat(file.path(), ": tensor '", name, "': I32, want F32, BF16 or F16"));
  Tensor tensor = Tensor::Empty(DType::kF32, flat ? Shape{want.num_elements()} : want);
  ConvertToF32(view, tensor.f32());
  const float *begin = tensor.f32(), *end = begin + tensor.num_elements();
  const float* odd = std::find_if(begin, end, [](float value) { return !std::isfinite(value); });
  if (odd != end) {
    return Bad(absl::StrCat(file.path(), ": tensor '", name, "': element ", odd - begin, " is ", *odd,
                            ", want a finite number"));
  }
  return tensor;
}

absl::StatusOr<std::vector<BypassWeights>> ReadBypasses(const SafetensorsFile& file, const PeftSpec& spec,
                                                        const LinearShapes& shapes) {
  std::vector<BypassWeights> bypasses;
  for (int layer = 0; layer < shapes.num_layers; ++layer) {
    for (const LinearKind kind : shapes.names.Kinds()) {
      const std::vector<FileTensor> tensors = TensorsOf(spec, kind, shapes[kind]);
      const auto name_of = [&](const FileTensor& t) { return TensorName(shapes.names, layer, kind, t.suffix); };
      const auto is_there = [&](const FileTensor& tensor) { return file.Contains(name_of(tensor)); };
      if (std::none_of(tensors.begin(), tensors.end(), is_there)) continue;
      BypassWeights bypass{.linear = kind, .layer = layer};
      for (const FileTensor& tensor : tensors) {
        const bool flat = tensor.tensor == &BypassWeights::factor;
        ASSIGN_OR_RETURN(bypass.*tensor.tensor, ReadTensor(file, name_of(tensor), tensor.shape, flat));
      }
      bypasses.push_back(std::move(bypass));
    }
  }
  if (bypasses.empty()) {
    return Bad(absl::StrCat(file.path(), ": no tensors, want those of a ", std::string(Name(spec.method)), " adapter"));
  }
  return bypasses;
}

// The targets whose IA3 vector is a row: those that scale their input. peft compares the ends of names, dot or not.
absl::StatusOr<std::vector<LinearKind>> FindFeedforward(const SafetensorsFile& file, const PeftConfig& config,
                                                        const LinearShapes& shapes) {
  std::vector<LinearKind> kinds;
  for (int layer = 0; layer < shapes.num_layers; ++layer) {
    for (const LinearKind kind : shapes.names.Kinds()) {
      const absl::StatusOr<TensorView> view = file.Find(TensorName(shapes.names, layer, kind, "ia3_l"));
      if (!view.ok()) continue;
      const bool row = view->shape.rank() == 2 && view->shape[0] == 1;
      if (row && std::find(kinds.begin(), kinds.end(), kind) == kinds.end()) kinds.push_back(kind);
      if (!config.feedforward_modules.has_value()) continue;
      const std::vector<std::string>& ends = *config.feedforward_modules;
      const std::string module = shapes.names.ModuleName(layer, kind);
      const bool named = std::any_of(ends.begin(), ends.end(), [&](const auto& end) { return module.ends_with(end); });
      if (named == row) continue;
      return Bad(absl::StrCat("feedforward_modules ", named ? "name " : "do not name ", module,
                              ", whose ia3_l has shape ", view->shape.ToString()));
    }
  }
  std::sort(kinds.begin(), kinds.end());
  return kinds;
}

// As peft matches: a whole name, or its end behind a dot.
bool Matches(std::string_view module, std::string_view target) {
  return module.ends_with(target) &&
         (module.size() == target.size() || module[module.size() - target.size() - 1] == '.');
}

// The config's target_modules must be exactly what the file has bypasses for.
absl::Status CheckTargets(const std::vector<std::string>& targets, const AdapterWeights& weights, int num_layers) {
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
      return Bad(targeted ? absl::StrCat(kTensorFile, " has no tensors for ", module, ", a target module")
                          : absl::StrCat(kTensorFile, " has tensors for ", module, ", which is no target module"));
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

// Of the linear that it is around, as far as its own tensors say.
LinearDims DimsOf(const PeftSpec& spec, const BypassWeights& bypass) {
  if (!spec.has_pair()) return {bypass.factor.num_elements(), bypass.factor.num_elements()};
  return {bypass.a.shape()[1], bypass.b.shape()[0]};
}

// The modules of `kinds`: short names where every layer has the same bypasses; else every module by its whole name.
std::vector<std::string> ModuleNames(const AdapterWeights& weights, const std::vector<LinearKind>& kinds) {
  const PeftSpec& spec = weights.spec();
  const int num_layers = weights.bypasses().back().layer + 1;
  std::vector<std::string> names;
  if (weights.bypasses().size() == num_layers * spec.targets.size()) {
    for (const LinearKind kind : kinds) names.emplace_back(spec.names.Name(kind));
    return names;
  }
  for (const BypassWeights& bypass : weights.bypasses()) {
    const bool wanted = std::find(kinds.begin(), kinds.end(), bypass.linear) != kinds.end();
    if (wanted) names.push_back(spec.names.ModuleName(bypass.layer, bypass.linear));
  }
  return names;
}

absl::Status WriteFiles(const std::string& directory, const AdapterWeights& weights, const std::string& base_model) {
  const PeftSpec& spec = weights.spec();
  std::vector<NamedTensor> tensors;
  for (const BypassWeights& bypass : weights.bypasses()) {
    for (const FileTensor& tensor : TensorsOf(spec, bypass.linear, DimsOf(spec, bypass))) {
      TensorView view = (bypass.*tensor.tensor).view();
      view.shape = tensor.shape;
      tensors.push_back({TensorName(spec.names, bypass.layer, bypass.linear, tensor.suffix), view});
    }
  }
  RETURN_IF_ERROR(WriteSafetensors(absl::StrCat(directory, "/", kTensorFile), tensors, {{"format", "pt"}}));
  const Json config =
      MakePeftConfig(spec, ModuleNames(weights, spec.targets), ModuleNames(weights, spec.feedforward), base_model);
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

absl::StatusOr<AdapterWeights> ReadPeftAdapter(const std::string& directory, const LinearShapes& shapes) {
  const std::string config_path = absl::StrCat(directory, "/", kConfigFile);
  const std::string tensor_path = absl::StrCat(directory, "/", kTensorFile);
  ASSIGN_OR_RETURN(const std::string text, ReadFile(config_path, kMaxConfigBytes));
  const absl::StatusOr<Json> json = ParseJson(text);
  if (!json.ok()) return Annotate(json.status(), config_path);
  absl::StatusOr<PeftConfig> config = ParsePeftConfig(*json);
  if (!config.ok()) return Annotate(config.status(), config_path);

  ASSIGN_OR_RETURN(const auto file, SafetensorsFile::Open(tensor_path));
  PeftSpec& spec = config->spec;
  RETURN_IF_ERROR(Annotate(CheckTensorNames(*file, spec, shapes), tensor_path));
  if (spec.method == PeftMethod::kIa3) {
    absl::StatusOr<std::vector<LinearKind>> feedforward = FindFeedforward(*file, *config, shapes);
    if (!feedforward.ok()) return Annotate(feedforward.status(), config_path);
    spec.feedforward = *std::move(feedforward);
  }
  ASSIGN_OR_RETURN(std::vector<BypassWeights> bypasses, ReadBypasses(*file, spec, shapes));
  for (const BypassWeights& bypass : bypasses) spec.targets.push_back(bypass.linear);
  std::sort(spec.targets.begin(), spec.targets.end());
  spec.targets.erase(std::unique(spec.targets.begin(), spec.targets.end()), spec.targets.end());
  config->spec.names = shapes.names;
  AdapterWeights weights(config->spec, std::move(bypasses));
  if (config->target_modules.has_value()) {
    RETURN_IF_ERROR(Annotate(CheckTargets(*config->target_modules, weights, shapes.num_layers), config_path));
  }
  return weights;
}

absl::Status WritePeftAdapter(const std::string& directory, const AdapterWeights& weights,
                              const std::string& base_model) {
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
