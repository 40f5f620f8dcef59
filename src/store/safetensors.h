// Reads .safetensors files by mapping them, a model directory's shards as one checkpoint, and writes single files.
//
//   [0, 8)      N: length of the header, little-endian u64
//   [8, 8 + N)  JSON: {"name": {"dtype": "BF16", "shape": [2, 3], "data_offsets": [begin, end]}, "__metadata__": {...}}
//   [8 + N, ..) the tensors' bytes; offsets count from here, and every byte belongs to exactly one tensor
//
// Headers are hostile input: all of the above is checked on opening, and nothing of a tensor is touched before.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/types/span.h"
#include "base/file.h"
#include "base/json.h"
#include "tandem/tensor.h"
#include "tensor/tensor.h"

namespace tandem {

// One file. Thread-safe. The file must not shrink while it is open: a read past its new end is a SIGBUS.
class SafetensorsFile {
 public:
  // NOT_FOUND and the like from the file system; INVALID_ARGUMENT names path, tensor, what was got and what was wanted.
  static absl::StatusOr<std::unique_ptr<SafetensorsFile>> Open(const std::string& path);

  // Memory of the mapping, to be read only, valid while this object lives. Aligned to its dtype: a tensor that the file
  // does not align is copied once, on first use. NOT_FOUND suggests the nearest names; INVALID_ARGUMENT names the dtype
  // (want F32, BF16, F16 or I32) or the rank (want at most 4) that Tandem does not read.
  absl::StatusOr<TensorView> Find(std::string_view name) const;

  // The tensor's bytes have been read and are not soon wanted again: they no longer count as this process's memory.
  // They can still be read. Nothing where there is no such tensor.
  void DoneWith(std::string_view name) const;

  bool Contains(std::string_view name) const { return entries_.find(name) != entries_.end(); }

  const std::vector<std::string>& names() const { return names_; }  // sorted
  const std::map<std::string, std::string>& metadata() const { return metadata_; }
  const std::string& path() const { return file_.path(); }

 private:
  struct Entry {
    std::string dtype;
    std::vector<int64_t> shape;
    size_t begin = 0, end = 0;  // in data_
  };

  explicit SafetensorsFile(MappedFile file) : file_(std::move(file)) {}
  absl::Status ReadHeader();
  absl::Status ReadMetadata(const Json& value);
  absl::Status ReadEntry(const std::string& name, const Json& value);
  absl::Status CheckCoverage() const;

  MappedFile file_;
  std::string_view data_;  // behind the header
  std::map<std::string, Entry, std::less<>> entries_;
  std::vector<std::string> names_;
  std::map<std::string, std::string> metadata_;

  mutable absl::Mutex mutex_;
  mutable std::map<std::string, Tensor, std::less<>> aligned_copies_ ABSL_GUARDED_BY(mutex_);
};

// The tensors of a model directory: model.safetensors, or else the shards that model.safetensors.index.json lists.
// Immutable and thread-safe.
class Checkpoint {
 public:
  // As SafetensorsFile::Open; NOT_FOUND where the directory has neither file. A tensor that the index promises and its
  // shard lacks is INVALID_ARGUMENT; tensors of a shard that the index does not list are not seen.
  static absl::StatusOr<std::unique_ptr<Checkpoint>> Open(const std::string& directory);

  // As those of SafetensorsFile; views are valid while this object lives.
  absl::StatusOr<TensorView> Find(std::string_view name) const;
  void DoneWith(std::string_view name) const;
  bool Contains(std::string_view name) const { return shard_of_.find(name) != shard_of_.end(); }

  const std::vector<std::string>& names() const { return names_; }  // sorted

 private:
  Checkpoint() = default;
  absl::Status OpenIndex(const std::string& directory, const std::string& index_path);

  std::vector<std::unique_ptr<SafetensorsFile>> shards_;
  std::map<std::string, const SafetensorsFile*, std::less<>> shard_of_;
  std::vector<std::string> names_;
};

struct NamedTensor {
  std::string name;  // UTF-8 without control characters
  TensorView view;   // only read
};

// Writes a file that is complete or absent (base/file.h), with aligned tensors, for any safetensors reader. The file is
// put together in memory first. INVALID_ARGUMENT for a name that is given twice, reserved or not readable back.
absl::Status WriteSafetensors(const std::string& path, absl::Span<const NamedTensor> tensors,
                              const std::map<std::string, std::string>& metadata);

}  // namespace tandem
