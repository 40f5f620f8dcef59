#include "test_backend.h"

namespace tandem {

std::unique_ptr<Backend> MakeTestBackend(int threads) {
  return CreateCpuBackend(threads);
}

}  // namespace tandem
