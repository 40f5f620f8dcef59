#include "store/safetensors.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <optional>
#include <set>
#include <tuple>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/names.h"
#include "base/status.h"
#include "store/safetensors_names.h"

namespace tandem {
namespace {

static_assert(std::endian::native == std::endian::little, "safetensors are little-endian and are not swapped here");

constexpr size_t kLengthBytes = 8;
constexpr size_t kMaxHeaderBytes = 100'000'000;  // as the reference implementation

struct DTypeInfo {
  std::string_view name;
  size_t bytes;
  std::optional<DType> dtype;  // where Tandem reads it
};

// The format's whole-byte dtypes. Others (F4, ...) may be in a file; their sizes are not checked and Find refuses them.
constexpr DTypeInfo kDTypes[] = {
    {"F32", 4, DType::kF32}, {"BF16", 2, DType::kBf16},
    {"F16", 2, DType::kF16}, {"I32", 4, DType::kI32},
    {"F64", 8, {}},          {"I64", 8, {}},
    {"U64", 8, {}},          {"C64", 8, {}},
    {"U32", 4, {}},          {"I16", 2, {}},
    {"U16", 2, {}},          {"I8", 1, {}},
    {"U8", 1, {}},           {"BOOL", 1, {}},
    {"F8_E4M3", 1, {}},      {"F8_E5M2", 1, {}},
    {"F8_E8M0", 1, {}},
};

const DTypeInfo* FindDType(std::string_view name) {
  const auto* found =
      std::find_if(std::begin(kDTypes), std::end(kDTypes), [&](const auto& d) { return d.name == name; });
  return found == std::end(kDTypes) ? nullptr : found;
}

absl::Status Bad(std::string message) {
  return absl::InvalidArgumentError(std::move(message));
}

std::string ShapeText(const std::vector<int64_t>& shape) {
  return absl::StrCat("[", absl::StrJoin(shape, ", "), "]");
}

// The parser keeps the last of equal keys; the format forbids them. Returns the first repeated one.
std::optional<std::string> RepeatedKey(std::string_view json) {
  std::vector<std::set<std::string>> open_objects;
  std::optional<std::string> repeated;
  const auto visit = [&](int, Json::parse_event_t event, Json& parsed) {
    if (event == Json::parse_event_t::object_start) {
      open_objects.emplace_back();
    } else if (event == Json::parse_event_t::object_end) {
      open_objects.pop_back();
    } else if (event == Json::parse_event_t::key && !repeated.has_value()) {
      std::string key = parsed.get<std::string>();
      if (!open_objects.back().insert(key).second) repeated = std::move(key);
    }
    return true;
  };
  std::ignore = Json::parse(json, visit, /*allow_exceptions=*/false);
  return repeated;
}

Shape MakeShape(const std::vector<int64_t>& dims) {
  switch (dims.size()) {
    case 0:
      return {};
    case 1:
      return {dims[0]};
    case 2:
      return {dims[0], dims[1]};
    case 3:
      return {dims[0], dims[1], dims[2]};
    default:
      return {dims[0], dims[1], dims[2], dims[3]};
  }
}

// A JSON array of integers in [0, 2^63).
absl::StatusOr<std::vector<int64_t>> ReadSizes(const Json& object, const char* key) {
  const auto found = object.find(key);
  if (found == object.end()) return Bad(absl::StrCat(key, " is missing"));
  if (!found->is_array()) return Bad(absl::StrCat(key, " is ", DescribeJson(*found), ", want an array"));
  std::vector<int64_t> sizes;
  for (const Json& item : *found) {
    if (!item.is_number_unsigned() || item.get<uint64_t>() > static_cast<uint64_t>(INT64_MAX)) {
      return Bad(absl::StrCat(key, " holds ", DescribeJson(item), ", want integers from 0 to 2^63 - 1"));
    }
    sizes.push_back(static_cast<int64_t>(item.get<uint64_t>()));
  }
  return sizes;
}

}  // namespace

std::string QuoteTensorName(std::string_view name) {
  constexpr size_t kShown = 120;
  const std::string shown(name.substr(0, kShown));
  return absl::StrCat("tensor '", absl::CHexEscape(shown), name.size() > kShown ? "..." : "", "'");
}

absl::Status CheckTensorName(std::string_view name) {
  if (name.size() > kMaxTensorNameBytes) {
    return Bad(
        absl::StrCat(QuoteTensorName(name), ": name of ", name.size(), " bytes, want at most ", kMaxTensorNameBytes));
  }
  const auto is_control = [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; };
  if (std::none_of(name.begin(), name.end(), is_control)) return absl::OkStatus();
  return Bad(absl::StrCat(QuoteTensorName(name), ": control character in the name"));
}

absl::StatusOr<std::unique_ptr<SafetensorsFile>> SafetensorsFile::Open(const std::string& path) {
  ASSIGN_OR_RETURN(MappedFile mapped, MappedFile::Open(path));
  std::unique_ptr<SafetensorsFile> file(new SafetensorsFile(std::move(mapped)));
  RETURN_IF_ERROR(Annotate(file->ReadHeader(), path));
  return file;
}

absl::Status SafetensorsFile::ReadHeader() {
  const std::string_view bytes = file_.bytes();
  if (bytes.starts_with("version https://git-lfs")) return Bad("is a Git LFS pointer, want the file that it points to");
  if (bytes.size() < kLengthBytes) {
    return Bad(absl::StrCat("has ", bytes.size(), " bytes, want at least ", kLengthBytes, " for the header's length"));
  }
  uint64_t length;
  std::memcpy(&length, bytes.data(), sizeof(length));
  if (const size_t most = std::min(bytes.size() - kLengthBytes, kMaxHeaderBytes); length > most) {
    return Bad(absl::StrCat("header of ", length, " bytes, want at most ", most, " (the file has ", bytes.size(), ")"));
  }
  const std::string_view text = bytes.substr(kLengthBytes, length);
  data_ = bytes.substr(kLengthBytes + length);

  absl::StatusOr<Json> header = ParseJson(text);
  if (!header.ok()) return Annotate(header.status(), "header");
  if (!header->is_object()) return Bad(absl::StrCat("header is ", DescribeJson(*header), ", want an object"));
  if (const auto repeated = RepeatedKey(text)) {
    return Bad(absl::StrCat("header has the key '", absl::CHexEscape(*repeated), "' twice in one object"));
  }
  for (const auto& [name, value] : header->items()) {
    if (name == kMetadataKey) {
      RETURN_IF_ERROR(ReadMetadata(value));
    } else {
      RETURN_IF_ERROR(CheckTensorName(name));
      RETURN_IF_ERROR(Annotate(ReadEntry(name, value), QuoteTensorName(name)));
    }
  }
  return CheckCoverage();
}

absl::Status SafetensorsFile::ReadMetadata(const Json& value) {
  if (!value.is_object()) return Bad(absl::StrCat("__metadata__ is ", DescribeJson(value), ", want an object"));
  for (const auto& [key, item] : value.items()) {
    if (!item.is_string()) {
      return Bad(absl::StrCat("__metadata__ '", absl::CHexEscape(key), "' is ", DescribeJson(item), ", want a string"));
    }
    metadata_[key] = item.get<std::string>();
  }
  return absl::OkStatus();
}

absl::Status SafetensorsFile::ReadEntry(const std::string& name, const Json& value) {
  if (!value.is_object()) return Bad(absl::StrCat("is ", DescribeJson(value), ", want an object"));
  Entry entry;
  ASSIGN_OR_RETURN(entry.dtype, JsonGet<std::string>(value, "dtype"));
  ASSIGN_OR_RETURN(entry.shape, ReadSizes(value, "shape"));
  ASSIGN_OR_RETURN(const std::vector<int64_t> offsets, ReadSizes(value, "data_offsets"));
  if (offsets.size() != 2) return Bad(absl::StrCat("data_offsets has ", offsets.size(), " items, want 2"));
  entry.begin = static_cast<size_t>(offsets[0]);
  entry.end = static_cast<size_t>(offsets[1]);
  if (entry.begin > entry.end || entry.end > data_.size()) {
    return Bad(
        absl::StrCat("data_offsets [", entry.begin, ", ", entry.end, "], want ascending and at most ", data_.size()));
  }
  if (const DTypeInfo* dtype = FindDType(entry.dtype); dtype != nullptr) {
    uint64_t want = dtype->bytes;
    for (const int64_t dim : entry.shape) {
      if (__builtin_mul_overflow(want, static_cast<uint64_t>(dim), &want)) {
        return Bad(absl::StrCat("shape ", ShapeText(entry.shape), " overflows 64 bits"));
      }
    }
    if (entry.end - entry.begin != want) {
      return Bad(absl::StrCat("has ", entry.end - entry.begin, " bytes, want ", want, " for ", entry.dtype,
                              ShapeText(entry.shape)));
    }
  }
  names_.push_back(name);
  entries_.emplace(name, std::move(entry));
  return absl::OkStatus();
}

// Sorted by offset the tensors must join without overlap or hole from the first byte to the last.
absl::Status SafetensorsFile::CheckCoverage() const {
  std::vector<std::pair<const std::string*, const Entry*>> order;
  for (const auto& [name, entry] : entries_) order.emplace_back(&name, &entry);
  std::sort(order.begin(), order.end(), [](const auto& a, const auto& b) {
    return std::pair(a.second->begin, a.second->end) < std::pair(b.second->begin, b.second->end);
  });
  size_t covered = 0;
  for (const auto& [name, entry] : order) {
    if (entry->begin != covered) {
      return Bad(absl::StrCat(QuoteTensorName(*name), ": begins at ", entry->begin, ", want ", covered,
                              entry->begin < covered ? " (overlaps the tensor before)" : " (a hole before it)"));
    }
    covered = entry->end;
  }
  if (covered == data_.size()) return absl::OkStatus();
  return Bad(absl::StrCat(data_.size() - covered, " bytes after the last tensor, want none"));
}

void SafetensorsFile::DoneWith(std::string_view name) const {
  const auto found = entries_.find(name);
  if (found != entries_.end())
    file_.DropPages(found->second.begin + (data_.data() - file_.bytes().data()),
                    found->second.end - found->second.begin);
}

absl::StatusOr<TensorView> SafetensorsFile::Find(std::string_view name) const {
  const auto found = entries_.find(name);
  if (found == entries_.end()) {
    return absl::NotFoundError(absl::StrCat(path(), ": no ", QuoteTensorName(name), SuggestNames(name, names_)));
  }
  const Entry& entry = found->second;
  const DTypeInfo* dtype = FindDType(entry.dtype);
  if (dtype == nullptr || !dtype->dtype.has_value()) {
    return Bad(absl::StrCat(path(), ": ", QuoteTensorName(name), ": dtype ", absl::CHexEscape(entry.dtype),
                            ", want F32, BF16, F16 or I32"));
  }
  if (entry.shape.size() > Shape::kMaxRank) {
    return Bad(absl::StrCat(path(), ": ", QuoteTensorName(name), ": ", entry.shape.size(), " dimensions, want at most ",
                            Shape::kMaxRank));
  }
  // Views are not const (tandem/tensor.h); the mapping is, and a write through this pointer would fault.
  TensorView view{const_cast<char*>(data_.data()) + entry.begin, *dtype->dtype, MakeShape(entry.shape)};
  if (reinterpret_cast<uintptr_t>(view.data) % ByteSize(view.dtype) == 0) return view;

  absl::MutexLock lock(&mutex_);
  const auto [copy, inserted] = aligned_copies_.try_emplace(std::string(name));
  if (inserted) copy->second = Tensor::CopyOf(view);
  return copy->second.view();
}

}  // namespace tandem
