// The data that everything speaks: one iteration's rows of inference and training, and the backward units that follow.
//
// Rows of all spans are packed into one [num_rows, hidden] matrix, span after span. Example, three spans:
//   span 0  kDecode        row  0       position 41     adapter none
//   span 1  kPrefill       rows 1..8    position 0..7   adapter 3 generation 1
//   span 2  kTrainForward  rows 9..40   position 64..95 adapter 7 (a job's working copy)
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "tandem/adapter.h"
#include "tandem/generation.h"

namespace tandem {

using SequenceId = int64_t;
using JobId = int64_t;
using BlockId = int32_t;

class Tape;  // model/tape.h: what a training sequence's forward leaves for its backward

inline constexpr int32_t kIgnoredLabel = -100;

enum class SpanKind : uint8_t { kPrefill, kDecode, kTrainForward, kEvaluate };

struct Span {  // consecutive rows of one sequence
  SequenceId sequence = 0;
  AdapterRef adapter;  // id + generation; none for the bare base model
  SpanKind kind = SpanKind::kPrefill;
  int first_row = 0, num_rows = 0;  // rows in the packed batch
  int first_position = 0;           // position of the first row in its sequence
  std::span<const BlockId> blocks;  // KV blocks of the whole sequence; borrowed for the step
  Tape* tape = nullptr;             // kTrainForward: borrowed for the step
};

struct TokenWindow {
  int begin = 0, end = 0;  // positions [begin, end)
  int num_rows() const { return end - begin; }
};

// The grain of training's backward: one window of one sequence through one layer. Units of a sequence run layer by
// layer from the last, within a layer from the last window to the first.
struct BackwardUnit {
  JobId job = 0;
  SequenceId sequence = 0;
  int layer = 0;
  TokenWindow window;
  AdapterRef adapter;
  std::span<const BlockId> blocks;
  Tape* tape = nullptr;  // borrowed for the step
};

// One token to draw from the logits of one row.
struct SampleRequest {
  SequenceId sequence = 0;
  int row = 0;  // in the packed batch
  SamplingParams params;
  int index = 0;  // number of the token in its request, from 0
  // Of the sequence, borrowed for the step: prompt and completion before this token, for penalties and bad words (where
  // there are neither, tokens that are still in flight may be missing); ids that may not be drawn now (its end tokens,
  // before min_tokens).
  std::span<const int32_t> history = {};
  int num_prompt_tokens = 0;  // of history
  std::span<const int32_t> banned = {};
  std::shared_ptr<TokenMaskSource> mask = nullptr;  // shared: its thread may outlive the request; null: none
};

// The log probability of a token that is known: prompt logprobs.
struct ScoreRequest {
  SequenceId sequence = 0;
  int row = 0;        // in the packed batch, of the position before the token
  int32_t token = 0;  // in the vocabulary
  int num_top = 0;
};

// Embeddings: what the head would read of some rows, summed up.
struct PoolRequest {
  SequenceId sequence = 0;
  int first_row = 0, num_rows = 0;  // in the packed batch
  // [embedding width], borrowed for the step. Row after row is added to it, so that any split into steps leaves the
  // same bits.
  std::span<double> sum = {};
};

struct Batch {
  std::vector<Span> spans;
  // [num_rows]; ~k (below 0): what samples[k] of the batch before this one draws, which is still in flight.
  std::vector<int32_t> token_ids;
  std::vector<int32_t> labels;  // [num_rows] for kTrainForward and kEvaluate rows, kIgnoredLabel elsewhere
  std::vector<SampleRequest> samples;
  std::vector<ScoreRequest> scores;
  std::vector<PoolRequest> pools;
  std::vector<BackwardUnit> backward;  // in the order they run
  // Backward runs beside the forward, on cores of its own where the backend has lanes, and goes on while the next
  // iteration is made: what it has not done when the forward is through counts as skipped, and may be done when it
  // comes again. False: it runs after the forward, and all of it.
  bool backward_beside = false;

  int num_rows() const { return static_cast<int>(token_ids.size()); }
  bool empty() const { return spans.empty() && backward.empty(); }
};

// What one iteration brought, in the order of the batch's own lists.
struct StepResult {
  std::vector<int32_t> sampled;         // [samples]; negative where none could be drawn: kLogitsNotFinite, ...
  std::vector<TokenLogprobs> logprobs;  // [samples]; empty where nobody asks for any
  std::vector<TokenLogprobs> scores;    // [scores]
  std::vector<double> losses;           // [spans] sum of -log p(label) over the span's labelled rows; 0 for inference
  // What the time that this took says: the forward's and that of the units that ran; the forward's on half of the
  // cores, with backward beside it all the time; or neither.
  enum class Time { kOfAll, kOfForwardBeside, kMixed } time = Time::kOfAll;
  int backward_skipped = 0;  // units at the end of batch.backward that did not run: they are offered again
  absl::Status status;       // an error of the device: everything of the batch is lost, all else here void
};

}  // namespace tandem
