// What computes: an abstract device with about forty operations, each forward with its backward beside it.
//
// Conventions. Activations and their gradients are [rows, columns] in ActivationDType, all of one call alike;
// log-sum-exps, logits, the gradients of K and V, adapter parameters, their gradients and moments, norm weights, biases
// and tables are f32; weights (Matrix) and the KV pool bf16 or f32. "dx" is the gradient of x. Shapes are checked by
// the callers in src/ops; implementations trust them. On the CPU backend a row's result does not depend, bit for bit,
// on the other rows of the call, and sums over rows are taken from the last row to the first, so that splitting rows
// into calls, last part first, changes no bit either.
//
// Memory. What a TensorView points to lies on the device (Allocate; DeviceTensor owns it) but for the arguments called
// `host`. A std::span is host memory. Those that are read may go when the call returns; only the blocks of SequenceRows
// must stay as they are until the step has ended (EndStep). Those that are written (losses, ids, logprobs, norms) must
// stay, and are good, once the step is over (AwaitStep, Finish); but what Download brings is good on return: it alone
// waits.
//
// Threads and order. Calls come from one thread at a time and take effect in their order; a device may be busy with
// them after they have returned. Only CreateMatrix, Allocate, UploadFresh, Free and the destruction of a Matrix may
// come from any thread at any time; what is given back stays as it is until the calls made so far are done with it.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "tandem/batch.h"
#include "tandem/op_args.h"
#include "tandem/tensor.h"

namespace tandem {

class Backend {
 public:
  virtual ~Backend() = default;
  virtual std::string name() const = 0;  // "cpu (avx2, 2 threads)"

  // --- weights -------------------------------------------------------------------------------------------------------
  virtual std::unique_ptr<Matrix> CreateMatrix(const TensorView& host) = 0;  // [out, in] f32, bf16, f16
  virtual void UpdateMatrix(Matrix& matrix, const TensorView& weight) = 0;   // same shape, f32

  // --- products ------------------------------------------------------------------------------------------------------
  // y[m, out] (+)= x[m, in] W^T. y may be f32 whatever x is.
  virtual void Linear(const TensorView& x, const Matrix& w, Accumulate mode, const TensorView& y) = 0;
  // dx[m, in] (+)= dy[m, out] W
  virtual void LinearBackwardInput(const TensorView& dy, const Matrix& w, Accumulate mode, const TensorView& dx) = 0;
  // Every segment's bypass, added to y [m, out]. Where a segment reads what it adds to, x is y.
  virtual void Lora(const TensorView& x, std::span<const LoraSegment> segments, const TensorView& y) = 0;
  // One segment over all rows of x: adds to its gradients and to dx [m, in].
  virtual void LoraBackward(const TensorView& x, const TensorView& dy, const LoraSegment& segment,
                            const LoraGradients& gradients, const TensorView& dx) = 0;

  // Every segment's rows of y [m, n], in place.
  virtual void ScaleColumns(std::span<const ScaleSegment> segments, const TensorView& y) = 0;
  // One segment over all rows of x, as they were: dfactor [n] is added to, dx [m, n] is written; it may be dy.
  virtual void ScaleColumnsBackward(const TensorView& x, const TensorView& dy, const ScaleSegment& segment,
                                    const TensorView& dfactor, const TensorView& dx) = 0;
  virtual void RowSquares(const Matrix& w, const TensorView& squares) = 0;  // [out] sums over w's rows
  // inverse [out] = 1 / norm of each row of W + scale B A
  virtual void InverseRowNorms(const RowNormArgs& args, const TensorView& inverse) = 0;

