#include "engine/ahead_backend.h"
#include "test_backend.h"

namespace tandem {

std::unique_ptr<Backend> MakeTestBackend(int threads) {
  return std::make_unique<AheadBackend>(threads);
}

}  // namespace tandem
