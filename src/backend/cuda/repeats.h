// Graphs of bodies that come again and again (a decode of so many rows): a body that gives the device the same work as
// once before is one launch instead of hundreds.
//
//   dry run   the body runs and launches nothing: its tables are written to the key's own mirror, its launches hashed
//   known     the tables are copied and the graph of that hash is launched
//   new       the second time that a hash is seen it is captured, by running the body once more; at first it only runs
//
// What a body does not give the device to do but waits for (Fetch), or wants back from the step (Result), can not be
// repeated: such a key always runs as it is.
#pragma once

#include <cstdint>
#include <list>
#include <memory>
#include <unordered_map>
#include <unordered_set>

#include "backend/cuda/fingerprint.h"
#include "backend/cuda/handles.h"
#include "backend/cuda/lane.h"

namespace tandem::cuda {

enum class Phase {
  kRun,      // work goes to the stream
  kDry,      // work is hashed
  kCapture,  // work goes to the stream, which is being captured
};

class Repeats {
 public:
  // The work of one key.
  struct Body {
    explicit Body(Arena& arena) : tables(arena) {}
    Mirror tables;
    PlanCache plans;
    Fingerprint print;
    bool repeatable = true;
    int64_t launched[2] = {-1, -1};     // the last step in which the device was given each half of the tables
    std::unordered_set<uint64_t> seen;  // hashes without a graph
  };

  explicit Repeats(Arena& arena) : arena_(arena) {}
  Body& BodyOf(uint64_t key);
  // Null where there is none.
  cudaGraphExec_t Find(uint64_t key, uint64_t print);
  void Insert(uint64_t key, uint64_t print, GraphExec graph);

 private:
  struct Graph {
    uint64_t key, print;
    GraphExec exec;
  };
  Arena& arena_;
  std::unordered_map<uint64_t, std::unique_ptr<Body>> bodies_;
  std::list<Graph> graphs_;  // the least recently used first
};

}  // namespace tandem::cuda
