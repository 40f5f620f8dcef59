#include "block.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <numeric>
#include <random>
#include <span>
#include <vector>

#include "cuda_emulation/scheduler.h"
#include "fiber.h"
#include "settings.h"
#include "symbols.h"

uint3 threadIdx, blockIdx;
dim3 blockDim, gridDim;

namespace cuda_emulation {
namespace {

constexpr int kLanes = 32;
constexpr size_t kMaxShared = 227 * 1024, kSharedGuard = 256;
constexpr std::byte kPoison{0xff};  // a NaN in every float type
constexpr std::byte kGuard{0xa5};

enum class State { kReady, kAtBarrier, kAtWarpOperation, kDone };

struct Copy {
  void* to;
  const void* from;
  size_t bytes;
  bool zero;
};

struct Thread {
  Fiber fiber;
  State state = State::kReady;
  uint3 index = {};
  int warp = 0, lane = 0;
  Where where;  // of what it waits for
  // of a warp operation
  WarpOperation run = nullptr;
  void* operand = nullptr;
  unsigned mask = 0;
  // of cp.async
  std::vector<Copy> open_copies;
  std::vector<std::vector<Copy>> copy_groups;
};

struct Warp {
  unsigned existing = 0, waiting = 0;
};

// The block that runs. One at a time in the process (stream.cc holds a lock).
struct Block {
  const KernelLaunch* launch = nullptr;
  std::vector<std::unique_ptr<Thread>> threads;  // kept from block to block
  std::vector<Warp> warps;
  int num_threads = 0, alive = 0;
  Thread* current = nullptr;
  int at_barrier = 0, true_predicates = 0, barrier_result = 0;
  Where barrier_where;
  alignas(1024) std::array<std::byte, kMaxShared + kSharedGuard> dynamic_shared;
};
Block& Running() {
  static Block block;
  return block;
}

std::string Print(const dim3& d) {
  return std::string("(") + std::to_string(d.x) + ", " + std::to_string(d.y) + ", " + std::to_string(d.z) + ")";
}
std::string Print(const uint3& d) {
  return Print(dim3(d.x, d.y, d.z));
}
std::string Print(const Where& where) {
  return std::string(where.file_name()) + ":" + std::to_string(where.line()) + " in " + where.function_name();
}

[[noreturn]] void Fail(const std::string& report) {
  std::fprintf(stderr, "cuda emulation: %s\n", report.c_str());
  std::fflush(stderr);
  std::abort();
}

void Wait(Thread& thread, State state, const Where& where) {
  thread.state = state;
  thread.where = where;
  thread.fiber.Leave();
}

void ReleaseBarrierIfComplete(Block& block) {
  if (block.at_barrier == 0 || block.at_barrier < block.alive) return;
  block.barrier_result = block.true_predicates;
  block.at_barrier = block.true_predicates = 0;
  for (int i = 0; i < block.num_threads; ++i) {
    if (block.threads[i]->state == State::kAtBarrier) block.threads[i]->state = State::kReady;
  }
}

void ThreadMain() {
  Block& block = Running();
  Thread& self = *block.current;
  block.launch->thread();
  self.state = State::kDone;
  --block.alive;
  block.warps[self.warp].existing &= ~(1u << self.lane);
  ReleaseBarrierIfComplete(block);
  self.fiber.Leave();
}

[[noreturn]] void ReportDeadlock(const Block& block) {
  std::string report = "threads wait for one another in " + NameOf(block.launch->function) + ", block " +
                       Print(blockIdx) + ": " + std::to_string(block.num_threads - block.alive) + " have ended";
  std::vector<std::string> places;
  for (int i = 0; i < block.num_threads; ++i) {
    const Thread& thread = *block.threads[i];
    if (thread.state == State::kDone) continue;
    const char* what = thread.state == State::kAtBarrier ? "at a barrier of the block, " : "at a warp operation, ";
    const std::string place = what + Print(thread.where);
    if (std::find(places.begin(), places.end(), place) != places.end()) continue;
    places.push_back(place);
    report += "\n  the first of those " + place + ": thread " + Print(thread.index);
  }
  Fail(report);
}

void PrepareThreads(Block& block) {
  const dim3& size = block.launch->block;
  block.num_threads = block.alive = static_cast<int>(size.x * size.y * size.z);
  block.warps.assign((block.num_threads + kLanes - 1) / kLanes, {});
  while (static_cast<int>(block.threads.size()) < block.num_threads)
    block.threads.push_back(std::make_unique<Thread>());
  for (int i = 0; i < block.num_threads; ++i) {
    Thread& thread = *block.threads[i];
    thread.state = State::kReady;
    thread.index = {i % size.x, i / size.x % size.y, i / (size.x * size.y)};
    thread.warp = i / kLanes;
    thread.lane = i % kLanes;
    thread.open_copies.clear();
    thread.copy_groups.clear();
    thread.fiber.Start(ThreadMain);
    block.warps[thread.warp].existing |= 1u << thread.lane;
  }
}

// A warp goes on until all of it waits for the block or has ended, and only then the next: whatever lacks a barrier is
// as far apart as it can be.
void RunThreads(Block& block, std::mt19937_64& random) {
  std::vector<int> warps(block.warps.size());
  std::iota(warps.begin(), warps.end(), 0);
  std::array<int, kLanes> lanes;
  std::iota(lanes.begin(), lanes.end(), 0);
  while (block.alive > 0) {
    bool moved = false;
    std::shuffle(warps.begin(), warps.end(), random);
    std::shuffle(lanes.begin(), lanes.end(), random);
    for (const int warp : warps) {
      for (bool warp_moved = true; warp_moved;) {
        warp_moved = false;
        for (const int lane : lanes) {
          const int i = warp * kLanes + lane;
          if (i >= block.num_threads || block.threads[i]->state != State::kReady) continue;
          block.current = block.threads[i].get();
          threadIdx = block.current->index;
          block.current->fiber.Resume();
          warp_moved = moved = true;
        }
      }
    }
    if (!moved) ReportDeadlock(block);
  }
}

void RunBlock(Block& block, const std::vector<std::span<std::byte>>& shared, std::mt19937_64& random) {
  for (const std::span<std::byte> variable : shared) std::fill(variable.begin(), variable.end(), kPoison);
  std::byte* dynamic = block.dynamic_shared.data();
  std::fill_n(dynamic, block.launch->shared_bytes, kPoison);
  std::fill_n(dynamic + block.launch->shared_bytes, kSharedGuard, kGuard);
  PrepareThreads(block);
  RunThreads(block, random);
  block.current = nullptr;
  const std::byte* guard = dynamic + block.launch->shared_bytes;
  if (!std::all_of(guard, guard + kSharedGuard, [](std::byte b) { return b == kGuard; })) {
    Fail("a thread of " + NameOf(block.launch->function) + ", block " + Print(blockIdx) +
         " wrote behind its dynamic shared memory of " + std::to_string(block.launch->shared_bytes) + " bytes");
  }
}

}  // namespace

std::string Position() {
  const Block& block = Running();
  if (block.launch == nullptr) return "";
  std::string position = "kernel " + NameOf(block.launch->function) + ", block " + Print(blockIdx);
  if (block.current != nullptr) position += ", thread " + Print(block.current->index);
  return position;
}

void KernelFailure(const char* what, const Where& where) {
  Fail(std::string(what) + " at " + Print(where) + ", " + Position());
}

void RunKernel(const KernelLaunch& launch) {
  Block& block = Running();
  block.launch = &launch;
  blockDim = launch.block;
  gridDim = launch.grid;
  const std::vector<std::span<std::byte>> shared = SharedVariablesOf(launch.function);
  std::mt19937_64 random(Seed());
  const unsigned count = launch.grid.x * launch.grid.y * launch.grid.z;
  std::vector<unsigned> order(count);
  std::iota(order.begin(), order.end(), 0u);
  std::shuffle(order.begin(), order.end(), random);
  for (const unsigned i : order) {
    blockIdx = {i % launch.grid.x, i / launch.grid.x % launch.grid.y, i / (launch.grid.x * launch.grid.y)};
    RunBlock(block, shared, random);
  }
  block.launch = nullptr;
}

int LaneId() {
  return Running().current->lane;
}

void* DynamicShared() {
  return Running().dynamic_shared.data();
}

int BlockBarrier(bool predicate, const Where& where) {
  Block& block = Running();
  Thread& self = *block.current;
  if (block.at_barrier == 0) {
    block.barrier_where = where;
  } else if (block.barrier_where.line() != where.line() ||
             std::strcmp(block.barrier_where.file_name(), where.file_name()) != 0) {
    Fail("threads of a block are at different barriers, " + Print(block.barrier_where) + " and " + Print(where) + ", " +
         Position());
  }
  ++block.at_barrier;
  block.true_predicates += predicate;
  self.state = State::kAtBarrier;
  ReleaseBarrierIfComplete(block);  // the last to come lets all go, itself among them
  self.where = where;
  self.fiber.Leave();
  return block.barrier_result;
}

void WarpCollective(unsigned mask, WarpOperation run, void* operand, const Where& where) {
  Block& block = Running();
  Thread& self = *block.current;
  Warp& warp = block.warps[self.warp];
  if (!(mask >> self.lane & 1)) KernelFailure("a lane that is not in the mask of its warp operation", where);
  // Lanes that a short last warp never had are left out; lanes that have ended are waited for in vain and reported.
  const int first = self.warp * kLanes;
  const int lanes = std::min(kLanes, block.num_threads - first);
  if (lanes < kLanes) mask &= (1u << lanes) - 1;
  self.run = run;
  self.operand = operand;
  self.mask = mask;
  self.where = where;
  warp.waiting |= 1u << self.lane;
  if ((warp.waiting & mask) != mask) {
    Wait(self, State::kAtWarpOperation, where);
    return;
  }
  void* operands[kLanes] = {};
  for (int lane = 0; lane < lanes; ++lane) {
    if (!(mask >> lane & 1)) continue;
    Thread& other = *block.threads[first + lane];
    if (other.run != run || other.mask != mask || other.where.line() != where.line()) {
      Fail("lanes of a warp are at different operations, " + Print(other.where) + " and " + Print(where) + ", " +
           Position());
    }
    operands[lane] = other.operand;
    other.state = State::kReady;
  }
  warp.waiting &= ~mask;
  run(operands);
}

void StartCopy(void* shared, const void* global, size_t bytes, bool zero) {
  Thread& self = *Running().current;
  if (reinterpret_cast<uintptr_t>(shared) % bytes != 0 || (!zero && reinterpret_cast<uintptr_t>(global) % bytes != 0)) {
    KernelFailure("cp.async of an address that is not aligned", Where::current());
  }
  std::memset(shared, static_cast<int>(kPoison), bytes);
  self.open_copies.push_back({shared, global, bytes, zero});
}

void CommitCopies() {
  Thread& self = *Running().current;
  self.copy_groups.push_back(std::move(self.open_copies));
  self.open_copies.clear();
}

void WaitForCopies(int pending) {
  Thread& self = *Running().current;
  while (static_cast<int>(self.copy_groups.size()) > pending) {
    for (const Copy& copy : self.copy_groups.front()) {
      copy.zero ? std::memset(copy.to, 0, copy.bytes) : std::memcpy(copy.to, copy.from, copy.bytes);
    }
    self.copy_groups.erase(self.copy_groups.begin());
  }
}

}  // namespace cuda_emulation
