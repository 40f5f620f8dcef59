#include "symbols.h"

#include <cxxabi.h>
#include <elf.h>
#include <link.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <map>
#include <optional>

namespace cuda_emulation {

// Where its symbol says it lies in the image of thread-local variables, against where it really lies, places the rest.
extern "C" {
thread_local char tandem_cuda_emulation_anchor = 1;
}

namespace {

struct Symbols {
  uint64_t base = 0;  // where the executable was loaded
  std::optional<uint64_t> anchor;
  std::map<uint64_t, std::string> functions;  // mangled, by address in the file
  struct Variable {
    uint64_t offset, size;
  };
  std::multimap<std::string, Variable> shared;  // by the mangled name of their function
};

// "_ZZ<function>E<name>" is the variable `name` of the function "_Z<function>"; which E ends the function only the
// function's own name can tell.
void AddShared(const std::string& name, const Symbols::Variable& variable, Symbols& symbols) {
  symbols.shared.emplace("_Z" + name.substr(3), variable);
}

Symbols Read() {
  Symbols symbols;
  dl_iterate_phdr(
      [](dl_phdr_info* info, size_t, void* data) {
        static_cast<Symbols*>(data)->base = info->dlpi_addr;
        return 1;  // the first is the executable
      },
      &symbols);
  std::ifstream file("/proc/self/exe", std::ios::binary);
  const std::string image((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  if (image.size() < sizeof(Elf64_Ehdr)) return symbols;
  const auto* header = reinterpret_cast<const Elf64_Ehdr*>(image.data());
  const auto* sections = reinterpret_cast<const Elf64_Shdr*>(image.data() + header->e_shoff);
  for (int i = 0; i < header->e_shnum; ++i) {
    if (sections[i].sh_type != SHT_SYMTAB) continue;
    const char* names = image.data() + sections[sections[i].sh_link].sh_offset;
    const auto* entries = reinterpret_cast<const Elf64_Sym*>(image.data() + sections[i].sh_offset);
    for (size_t j = 0; j < sections[i].sh_size / sizeof(Elf64_Sym); ++j) {
      const Elf64_Sym& entry = entries[j];
      const std::string name = names + entry.st_name;
      const int type = ELF64_ST_TYPE(entry.st_info);
      if (type == STT_FUNC && entry.st_value != 0) symbols.functions[entry.st_value] = name;
      if (type != STT_TLS) continue;
      if (name == "tandem_cuda_emulation_anchor") symbols.anchor = entry.st_value;
      if (name.starts_with("_ZZ")) AddShared(name, {entry.st_value, entry.st_size}, symbols);
    }
  }
  return symbols;
}

const Symbols& Table() {
  static const Symbols symbols = Read();
  return symbols;
}

std::string MangledNameOf(const void* function) {
  const auto found = Table().functions.find(reinterpret_cast<uint64_t>(function) - Table().base);
  return found == Table().functions.end() ? "" : found->second;
}

}  // namespace

std::string NameOf(const void* function) {
  const std::string mangled = MangledNameOf(function);
  if (mangled.empty()) return "?";
  int status = 0;
  char* demangled = abi::__cxa_demangle(mangled.c_str(), nullptr, nullptr, &status);
  std::string name = status == 0 ? demangled : mangled;
  std::free(demangled);
  return name;
}

std::vector<std::span<std::byte>> SharedVariablesOf(const void* function) {
  std::vector<std::span<std::byte>> variables;
  const std::string mangled = MangledNameOf(function);
  if (mangled.empty() || !Table().anchor.has_value()) return variables;
  const std::string prefix = mangled + "E";
  auto* anchor = reinterpret_cast<std::byte*>(&tandem_cuda_emulation_anchor);
  for (auto it = Table().shared.lower_bound(prefix); it != Table().shared.end() && it->first.starts_with(prefix);
       ++it) {
    const auto distance = static_cast<int64_t>(it->second.offset - *Table().anchor);
    variables.emplace_back(anchor + distance, it->second.size);
  }
  return variables;
}

}  // namespace cuda_emulation
