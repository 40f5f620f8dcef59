// The CPU backend as a device that works on its own would show itself: everything is computed at once, but what a step
// brings is handed over when it is awaited and spoilt until then.
#pragma once

#include <algorithm>
#include <atomic>
#include <functional>
#include <limits>
#include <utility>
#include <vector>

#include "backend/cpu/cpu_backend.h"
#include "base/check.h"

namespace tandem {

class AheadBackend final : public CpuBackend {
 public:
  explicit AheadBackend(int threads) : CpuBackend(threads, Bf16Products::kFastest) {}

  bool runs_ahead() const override { return true; }
  std::unique_ptr<Backend> CreateLane() override { return nullptr; }

  // Any thread.
  int carried() const { return carried_; }    // rows of tokens that nobody had seen
  int overlaps() const { return overlaps_; }  // forwards that were launched while another step was in flight

  void EndStep() override {
    CHECK(!ended_) << "the step before has not been awaited";
    ended_ = true;
    to_hand_over_ = std::exchange(open_, {});
    if (!drawn_.empty()) drawn_before_ = std::exchange(drawn_, {});
  }
  absl::Status AwaitStep() override {
    CHECK(ended_) << "no step has ended";
    ended_ = false;
    for (const auto& hand_over : std::exchange(to_hand_over_, {})) hand_over();
    return absl::OkStatus();
  }
  // The step that ended before may be awaited later all the same.
  absl::Status Finish() override {
    for (const auto& hand_over : std::exchange(to_hand_over_, {})) hand_over();
    for (const auto& hand_over : std::exchange(open_, {})) hand_over();
    if (!drawn_.empty()) drawn_before_ = std::exchange(drawn_, {});
    return absl::OkStatus();
  }

  void Embedding(std::span<const int32_t> ids, const Matrix& table, const TensorView& x) override {
    std::vector<int32_t> known(ids.begin(), ids.end());
    for (int32_t& id : known) {
      if (id >= 0) continue;
      id = std::max(0, drawn_before_.at(~id));
      ++carried_;
    }
    if (ended_) ++overlaps_;
    CpuBackend::Embedding(known, table, x);
  }
  void Sample(const TensorView& logits, std::span<const SampleRequest> requests, std::span<int32_t> ids,
              std::span<TokenLogprobs> logprobs) override {
    std::vector<int32_t> drawn(ids.size());
    std::vector<TokenLogprobs> found(logprobs.size());
    CpuBackend::Sample(logits, requests, drawn, found);
    drawn_.insert(drawn_.end(), drawn.begin(), drawn.end());
    HandOverLater(std::move(drawn), ids, std::numeric_limits<int32_t>::max());
    HandOverLater(std::move(found), logprobs, TokenLogprobs{});
  }
  void Score(const TensorView& logits, std::span<const ScoreRequest> requests,
             std::span<TokenLogprobs> logprobs) override {
    std::vector<TokenLogprobs> found(logprobs.size());
    CpuBackend::Score(logits, requests, found);
    HandOverLater(std::move(found), logprobs, TokenLogprobs{});
  }
  void LinearCrossEntropy(const TensorView& x, const LmHead& head, std::span<const int32_t> labels,
                          std::span<double> losses, const TensorView& dx) override {
    std::vector<double> found(losses.size());
    CpuBackend::LinearCrossEntropy(x, head, labels, found, dx);
    HandOverLater(std::move(found), losses, std::numeric_limits<double>::quiet_NaN());
  }
  void ClipGradients(std::span<const TensorView> gradients, const ClipOptions& options, const TensorView& scale,
                     std::span<double> norm) override {
    std::vector<double> found(norm.size());
    CpuBackend::ClipGradients(gradients, options, scale, found);
    HandOverLater(std::move(found), norm, norm[0]);  // as it is: that says that there is none yet
  }

 private:
  template <typename T, typename Spoilt>
  void HandOverLater(std::vector<T> values, std::span<T> to, const Spoilt& spoilt) {
    std::fill(to.begin(), to.end(), spoilt);
    open_.push_back([values = std::move(values), to] { std::copy(values.begin(), values.end(), to.begin()); });
  }

  std::vector<std::function<void()>> open_, to_hand_over_;  // of the step that has not ended, and of the one that has
  std::vector<int32_t> drawn_, drawn_before_;
  bool ended_ = false;
  std::atomic<int> carried_{0}, overlaps_{0};
};

}  // namespace tandem
