// What device.h and ptx.h need of the thread scheduler: barriers of a block and operations that a warp performs
// together.
#pragma once

#include <cstddef>
#include <source_location>

namespace cuda_emulation {

using Where = std::source_location;

// What the running thread's call to __syncthreads does; the result is how many threads gave a true predicate.
int BlockBarrier(bool predicate, const Where& where);

// An operation of all lanes in `mask`, run once, when the last of them has come: operands[lane] is what that lane gave,
// null outside of the mask. The same `run` for all lanes, or the emulator reports them.
using WarpOperation = void (*)(void* const operands[32]);
void WarpCollective(unsigned mask, WarpOperation run, void* operand, const Where& where);

int LaneId();
void* DynamicShared();

// A copy to shared memory that takes place when the thread waits for it; until then the target holds NaNs.
void StartCopy(void* shared, const void* global, size_t bytes, bool zero);
void CommitCopies();
void WaitForCopies(int pending);

// Ends the process with the kernel, block, thread and place.
[[noreturn]] void KernelFailure(const char* what, const Where& where);

}  // namespace cuda_emulation
