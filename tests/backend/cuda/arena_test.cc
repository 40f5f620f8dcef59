#include "backend/cuda/arena.h"

#include <gtest/gtest.h>

#include "cuda_emulation/emulation.h"

namespace tandem::cuda {
namespace {

constexpr size_t kSlab = 1 << 20;

TEST(Arena, PartsOfOneSlabDoNotOverlapAndAreAligned) {
  Arena arena(kSlab);
  char* const a = static_cast<char*>(arena.Allocate(100));
  char* const b = static_cast<char*>(arena.Allocate(1000));
  EXPECT_EQ(reinterpret_cast<uintptr_t>(a) % Arena::kAlignment, 0u);
  EXPECT_EQ(b - a, 256);
  EXPECT_EQ(arena.used_bytes(), 256u + 1024u);
}

TEST(Arena, NeighboursThatAreFreeAreOnePieceAgain) {
  Arena arena(kSlab);
  void* parts[4];
  for (void*& part : parts) part = arena.Allocate(kSlab / 4);
  for (const int i : {0, 2, 1, 3}) arena.Free(parts[i]);
  const int64_t before = cuda_emulation::BytesAllocated();
  EXPECT_EQ(arena.Allocate(kSlab), parts[0]);
  EXPECT_EQ(cuda_emulation::BytesAllocated(), before);
}

TEST(Arena, TheSmallestPieceThatFitsIsTaken) {
  Arena arena(kSlab);
  void* const large = arena.Allocate(4096);
  arena.Allocate(256);
  void* const small = arena.Allocate(512);
  arena.Allocate(256);
  arena.Free(large);
  arena.Free(small);
  EXPECT_EQ(arena.Allocate(300), small);
}

TEST(Arena, WhatIsLargerThanASlabHasItsOwn) {
  Arena arena(kSlab);
  void* const large = arena.Allocate(3 * kSlab);
  ASSERT_NE(large, nullptr);
  EXPECT_EQ(arena.used_bytes(), 3 * kSlab);
}

TEST(Arena, EmptySlabsGoWhereTheDeviceIsFull) {
  Arena arena(kSlab);
  const size_t most = (size_t{1} << 30) / 3 * 2;  // of the emulated device's gibibyte
  void* const first = arena.Allocate(most);
  ASSERT_NE(first, nullptr);
  EXPECT_EQ(arena.Allocate(most), nullptr);
  arena.Free(first);
  EXPECT_NE(arena.Allocate(most + kSlab), nullptr);
}

}  // namespace
}  // namespace tandem::cuda
