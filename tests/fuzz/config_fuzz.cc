// tandemd's YAML configuration.
#include "base/yaml_schema.h"
#include "daemon/config.h"
#include "fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace tandem;
  static const std::string path = ScratchDirectory() + "/tandem.yaml";
  const std::string_view text = AsText(data, size);
  WriteScratch(path, text);
  // What comes behind the last line is an override too.
  (void)LoadConfig(path, {std::string(text.substr(text.rfind('\n') + 1))});
  return 0;
}