  // --- embedding, norm, RoPE, activation, sums -----------------------------------------------------------------------
  // Where the backend runs ahead, id ~k (below 0) is the k-th token of the last step before this one that drew
  // any, counted over its calls of Sample; 0 where none could be drawn.
  virtual void Embedding(std::span<const int32_t> ids, const Matrix& table, const TensorView& x) = 0;
  virtual void GatherRows(const TensorView& x, std::span<const int32_t> rows,
                          const TensorView& y) = 0;  // y[i] = x[rows[i]]
  // Norms: y (+)= norm(x); where it overwrites, y may be x.
  virtual void RmsNorm(const TensorView& x, const TensorView& weight, float epsilon, Accumulate mode,
                       const TensorView& y) = 0;
  // dx (+)= the gradient through y = x * rsqrt(mean(x^2) + epsilon) * weight
  virtual void RmsNormBackward(const TensorView& x, const TensorView& weight, float epsilon, const TensorView& dy,
                               Accumulate mode, const TensorView& dx) = 0;
  virtual void LayerNorm(const TensorView& x, const TensorView& weight, const TensorView& bias, float epsilon,
                         Accumulate mode, const TensorView& y) = 0;
  // dx (+)= the gradient through y = (x - mean(x)) * rsqrt(variance(x) + epsilon) * weight + bias
  virtual void LayerNormBackward(const TensorView& x, const TensorView& weight, float epsilon, const TensorView& dy,
                                 Accumulate mode, const TensorView& dx) = 0;
  // Rotates pairs (i, i + head_dim / 2) of each head of x [m, heads * head_dim] in place. table: [positions, head_dim]:
  // cos in the first half of a row, sin in the second. The backward is the inverse rotation.
  virtual void Rope(std::span<const SequenceRows> sequences, const TensorView& table, int head_dim,
                    const TensorView& x) = 0;
  virtual void RopeBackward(std::span<const SequenceRows> sequences, const TensorView& table, int head_dim,
                            const TensorView& dx) = 0;
  virtual void Activate(Activation kind, const TensorView& x, const TensorView& y) = 0;  // y = activation(x)
  virtual void ActivateBackward(Activation kind, const TensorView& x, const TensorView& dy, const TensorView& dx) = 0;
  // y = activation(gate) * up
  virtual void ActivateMul(Activation kind, const TensorView& gate, const TensorView& up, const TensorView& y) = 0;
  virtual void ActivateMulBackward(Activation kind, const TensorView& gate, const TensorView& up, const TensorView& dy,
                                   const TensorView& dgate, const TensorView& dup) = 0;
  virtual void Add(const TensorView& x, const TensorView& y) = 0;         // y += x
  virtual void AddBias(const TensorView& bias, const TensorView& y) = 0;  // every row of y [m, n] += bias [n]
  virtual void Scale(float factor, const TensorView& x) = 0;              // x *= factor
  virtual void SoftCap(float cap, const TensorView& x) = 0;               // x = cap * tanh(x / cap)

  // --- routed experts ------------------------------------------------------------------------------------------------
  // A row's choice depends on that row alone. Nothing here waits for the choice: rows go to their experts and back by
  // what Route has left on the device.
  virtual void Route(const TensorView& logits, const RouterOptions& options, const Routing& routing) = 0;
  // dweights [m, top_k] f32
  virtual void RouteBackward(const TensorView& logits, const RouterOptions& options, const Routing& routing,
                             const TensorView& dweights, const TensorView& dlogits) = 0;
  // y [m * top_k, n]: row by row of `order`, the row of x [m, n] that made the choice
  virtual void GatherChoices(const TensorView& x, const Routing& routing, const TensorView& y) = 0;
  // y [m, n] += the rows of x [m * top_k, n] of a row's choices times their factors [m, top_k] (empty: 1), in the order
  // of the experts' numbers
  virtual void CombineChoices(const TensorView& x, const Routing& routing, const TensorView& factors,
                              const TensorView& y) = 0;
  // Back through a product with the weights, w x: dx *= w in place, dweights [m, top_k] = dx . x before that.
  virtual void WeighChoicesBackward(const TensorView& x, const Routing& routing, const TensorView& dx,
                                    const TensorView& dweights) = 0;
  // Linear and LinearBackwardInput of [m * top_k, ...] in `order`, each row by its expert's matrix.
  virtual void ExpertLinear(const TensorView& x, ExpertMatrices w, const Routing& routing, const TensorView& y) = 0;
  virtual void ExpertLinearBackwardInput(const TensorView& dy, ExpertMatrices w, const Routing& routing,
                                         Accumulate mode, const TensorView& dx) = 0;

  // --- attention over the paged pool ---------------------------------------------------------------------------------
  virtual void AppendKv(std::span<const SequenceRows> sequences, const TensorView& k, const TensorView& v,
                        const PagedKv& kv) = 0;
  // Causal, grouped-query. lse [m, num_heads], the log-sum-exp of a row's scores, is written where it has data.
  virtual void Attention(std::span<const SequenceRows> sequences, const TensorView& q, const PagedKv& kv,
                         const AttentionOptions& options, const TensorView& out, const TensorView& lse) = 0;
  virtual void AttentionBackward(const AttentionBackwardArgs& args) = 0;

