// A peer's benchmark program, run beside ours in the same rounds. Two programs are understood, by their names:
//   *llama-bench           prefill128, prefill512, decode1   (prints JSON with -o json)
//   *llama-batched-bench   decode4, decode8, decode16        (prints a table; decode of B sequences, tokens 33 to 64)
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace tandem::enginebench {

struct Peer {
  std::string program;
  std::string model;                   // its own file of the same shape
  std::vector<std::string> arguments;  // beyond those for the workload and the threads
};

// Tokens per second of one run of `workload`; nothing where the program has no such workload. INTERNAL where it fails
// or prints something else than expected: with its command.
absl::StatusOr<std::optional<double>> RunPeer(const Peer& peer, const std::string& workload, int threads);

}  // namespace tandem::enginebench
