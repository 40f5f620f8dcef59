#include <sys/stat.h>

#include <map>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "base/names.h"
#include "base/status.h"
#include "store/safetensors.h"
#include "store/safetensors_names.h"

namespace tandem {
namespace {

constexpr char kSingleFile[] = "model.safetensors";
constexpr char kIndexFile[] = "model.safetensors.index.json";
constexpr size_t kMaxIndexBytes = 100'000'000;

bool Exists(const std::string& path) {
  struct stat info;
  return ::stat(path.c_str(), &info) == 0;
}

// A shard lies in the model's own directory: an index is input and must not lead elsewhere.
absl::Status CheckShardName(std::string_view name) {
  if (name.find('/') == name.npos && name.find('\0') == name.npos && name.ends_with(".safetensors")) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(absl::StrCat("shard '", absl::CHexEscape(std::string(name)),
                                                 "', want a plain file name that ends in .safetensors"));
}

}  // namespace

absl::StatusOr<std::unique_ptr<Checkpoint>> Checkpoint::Open(const std::string& directory) {
  std::unique_ptr<Checkpoint> checkpoint(new Checkpoint);
  const std::string single_path = absl::StrCat(directory, "/", kSingleFile);
  const std::string index_path = absl::StrCat(directory, "/", kIndexFile);
  if (Exists(single_path)) {
    ASSIGN_OR_RETURN(auto file, SafetensorsFile::Open(single_path));
    for (const std::string& name : file->names()) checkpoint->shard_of_.emplace(name, file.get());
    checkpoint->shards_.push_back(std::move(file));
  } else if (Exists(index_path)) {
    RETURN_IF_ERROR(checkpoint->OpenIndex(directory, index_path));
  } else {
    return absl::NotFoundError(absl::StrCat(directory, ": neither ", kSingleFile, " nor ", kIndexFile));
  }
  for (const auto& [name, shard] : checkpoint->shard_of_) checkpoint->names_.push_back(name);
  return checkpoint;
}

absl::Status Checkpoint::OpenIndex(const std::string& directory, const std::string& index_path) {
  ASSIGN_OR_RETURN(const std::string text, ReadFile(index_path, kMaxIndexBytes));
  const absl::StatusOr<Json> index = ParseJson(text);
  if (!index.ok()) return Annotate(index.status(), index_path);
  const auto bad = [&](std::string message) {
    return absl::InvalidArgumentError(absl::StrCat(index_path, ": ", message));
  };
  if (!index->is_object()) return bad(absl::StrCat(DescribeJson(*index), ", want an object"));
  const auto weight_map = index->find("weight_map");
  if (weight_map == index->end()) return bad("weight_map is missing, want an object");
  if (!weight_map->is_object())
    return bad(absl::StrCat("weight_map is ", DescribeJson(*weight_map), ", want an object"));

  std::map<std::string, const SafetensorsFile*> opened;
  for (const auto& [name, value] : weight_map->items()) {
    RETURN_IF_ERROR(Annotate(CheckTensorName(name), index_path));
    if (!value.is_string()) {
      return bad(absl::StrCat(QuoteTensorName(name), " is in ", DescribeJson(value), ", want a file name"));
    }
    const std::string& shard_name = value.get_ref<const std::string&>();
    RETURN_IF_ERROR(Annotate(CheckShardName(shard_name), index_path));
    const SafetensorsFile*& shard = opened[shard_name];
    if (shard == nullptr) {
      ASSIGN_OR_RETURN(auto file, SafetensorsFile::Open(absl::StrCat(directory, "/", shard_name)));
      shard = file.get();
      shards_.push_back(std::move(file));
    }
    if (!shard->Contains(name)) {
      return bad(absl::StrCat(QuoteTensorName(name), " is not in ", shard_name, SuggestNames(name, shard->names())));
    }
    shard_of_.emplace(name, shard);
  }
  return absl::OkStatus();
}

absl::StatusOr<TensorView> Checkpoint::Find(std::string_view name) const {
  const auto found = shard_of_.find(name);
  if (found != shard_of_.end()) return found->second->Find(name);
  return absl::NotFoundError(absl::StrCat("no ", QuoteTensorName(name), SuggestNames(name, names_)));
}

void Checkpoint::DoneWith(std::string_view name) const {
  const auto found = shard_of_.find(name);
  if (found != shard_of_.end()) found->second->DoneWith(name);
}

}  // namespace tandem
