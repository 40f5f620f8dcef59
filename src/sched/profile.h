// The profile: which iterations are timed to learn a machine, apart from what runs them.
#pragma once

#include <random>
#include <vector>

#include "absl/time/time.h"
#include "sched/cost_model.h"
#include "tandem/batch.h"

namespace tandem {

// One iteration to time, of sequences that need not exist.
struct Probe {
  struct Rows {
    SpanKind kind = SpanKind::kDecode;
    int num_rows = 1, first_position = 0;
  };
  std::vector<Rows> spans;         // at most one of kTrainForward
  int samples = 0;                 // of the last rows of the first spans
  std::vector<TokenWindow> units;  // each of another layer
  bool beside = false;             // the spans are timed beside backward on its lane; units is empty
};

struct ProbeLimits {
  int max_rows = 512;           // of a batch
  int max_context = 1024;       // tokens of the longest sequence that a probe may have
  int max_trained = 256;        // of one that trains: what it saves takes much memory
  int max_backward_rows = 128;  // of a unit
};

StepFeatures FeaturesOf(const Probe& probe);

// The profile in the order in which it teaches most: each kind of work alone, coarsely and then finely; then mixed.
std::vector<Probe> ProfileProbes(const ProbeLimits& limits);

// The same for the forward beside backward: alone is known by then.
std::vector<Probe> BesideProbes(const ProbeLimits& limits);

// An iteration as they come: decodes, a prefill chunk, a training window, backward units, each there or not. What
// held-out predictions are measured on.
Probe DrawProbe(const ProbeLimits& limits, std::mt19937_64& random);

}  // namespace tandem
