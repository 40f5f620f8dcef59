// A weights file: headers are hostile, and what passes has to be readable to its last byte.
#include "fuzz/fuzz.h"
#include "store/safetensors.h"

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace tandem;
  static const std::string path = ScratchDirectory() + "/model.safetensors";
  WriteScratch(path, AsText(data, size));
  const auto file = SafetensorsFile::Open(path);
  if (!file.ok()) return 0;
  unsigned sum = 0;
  for (const std::string& name : (*file)->names()) {
    const absl::StatusOr<TensorView> view = (*file)->Find(name);
    if (!view.ok()) continue;
    const auto* bytes = static_cast<const unsigned char*>(view->data);
    for (size_t i = 0; i < view->size_bytes(); ++i) sum += bytes[i];
    (*file)->DoneWith(name);
    if (view->size_bytes() > 0) sum += bytes[0];
  }
  static volatile unsigned sink;
  sink = sum;
  (void)sink;
  return 0;
}
