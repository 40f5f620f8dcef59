// Device functions: synchronisation, shuffles, votes, atomics, bit casts, fast maths.
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstring>

#include "scheduler.h"

using std::isfinite;
using std::isinf;
using std::isnan;
using std::max;
using std::min;

#define TANDEM_WHERE const cuda_emulation::Where& where = cuda_emulation::Where::current()

inline void __syncthreads(TANDEM_WHERE) {
  cuda_emulation::BlockBarrier(false, where);
}
inline int __syncthreads_count(int predicate, TANDEM_WHERE) {
  return cuda_emulation::BlockBarrier(predicate != 0, where);
}
inline int __syncthreads_or(int predicate, TANDEM_WHERE) {
  return cuda_emulation::BlockBarrier(predicate != 0, where) != 0;
}
inline int __syncthreads_and(int predicate, TANDEM_WHERE) {
  return cuda_emulation::BlockBarrier(predicate == 0, where) == 0;
}
inline void __syncwarp(unsigned mask = 0xffffffffu, TANDEM_WHERE) {
  char nothing = 0;
  cuda_emulation::WarpCollective(
      mask, [](void* const*) {}, &nothing, where);
}
inline void __threadfence() {}
inline void __threadfence_block() {}
[[noreturn]] inline void __trap(TANDEM_WHERE) {
  cuda_emulation::KernelFailure("__trap", where);
}

namespace cuda_emulation {

// Every lane's 8 bytes and what it makes of those of all lanes.
struct Exchange {
  uint64_t given = 0;
  uint64_t all[32] = {};
  unsigned present = 0;
};
void RunExchange(void* const operands[32]);

template <typename T>
Exchange ExchangeOf(unsigned mask, T value, const Where& where) {
  static_assert(sizeof(T) <= 8 && std::is_trivially_copyable_v<T>);
  Exchange exchange;
  std::memcpy(&exchange.given, &value, sizeof(T));
  WarpCollective(mask, RunExchange, &exchange, where);
  return exchange;
}
// The value of `source`; all bits set, which is a NaN, where that lane did not take part.
template <typename T>
T Pick(const Exchange& exchange, int source) {
  const uint64_t bits = exchange.present >> source & 1 ? exchange.all[source] : ~uint64_t{0};
  T value;
  std::memcpy(&value, &bits, sizeof(T));
  return value;
}

}  // namespace cuda_emulation

template <typename T>
T __shfl_sync(unsigned mask, T value, int source, int width = 32, TANDEM_WHERE) {
  const int first = cuda_emulation::LaneId() & ~(width - 1);
  return cuda_emulation::Pick<T>(cuda_emulation::ExchangeOf(mask, value, where), first | (source & (width - 1)));
}
template <typename T>
T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = 32, TANDEM_WHERE) {
  const int lane = cuda_emulation::LaneId(), first = lane & ~(width - 1), source = lane - static_cast<int>(delta);
  return cuda_emulation::Pick<T>(cuda_emulation::ExchangeOf(mask, value, where), source < first ? lane : source);
}
template <typename T>
T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = 32, TANDEM_WHERE) {
  const int lane = cuda_emulation::LaneId(), last = lane | (width - 1), source = lane + static_cast<int>(delta);
  return cuda_emulation::Pick<T>(cuda_emulation::ExchangeOf(mask, value, where), source > last ? lane : source);
}
template <typename T>
T __shfl_xor_sync(unsigned mask, T value, int lanes, int width = 32, TANDEM_WHERE) {
  const int lane = cuda_emulation::LaneId(), last = lane | (width - 1), source = lane ^ lanes;
  return cuda_emulation::Pick<T>(cuda_emulation::ExchangeOf(mask, value, where), source > last ? lane : source);
}

inline unsigned __ballot_sync(unsigned mask, int predicate, TANDEM_WHERE) {
  const cuda_emulation::Exchange votes = cuda_emulation::ExchangeOf(mask, predicate, where);
  unsigned ballot = 0;
  for (int lane = 0; lane < 32; ++lane) {
    if (votes.present >> lane & 1 && static_cast<uint32_t>(votes.all[lane]) != 0) ballot |= 1u << lane;
  }
  return ballot;
}
inline int __any_sync(unsigned mask, int predicate, TANDEM_WHERE) {
  return __ballot_sync(mask, predicate, where) != 0;
}
inline int __all_sync(unsigned mask, int predicate, TANDEM_WHERE) {
  return __ballot_sync(mask, predicate == 0, where) == 0;
}
template <typename T>
unsigned __match_any_sync(unsigned mask, T value, TANDEM_WHERE) {
  const cuda_emulation::Exchange exchange = cuda_emulation::ExchangeOf(mask, value, where);
  unsigned equal = 0;
  for (int lane = 0; lane < 32; ++lane) {
    if (exchange.present >> lane & 1 && exchange.all[lane] == exchange.given) equal |= 1u << lane;
  }
  return equal;
}

#define TANDEM_EMULATED_REDUCE(name, expression)                                              \
  template <typename T>                                                                       \
  T name(unsigned mask, T value, TANDEM_WHERE) {                                              \
    const cuda_emulation::Exchange exchange = cuda_emulation::ExchangeOf(mask, value, where); \
    bool first = true;                                                                        \
    T a = value;                                                                              \
    for (int lane = 0; lane < 32; ++lane) {                                                   \
      if (!(exchange.present >> lane & 1)) continue;                                          \
      const T b = cuda_emulation::Pick<T>(exchange, lane);                                    \
      a = first ? b : static_cast<T>(expression);                                             \
      first = false;                                                                          \
    }                                                                                         \
    return a;                                                                                 \
  }
TANDEM_EMULATED_REDUCE(__reduce_add_sync, a + b)
TANDEM_EMULATED_REDUCE(__reduce_max_sync, a > b ? a : b)
TANDEM_EMULATED_REDUCE(__reduce_min_sync, a < b ? a : b)
TANDEM_EMULATED_REDUCE(__reduce_or_sync, a | b)
TANDEM_EMULATED_REDUCE(__reduce_and_sync, a& b)
#undef TANDEM_EMULATED_REDUCE

#include "maths.h"
