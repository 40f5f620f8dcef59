#include "ops/op_test.h"

namespace tandem::optest {

std::vector<BackendKind> TestBackends() {
  return {{"CpuOneThread", [] { return CreateCpuBackend(1); }},
          {"CpuTwoThreads", [] { return CreateCpuBackend(2); }},
          {"CpuWidened", [] { return CreateCpuBackend(2, Bf16Products::kWidened); }}};
}

}  // namespace tandem::optest
