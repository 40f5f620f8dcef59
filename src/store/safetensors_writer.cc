#include <algorithm>
#include <cstring>
#include <set>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/status.h"
#include "store/safetensors.h"
#include "store/safetensors_names.h"

namespace tandem {
namespace {

constexpr size_t kAlignment = 8;  // of the data section; the reference pads its header to this

std::string_view FileDType(DType dtype) {
  switch (dtype) {
    case DType::kF32:
      return "F32";
    case DType::kBf16:
      return "BF16";
    case DType::kF16:
      return "F16";
    case DType::kI32:
      return "I32";
  }
  CHECK(false) << "dtype " << static_cast<int>(dtype);
}

absl::Status CheckNames(absl::Span<const NamedTensor> tensors) {
  std::set<std::string_view> seen;
  for (const NamedTensor& tensor : tensors) {
    RETURN_IF_ERROR(CheckTensorName(tensor.name));
    if (tensor.name == kMetadataKey || !seen.insert(tensor.name).second) {
      return absl::InvalidArgumentError(absl::StrCat(
          QuoteTensorName(tensor.name), tensor.name == kMetadataKey ? ": reserved name" : ": given twice"));
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status WriteSafetensors(const std::string& path, absl::Span<const NamedTensor> tensors,
                              const std::map<std::string, std::string>& metadata) {
  RETURN_IF_ERROR(Annotate(CheckNames(tensors), path));
  // Wider dtypes first: then every tensor begins at a multiple of its element size. By name within a dtype's width.
  std::vector<const NamedTensor*> order;
  for (const NamedTensor& tensor : tensors) order.push_back(&tensor);
  std::sort(order.begin(), order.end(), [](const NamedTensor* a, const NamedTensor* b) {
    const size_t width_a = ByteSize(a->view.dtype), width_b = ByteSize(b->view.dtype);
    return width_a != width_b ? width_a > width_b : a->name < b->name;
  });

  Json header = Json::object();
  if (!metadata.empty()) header[kMetadataKey] = metadata;
  size_t offset = 0;
  for (const NamedTensor* tensor : order) {
    Json shape = Json::array();
    for (int i = 0; i < tensor->view.shape.rank(); ++i) shape.push_back(tensor->view.shape[i]);
    const size_t end = offset + tensor->view.size_bytes();
    header[tensor->name] = {{"dtype", std::string(FileDType(tensor->view.dtype))},
                            {"shape", std::move(shape)},
                            {"data_offsets", {offset, end}}};
    offset = end;
  }
  // What is not UTF-8 (a path in the metadata, say) becomes U+FFFD: JSON cannot carry it.
  std::string text = header.dump(-1, ' ', false, Json::error_handler_t::replace);
  text.append((kAlignment - text.size() % kAlignment) % kAlignment, ' ');

  const uint64_t length = text.size();
  std::string file(reinterpret_cast<const char*>(&length), sizeof(length));
  file.reserve(sizeof(length) + text.size() + offset);
  file += text;
  for (const NamedTensor* tensor : order) {
    file.append(static_cast<const char*>(tensor->view.data), tensor->view.size_bytes());
  }
  return WriteFileAtomically(path, file);
}

}  // namespace tandem
