// What the running executable's symbol table knows: names of kernels and their static shared variables.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <vector>

namespace cuda_emulation {

// Demangled; "?" for a stripped executable.
std::string NameOf(const void* function);
// The __shared__ variables declared in `function`, in this thread's copy; empty for a stripped executable.
std::vector<std::span<std::byte>> SharedVariablesOf(const void* function);

}  // namespace cuda_emulation
