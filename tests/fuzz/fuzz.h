// A fuzz target is one source that defines LLVMFuzzerTestOneInput: whatever the bytes, the code under test answers with
// a value or a status, soon and within its memory. With clang, libFuzzer drives it (preset `fuzz`, tools/fuzz); with
// any compiler, replay.cc runs the corpus and some mutations of it under ctest.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <string>
#include <string_view>

#include "base/check.h"
#include "base/file.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace tandem {

inline std::string_view AsText(const uint8_t* data, size_t size) {
  return {reinterpret_cast<const char*>(data), size};
}

// A directory of this process for code that reads files; stays, in the system's place for such things.
inline std::string ScratchDirectory() {
  std::string path = "/tmp/tandem-fuzz-XXXXXX";
  CHECK(::mkdtemp(path.data()) != nullptr);
  return path;
}

// Without base/file.h's care for the disk, which would take most of the time.
inline void WriteScratch(const std::string& path, std::string_view bytes) {
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  file.close();
  CHECK(file.good()) << path;
}

}  // namespace tandem
