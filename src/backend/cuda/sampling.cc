// Sampling: requests become tables on the device; ids and log probabilities come back with the step's other results.
#include <algorithm>
#include <vector>

#include "backend/cuda/cuda_backend.h"
#include "backend/uniform.h"
#include "kernels/embedding.h"
#include "kernels/sampling/draw.h"
#include "kernels/sampling/rules.h"
#include "kernels/sampling/score.h"

namespace tandem {
namespace {

static_assert(kernels::kDrawNotFinite == kLogitsNotFinite && kernels::kDrawNothingLeft == kNoTokenAllowed);

bool HasRules(const SampleRequest& request) {
  return request.params.rules != nullptr || request.params.has_penalties() || !request.banned.empty() ||
         request.mask != nullptr;
}

kernels::DrawRequest DrawRequestOf(const SampleRequest& request) {
  const SamplingParams& params = request.params;
  return {.temperature = params.temperature,
          .top_k = params.top_k,
          .top_p = params.top_p,
          .min_p = params.min_p,
          .typical_p = params.typical_p,
          .has_rules = HasRules(request),
          .uniform = Uniform(params.seed, static_cast<uint64_t>(request.index))};
}

// Tokens that would complete a bad word, and those that the request bans.
std::vector<int32_t> ForbiddenOf(const SampleRequest& request) {
  std::vector<int32_t> forbidden(request.banned.begin(), request.banned.end());
  if (request.params.rules == nullptr) return forbidden;
  const std::span<const int32_t> history = request.history;
  for (const std::vector<int32_t>& word : request.params.rules->bad_words) {
    const std::span<const int32_t> begin = std::span(word).first(word.size() - 1);
    if (begin.size() > history.size()) continue;
    if (std::equal(begin.begin(), begin.end(), history.end() - static_cast<int64_t>(begin.size()))) {
      forbidden.push_back(word.back());
    }
  }
  return forbidden;
}

// With its lists on the device; waits for the request's mask.
kernels::LogitRules RulesOf(cuda::Runtime& runtime, const SampleRequest& request, int row, int64_t vocab) {
  kernels::LogitRules rules = {.row = row};
  if (request.params.rules != nullptr) {
    std::vector<kernels::TokenBias> biases;
    for (const TokenBias& bias : request.params.rules->logit_bias) biases.push_back({bias.token, bias.bias});
    rules.num_biases = static_cast<int>(biases.size());
    if (!biases.empty()) rules.biases = runtime.ToDevice(std::span<const kernels::TokenBias>(biases)).data();
    const std::span<const int32_t> allowed = request.params.rules->allowed_token_ids;
    rules.num_allowed = static_cast<int>(allowed.size());
    if (!allowed.empty()) rules.allowed = runtime.ToDevice(allowed).data();
  }
  if (request.params.has_penalties() && !request.history.empty()) {
    rules.history = runtime.ToDevice(request.history).data();
    rules.num_history = static_cast<int>(request.history.size());
    rules.num_prompt = request.num_prompt_tokens;
    rules.repetition = request.params.repetition_penalty;
    rules.frequency = request.params.frequency_penalty;
    rules.presence = request.params.presence_penalty;
    rules.uses = runtime.Scratch<uint32_t>(vocab);
  }
  const std::vector<int32_t> forbidden = ForbiddenOf(request);
  rules.num_forbidden = static_cast<int>(forbidden.size());
  if (!forbidden.empty()) rules.forbidden = runtime.ToDevice(std::span<const int32_t>(forbidden)).data();
  if (request.mask != nullptr) {
    const std::span<const uint32_t> mask = request.mask->Wait();
    rules.num_mask_words = static_cast<int>(mask.size());
    // A mask without words forbids everything: any address will do.
    const uint32_t nothing = 0;
    rules.mask = runtime.ToDevice(mask.empty() ? std::span<const uint32_t>(&nothing, 1) : mask).data();
  }
  return rules;
}

// `ids`: tokens of the rows are indices into these device values.
void LaunchScores(cuda::Runtime& runtime, std::vector<kernels::ScoreRow> rows, int64_t vocab, const int32_t* ids,
                  std::vector<TokenLogprobs*> out) {
  int max_top = 0;
  for (const kernels::ScoreRow& row : rows) max_top = std::max(max_top, row.num_top);
  const size_t width = 1 + static_cast<size_t>(max_top);
  const auto take = [out, rows, width](std::span<const kernels::ScoredToken> scores) {
    for (size_t i = 0; i < out.size(); ++i) {
      const std::span<const kernels::ScoredToken> row = scores.subspan(i * width, width);
      if (row[0].token < 0) continue;  // not finite, or no token drawn
      *out[i] = {.token = row[0].token, .logprob = row[0].logprob};
      for (const kernels::ScoredToken& top : row.subspan(1, rows[i].num_top)) {
        if (top.token >= 0) out[i]->top.push_back({.token = top.token, .logprob = top.logprob});
      }
    }
  };
  kernels::ScoredToken* const scores = runtime.Result<kernels::ScoredToken>(rows.size() * width, take);
  runtime.Launch(kernels::LaunchScore,
                 kernels::ScoreArgs{.rows = runtime.ToDevice(std::span<const kernels::ScoreRow>(rows)).data(),
                                    .num_rows = static_cast<int>(rows.size()),
                                    .vocab = static_cast<int>(vocab),
                                    .ids = ids,
                                    .max_top = max_top,
                                    .scores = scores});
}

// Rows whose log probabilities are wanted, and where: rows with rules are copied before those change them.
class WantedLogprobs {
 public:
  WantedLogprobs(cuda::Runtime& runtime, const TensorView& logits, std::span<const SampleRequest> requests,
                 std::span<TokenLogprobs> logprobs) {
    const int64_t vocab = logits.shape[1];
    std::vector<int32_t> changing;
    for (size_t i = 0; i < requests.size(); ++i) {
      if (requests[i].params.num_logprobs.has_value() && HasRules(requests[i])) {
        changing.push_back(static_cast<int32_t>(i));
      }
    }
    float* const copies = changing.empty() ? nullptr : runtime.Scratch<float>(changing.size() * vocab);
    if (!changing.empty()) {
      runtime.Launch(kernels::LaunchGatherRows,
                     kernels::RowCopyArgs{.from = logits.data,
                                          .numbers = runtime.ToDevice(std::span<const int32_t>(changing)).data(),
                                          .to = copies,
                                          .rows = static_cast<int64_t>(changing.size()),
                                          .columns = vocab});
    }
    int64_t copied = 0;
    for (size_t i = 0; i < requests.size(); ++i) {
      if (!requests[i].params.num_logprobs.has_value()) continue;
      const float* const row = logits.f32() + static_cast<int64_t>(i) * vocab;
      rows_.push_back({.logits = HasRules(requests[i]) ? copies + copied++ * vocab : row,
                       .token = static_cast<int>(i),
                       .num_top = *requests[i].params.num_logprobs});
      out_.push_back(&logprobs[i]);
    }
  }

