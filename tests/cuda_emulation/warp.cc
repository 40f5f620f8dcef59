// The operations that a warp performs together, by the fragment layouts of the PTX manual.
#include <algorithm>
#include <bit>
#include <cstdint>
#include <cstring>
#include <mutex>

#include "cuda_emulation/ptx.h"
#include "cuda_runtime.h"
#include "emulation.h"
#include "settings.h"

namespace cuda_emulation {
namespace {

constexpr int kLanes = 32;

float LowBf16(uint32_t pair) {
  return std::bit_cast<float>(pair << 16);
}
float HighBf16(uint32_t pair) {
  return std::bit_cast<float>(pair & 0xffff0000u);
}
float Tf32(uint32_t bits) {  // the hardware does not look at the other 13
  return std::bit_cast<float>(bits & ~0x1fffu);
}

const MmaOperands& MmaOf(void* const operands[kLanes], int lane) {
  return *static_cast<const MmaOperands*>(operands[lane]);
}

void RequireWholeWarp(void* const operands[kLanes]) {
  for (int lane = 0; lane < kLanes; ++lane) {
    if (operands[lane] == nullptr) KernelFailure("mma or ldmatrix by less than a warp", Where::current());
  }
}

// d of all lanes += a[16][kDepth] b[kDepth][8]
template <int kDepth>
void MultiplyAdd(const float (&a)[16][kDepth], const float (&b)[kDepth][8], void* const operands[kLanes]) {
  for (int lane = 0; lane < kLanes; ++lane) {
    for (int i = 0; i < 4; ++i) {
      const int row = lane / 4 + 8 * (i / 2), column = 2 * (lane % 4) + i % 2;
      float sum = 0;
      for (int k = 0; k < kDepth; ++k) sum += a[row][k] * b[k][column];
      MmaOf(operands, lane).d[i] += sum;
    }
  }
}

int64_t bank_conflicts = 0;

// Rows of 16 bytes meet a quarter of the banks each, by their address in 128 bytes.
void CountBankConflicts(const void* const (&rows)[8]) {
  int met[8] = {};
  for (int row = 0; row < 8; ++row) {
    const bool again = std::find(rows, rows + row, rows[row]) != rows + row;  // the same bytes for several lanes
    if (!again) ++met[reinterpret_cast<uintptr_t>(rows[row]) / 16 % 8];
  }
  bank_conflicts += *std::max_element(met, met + 8) - 1;
}

template <bool kTransposed>
void LoadMatrices(void* const operands[kLanes]) {
  RequireWholeWarp(operands);
  const auto of = [&](int lane) { return static_cast<const LdMatrixOperands*>(operands[lane]); };
  for (int i = 0; i < of(0)->count; ++i) {
    uint16_t matrix[8][8];
    const void* rows[8];
    for (int row = 0; row < 8; ++row) {
      const void* address = rows[row] = of(8 * i + row)->row;
      if (reinterpret_cast<uintptr_t>(address) % 16 != 0) {
        KernelFailure("ldmatrix of a row that is not aligned to 16 bytes", Where::current());
      }
      std::memcpy(matrix[row], address, sizeof(matrix[row]));
    }
    CountBankConflicts(rows);
    for (int lane = 0; lane < kLanes; ++lane) {
      const int major = lane / 4, minor = 2 * (lane % 4);
      const uint32_t low = kTransposed ? matrix[minor][major] : matrix[major][minor];
      const uint32_t high = kTransposed ? matrix[minor + 1][major] : matrix[major][minor + 1];
      of(lane)->r[i] = low | high << 16;
    }
  }
}

}  // namespace

void RunExchange(void* const operands[kLanes]) {
  Exchange all;
  for (int lane = 0; lane < kLanes; ++lane) {
    if (operands[lane] == nullptr) continue;
    all.present |= 1u << lane;
    all.all[lane] = static_cast<const Exchange*>(operands[lane])->given;
  }
  for (int lane = 0; lane < kLanes; ++lane) {
    if (operands[lane] == nullptr) continue;
    auto* exchange = static_cast<Exchange*>(operands[lane]);
    exchange->present = all.present;
    std::memcpy(exchange->all, all.all, sizeof(all.all));
  }
}

void RunMmaBf16(void* const operands[kLanes]) {
  RequireWholeWarp(operands);
  float a[16][16], b[16][8];
  for (int lane = 0; lane < kLanes; ++lane) {
    const MmaOperands& given = MmaOf(operands, lane);
    const int group = lane / 4, pair = 2 * (lane % 4);
    for (int i = 0; i < 4; ++i) {
      float* at = &a[group + 8 * (i % 2)][pair + 8 * (i / 2)];
      at[0] = LowBf16(given.a[i]);
      at[1] = HighBf16(given.a[i]);
    }
    for (int i = 0; i < 2; ++i) {
      b[pair + 8 * i][group] = LowBf16(given.b[i]);
      b[pair + 8 * i + 1][group] = HighBf16(given.b[i]);
    }
  }
  MultiplyAdd(a, b, operands);
}

void RunMmaTf32(void* const operands[kLanes]) {
  RequireWholeWarp(operands);
  float a[16][8], b[8][8];
  for (int lane = 0; lane < kLanes; ++lane) {
    const MmaOperands& given = MmaOf(operands, lane);
    const int group = lane / 4, t = lane % 4;
    for (int i = 0; i < 4; ++i) a[group + 8 * (i % 2)][t + 4 * (i / 2)] = Tf32(given.a[i]);
    for (int i = 0; i < 2; ++i) b[t + 4 * i][group] = Tf32(given.b[i]);
  }
  MultiplyAdd(a, b, operands);
}

void RunLdMatrix(void* const operands[kLanes]) {
  LoadMatrices<false>(operands);
}

void RunLdMatrixTransposed(void* const operands[kLanes]) {
  LoadMatrices<true>(operands);
}

int64_t BankConflicts() {
  const std::lock_guard lock(Lock());
  return bank_conflicts;
}

}  // namespace cuda_emulation