  // --- loss, sampling ------------------------------------------------------------------------------------------------
  // Cross entropy fused with the head in chunks of rows: [m, vocab] logits never exist. losses[m] = -log p(label), 0
  // where ignored. dx [m, hidden] is the gradient of the sum of losses, written where it has data.
  virtual void LinearCrossEntropy(const TensorView& x, const LmHead& head, std::span<const int32_t> labels,
                                  std::span<double> losses, const TensorView& dx) = 0;
  // ids[i] drawn from logits row i by requests[i]; negative where there is none to draw (sampling.h). logprobs[i] is
  // filled where the request wants it. logits are scratch afterwards.
  virtual void Sample(const TensorView& logits, std::span<const SampleRequest> requests, std::span<int32_t> ids,
                      std::span<TokenLogprobs> logprobs) = 0;
  // logprobs[i] of requests[i].token and of the most probable tokens by logits row i.
  virtual void Score(const TensorView& logits, std::span<const ScoreRequest> requests,
                     std::span<TokenLogprobs> logprobs) = 0;

  // --- optimizer -----------------------------------------------------------------------------------------------------
  // scale [1] f32: what AdamW is to multiply these gradients by; a NaN where their norm is none. norm[0]: that of all
  // together after the division, before clipping.
  virtual void ClipGradients(std::span<const TensorView> gradients, const ClipOptions& options, const TensorView& scale,
                             std::span<double> norm) = 0;
  // Decoupled weight decay (Loshchilov and Hutter 2019), as torch.optim.AdamW orders it, with gradient * scale. Zeroes
  // the gradients. Where scale is a NaN nothing changes.
  virtual void AdamW(std::span<const TrainedTensor> tensors, const AdamWStep& step, const TensorView& scale) = 0;

  // --- memory --------------------------------------------------------------------------------------------------------
  virtual DType ActivationDType(DType weights) const = 0;  // of activations beside weights of this type
  virtual void* Allocate(size_t bytes) = 0;                // zeroed, 64-byte aligned; never null
  virtual void Free(void* data) = 0;
  virtual void Copy(const TensorView& from, const TensorView& to) = 0;  // same shape; converts between f32 and bf16
  virtual void Zero(const TensorView& x) = 0;
  virtual void Upload(const TensorView& host, const TensorView& to) = 0;       // same dtype and shape
  virtual void UploadFresh(const TensorView& host, const TensorView& to) = 0;  // to memory that no call has seen yet
  virtual void Download(const TensorView& from, const TensorView& host) = 0;   // same dtype and shape

  // --- order: what a device that works on its own needs to know. A backend that is done when a call returns needs
  // none. True: such a device. Its next step may be prepared and given to it while it is busy with the one before.
  virtual bool runs_ahead() const { return false; }
  // The calls since the last EndStep are a step. Waits for nothing.
  virtual void EndStep() {}
  // Waits until the oldest step that has ended and was not awaited is over. At most one such step may be left when the
  // next one ends. An error is the first of that step: nothing that it computed is good, nor what was made of it since.
  virtual absl::Status AwaitStep() { return absl::OkStatus(); }
  // Ends a step and waits until it is over; a step that ended before can still be awaited for its own error.
  virtual absl::Status Finish() { return absl::OkStatus(); }
  // The first error since the last EndStep, as far as is known without waiting: nothing since it has been computed.
  virtual absl::Status step_error() const { return absl::OkStatus(); }
  // False: no call will succeed any more, and the process should start anew.
  virtual bool alive() const { return true; }
  // Work between the two is backward's. It follows earlier backward work, and all steps that have ended; where
  // overlaps_backward, it may run beside the other work of its own step. BeginBackward waits while much of it is in
  // flight.
  virtual void BeginBackward() {}
  virtual void EndBackward() {}
  virtual bool overlaps_backward() const { return false; }
  // Or: a second backend over the same memory and matrices, on half of this one's cores, which takes calls from another
  // thread. Null where there is none. While it works this one's share is a half.
  virtual std::unique_ptr<Backend> CreateLane() { return nullptr; }
  enum class Share { kNone, kHalf, kAll };
  // Of its cores, for operations from the next on; with none they wait. Any thread may call it.
  virtual void SetShare(Share share) {}
  // Runs `body`, whose calls are much the same each time with this key: a device may replay what they gave it to do,
  // with the new contents of spans and tensors. It notices where the calls differ. `body` may be called again, and
  // changes nothing else. Rows of decode are best padded to PaddedRows.
  virtual void RunRepeated(uint64_t key, const std::function<void()>& body) { body(); }
  virtual int PaddedRows(int rows) const { return rows; }
};

// How products with bf16 weights are taken: with bf16 dot products where the CPU has them, activations rounded to bf16;
// or widened to f32 everywhere, which gives the same bits on every machine.
enum class Bf16Products { kFastest, kWidened };

std::unique_ptr<Backend> CreateCpuBackend(int num_threads, Bf16Products bf16_products = Bf16Products::kFastest);

}  // namespace tandem