  bool any() const { return !rows_.empty(); }
  const std::vector<kernels::ScoreRow>& rows() const { return rows_; }
  const std::vector<TokenLogprobs*>& out() const { return out_; }

 private:
  std::vector<kernels::ScoreRow> rows_;
  std::vector<TokenLogprobs*> out_;
};

}  // namespace

void CudaBackend::Sample(const TensorView& logits, std::span<const SampleRequest> requests, std::span<int32_t> ids,
                         std::span<TokenLogprobs> logprobs) {
  if (requests.empty()) return;
  const cuda::Runtime::Op op(runtime_, "Sample");
  const int64_t vocab = logits.shape[1];
  const WantedLogprobs wanted(runtime_, logits, requests, logprobs);
  std::vector<kernels::DrawRequest> draws;
  std::vector<kernels::LogitRules> rules;
  for (size_t i = 0; i < requests.size(); ++i) {
    draws.push_back(DrawRequestOf(requests[i]));
    if (HasRules(requests[i])) rules.push_back(RulesOf(runtime_, requests[i], static_cast<int>(i), vocab));
  }
  int32_t* finite = nullptr;
  if (!rules.empty()) {
    finite = runtime_.Scratch<int32_t>(requests.size());
    runtime_.Launch(
        kernels::LaunchLogitRules,
        kernels::LogitRulesArgs{.logits = logits.f32(),
                                .vocab = static_cast<int>(vocab),
                                .rules = runtime_.ToDevice(std::span<const kernels::LogitRules>(rules)).data(),
                                .num_rules = static_cast<int>(rules.size()),
                                .finite = finite});
  }
  int32_t* const drawn = runtime_.Result<int32_t>(requests.size(), [ids](std::span<const int32_t> values) {
    std::copy(values.begin(), values.end(), ids.begin());
  });
  runtime_.Launch(kernels::LaunchDraw,
                  kernels::DrawArgs{.logits = logits.f32(),
                                    .rows = static_cast<int64_t>(requests.size()),
                                    .vocab = static_cast<int>(vocab),
                                    .requests = runtime_.ToDevice(std::span<const kernels::DrawRequest>(draws)).data(),
                                    .finite = finite,
                                    .ids = drawn,
                                    .kept = runtime_.Drawn(requests.size())});
  if (wanted.any()) LaunchScores(runtime_, wanted.rows(), vocab, drawn, wanted.out());
}

void CudaBackend::Score(const TensorView& logits, std::span<const ScoreRequest> requests,
                        std::span<TokenLogprobs> logprobs) {
  if (requests.empty()) return;
  const cuda::Runtime::Op op(runtime_, "Score");
  const int64_t vocab = logits.shape[1];
  std::vector<kernels::ScoreRow> rows;
  std::vector<TokenLogprobs*> out;
  for (size_t i = 0; i < requests.size(); ++i) {
    rows.push_back({.logits = logits.f32() + static_cast<int64_t>(i) * vocab,
                    .token = requests[i].token,
                    .num_top = requests[i].num_top});
    logprobs[i] = {.token = requests[i].token};
    out.push_back(&logprobs[i]);
  }
  LaunchScores(runtime_, std::move(rows), vocab, nullptr, std::move(out));
}

}  // namespace tandem
