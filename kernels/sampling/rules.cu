#include "rules.h"

#include <cfloat>

#include "../common/launch.h"
#include "block.h"

namespace tandem::kernels {
namespace {

// Token's uses are counted above bit 0, which says that it was seen at all.
constexpr uint32_t kSeen = 1, kUse = 2;

// Rounded one by one, as on the CPU. Positive logits are divided, negative ones multiplied, so that a penalty > 1
// always makes the token less probable.
__device__ __forceinline__ float Penalized(float logit, const LogitRules& rules, uint32_t uses) {
  if (uses == 0) return logit;
  logit = fminf(logit < 0 ? __fmul_rn(logit, rules.repetition) : logit / rules.repetition, FLT_MAX);
  logit = __fsub_rn(logit, __fmul_rn(rules.frequency, static_cast<float>(uses / kUse)));
  return uses >= kUse ? __fsub_rn(logit, rules.presence) : logit;
}

template <int kThreads>
__device__ __forceinline__ void SetBits(uint32_t* forbidden, const LogitRules& rules, int num_words) {
  for (int word = threadIdx.x; word < num_words; word += kThreads) {
    uint32_t bits = rules.num_allowed > 0 ? ~0u : 0u;
    if (rules.mask != nullptr && rules.num_allowed == 0) bits = word < rules.num_mask_words ? ~rules.mask[word] : ~0u;
    forbidden[word] = bits;
  }
  __syncthreads();
  for (int i = threadIdx.x; i < rules.num_allowed; i += kThreads) {
    const int32_t token = rules.allowed[i];
    atomicAnd(&forbidden[token / 32], ~(1u << token % 32));
  }
  __syncthreads();
  for (int i = threadIdx.x; i < rules.num_forbidden; i += kThreads) {
    const int32_t token = rules.forbidden[i];
    atomicOr(&forbidden[token / 32], 1u << token % 32);
  }
  if (rules.mask != nullptr && rules.num_allowed > 0) {
    for (int word = threadIdx.x; word < num_words; word += kThreads) {
      atomicOr(&forbidden[word], word < rules.num_mask_words ? ~rules.mask[word] : ~0u);
    }
  }
}

template <int kThreads>
__device__ __forceinline__ void CountUses(const LogitRules& rules, int vocab) {
  for (int i = threadIdx.x; i < vocab; i += kThreads) rules.uses[i] = 0;
  __syncthreads();
  for (int i = threadIdx.x; i < rules.num_history; i += kThreads) {
    uint32_t* uses = &rules.uses[rules.history[i]];
    if (i < rules.num_prompt) {
      atomicOr(uses, kSeen);
    } else {
      atomicAdd(uses, kUse);
    }
  }
}

template <int kThreads>
__global__ void __launch_bounds__(kThreads) LogitRulesKernel(LogitRulesArgs args) {
  TANDEM_DYNAMIC_SHARED(uint32_t, forbidden);  // [ceil(vocab / 32)]
  const LogitRules rules = args.rules[blockIdx.x];
  float* logits = args.logits + static_cast<int64_t>(rules.row) * args.vocab;
  bool bad = false;
  LogitRow{logits, args.vocab}.ForOwn<kThreads>([&](float x, int) { bad = bad || !(x < INFINITY); });
  bad = __syncthreads_or(bad);
  if (threadIdx.x == 0) args.finite[rules.row] = !bad;
  if (bad) return;
  SetBits<kThreads>(forbidden, rules, CeilDiv(args.vocab, 32));
  if (rules.uses != nullptr) CountUses<kThreads>(rules, args.vocab);
  for (int i = threadIdx.x; i < rules.num_biases; i += kThreads) logits[rules.biases[i].token] += rules.biases[i].bias;
  __syncthreads();
#pragma unroll 4
  for (int i = threadIdx.x; i < args.vocab; i += kThreads) {
    const uint32_t uses = rules.uses == nullptr ? 0 : __ldcg(&rules.uses[i]);
    const bool may_not = forbidden[i / 32] >> i % 32 & 1;
    if (may_not || uses > 0) logits[i] = may_not ? -INFINITY : Penalized(logits[i], rules, uses);
  }
}

}  // namespace

cudaError_t LaunchLogitRules(const LogitRulesArgs& args, cudaStream_t stream) {
  if (args.vocab > kMaxVocab) return cudaErrorInvalidValue;
  constexpr int kSmallVocab = 1024, kThreads = 1024;
  LaunchConfig config = {.grid = static_cast<unsigned>(args.num_rules),
                         .block = kThreads,
                         .shared_bytes = static_cast<size_t>(CeilDiv(args.vocab, 32)) * sizeof(uint32_t),
                         .stream = stream};
  if (args.vocab > kSmallVocab) return Launch(LogitRulesKernel<kThreads>, config, args);
  config.block = kWarpSize;
  return Launch(LogitRulesKernel<kWarpSize>, config, args);
}

}  // namespace tandem::kernels
