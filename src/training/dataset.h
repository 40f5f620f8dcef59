// A training file as samples ready to run: tokens, and for each row the token that it is to predict.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "tandem/job.h"
#include "tokenizer/chat_template.h"
#include "tokenizer/tokenizer.h"

namespace tandem {

// The rows of one sequence: row p holds token p and predicts token p + 1. Rows after the last learned label are left
// out: they would add nothing to loss or gradients.
struct Sample {
  std::vector<int32_t> tokens;  // [rows]
  std::vector<int32_t> labels;  // [rows] token p + 1 where that is learned, else kIgnoredLabel; the last one is learned
  int num_learned = 0;          // labels that are not ignored, >= 1
  int line = 0;                 // of the file, from 1

  int num_rows() const { return static_cast<int>(tokens.size()); }
};

struct Dataset {
  std::vector<Sample> samples;  // >= 1, in the order of the file
  int64_t num_tokens = 0;       // of all samples after cutting, rows that need not run included
  int64_t num_learned = 0;
  int num_truncated = 0;  // samples cut to max_length
  int max_rows = 0;       // of any sample
};

struct DatasetOptions {
  std::string name;                  // for messages: "train.jsonl"
  std::optional<int32_t> end_token;  // closes prompt + completion and text samples
  LossMask loss_mask = LossMask::kCompletion;
  int max_length = 0;  // tokens; >= 2
};

// Reads JSONL, tokenizes and labels it. Blank lines are skipped. INVALID_ARGUMENT lists the first ten bad lines as
// "NAME:LINE:COLUMN: reason", columns counted in characters, and how many more there are. chat_template may be null.
absl::StatusOr<Dataset> LoadDataset(std::string_view data, const Tokenizer& tokenizer,
                                    const ChatTemplate* chat_template, const DatasetOptions& options);

}  // namespace tandem
