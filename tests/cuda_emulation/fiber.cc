#include "fiber.h"

#include <sys/mman.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>

#ifndef __x86_64__
#error "the CUDA emulation switches stacks by hand, on x86-64 only; configure with TANDEM_CUDA_EMULATION=OFF"
#endif

// Saves what the calling convention says a callee keeps, and takes up where the other side left.
asm(R"(
.text
.globl tandem_cuda_emulation_switch
.type tandem_cuda_emulation_switch, @function
tandem_cuda_emulation_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size tandem_cuda_emulation_switch, .-tandem_cuda_emulation_switch
)");
extern "C" void tandem_cuda_emulation_switch(void** save, void* load);

namespace cuda_emulation {
namespace {

constexpr size_t kPage = 4096;
constexpr size_t kStack = 256 * 1024;  // of which only what is touched exists

}  // namespace

Fiber::Fiber() {
  void* mapping =
      mmap(nullptr, kPage + kStack, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (mapping == MAP_FAILED || mprotect(mapping, kPage, PROT_NONE) != 0) {
    std::perror("cuda emulation: no stack for a thread");
    std::abort();
  }
  mapping_ = static_cast<char*>(mapping);
}

Fiber::~Fiber() {
  munmap(mapping_, kPage + kStack);
}

void Fiber::Start(void (*entry)()) {
  // As if `entry` had just been called: rsp is 8 off a multiple of 16, above it an address that is never returned to.
  uint64_t* top = reinterpret_cast<uint64_t*>(mapping_ + kPage + kStack) - 3;
  *top = 0;
  *--top = reinterpret_cast<uint64_t>(entry);
  for (int i = 0; i < 6; ++i) *--top = 0;
  inside_ = top;
}

void Fiber::Resume() {
  tandem_cuda_emulation_switch(&outside_, inside_);
}

void Fiber::Leave() {
  tandem_cuda_emulation_switch(&inside_, outside_);
}

}  // namespace cuda_emulation
