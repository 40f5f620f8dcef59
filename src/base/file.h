// Files: whole-file reads, read-only mappings, and writes that are complete or absent (temporary name, sync, rename).
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace tandem {

// The whole file as bytes. NOT_FOUND, PERMISSION_DENIED or INVALID_ARGUMENT (a directory) name the path;
// RESOURCE_EXHAUSTED where it is larger than max_bytes.
absl::StatusOr<std::string> ReadFile(const std::string& path, size_t max_bytes = size_t{1} << 30);

// Writes to a temporary name in the same directory, syncs file and directory, renames: readers see old or new, never
// half.
absl::Status WriteFileAtomically(const std::string& path, std::string_view contents);

// A read-only mapping of a whole file; unmapped on destruction. An empty file maps to an empty view.
class MappedFile {
 public:
  static absl::StatusOr<MappedFile> Open(const std::string& path);
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  ~MappedFile();

  std::string_view bytes() const { return {data_, size_}; }
  // The whole pages within these bytes stop counting as this process's memory until they are read again.
  void DropPages(size_t offset, size_t size) const;
  const std::string& path() const { return path_; }

 private:
  MappedFile(std::string path, const char* data, size_t size) : path_(std::move(path)), data_(data), size_(size) {}
  std::string path_;
  const char* data_ = nullptr;
  size_t size_ = 0;
};

}  // namespace tandem
