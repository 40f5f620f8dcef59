#include "training/dataset.h"

#include <algorithm>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/status.h"
#include "tandem/batch.h"
#include "training/sample_encoder.h"
#include "training/sample_parser.h"

namespace tandem {
namespace {

constexpr int kMaxReportedLines = 10;
// Of the whole report: gRPC carries a status in 8 KiB of metadata, and writes three bytes for each that is not ASCII.
constexpr size_t kMaxReportBytes = 2500;
constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";

bool IsBlank(std::string_view line) {
  return std::all_of(line.begin(), line.end(), absl::ascii_isspace);
}

// Shifts tokens to labels and leaves out the rows that predict nothing learned.
Sample LabelRows(const EncodedSample& encoded, size_t num_tokens) {
  Sample sample;
  size_t num_rows = 0;
  for (size_t i = 1; i < num_tokens; ++i) {
    if (!encoded.learned[i]) continue;
    num_rows = i;
    ++sample.num_learned;
  }
  sample.tokens.assign(encoded.tokens.begin(), encoded.tokens.begin() + num_rows);
  sample.labels.resize(num_rows, kIgnoredLabel);
  for (size_t p = 0; p < num_rows; ++p) {
    if (encoded.learned[p + 1]) sample.labels[p] = encoded.tokens[p + 1];
  }
  return sample;
}

class Loader {
 public:
  Loader(const SampleEncoder& encoder, const DatasetOptions& options) : encoder_(encoder), options_(options) {}

  void AddLine(std::string_view line, int number) {
    const absl::Status status = TryLine(line, number);
    if (status.ok()) return;
    ++num_bad_;
    if (num_reported_ == kMaxReportedLines || report_.size() > kMaxReportBytes) return;
    ++num_reported_;
    absl::StrAppend(&report_, report_.empty() ? "" : "\n", options_.name, ":", number, ":", status.message());
  }

  absl::StatusOr<Dataset> Finish() && {
    if (num_bad_ > num_reported_) absl::StrAppend(&report_, "\nand ", num_bad_ - num_reported_, " more bad lines");
    if (num_bad_ > 0) return absl::InvalidArgumentError(report_);
    if (dataset_.samples.empty()) return absl::InvalidArgumentError(absl::StrCat(options_.name, ": no samples"));
    return std::move(dataset_);
  }

 private:
  absl::Status TryLine(std::string_view line, int number) {
    ASSIGN_OR_RETURN(const ParsedSample parsed, ParseSample(line));
    const absl::StatusOr<EncodedSample> encoded = encoder_.Encode(parsed);
    if (!encoded.ok()) return LineErrorAt(line, 0, std::string(encoded.status().message()));

    const size_t num_tokens = std::min<size_t>(encoded->tokens.size(), options_.max_length);
    Sample sample = LabelRows(*encoded, num_tokens);
    if (sample.num_learned == 0) return LineErrorAt(line, 0, NothingLearned(*encoded));
    sample.line = number;
    dataset_.num_tokens += static_cast<int64_t>(num_tokens);
    dataset_.num_learned += sample.num_learned;
    dataset_.num_truncated += num_tokens < encoded->tokens.size();
    dataset_.max_rows = std::max(dataset_.max_rows, sample.num_rows());
    dataset_.samples.push_back(std::move(sample));
    return absl::OkStatus();
  }

  std::string NothingLearned(const EncodedSample& encoded) const {
    const size_t size = encoded.tokens.size();
    if (size > options_.max_length && std::count(encoded.learned.begin(), encoded.learned.end(), true) > 0) {
      return absl::StrCat("no learned token is left of ", size, " after cutting at max_length ", options_.max_length);
    }
    if (size < 2) return absl::StrCat("nothing to learn: ", size, " token(s), want at least 2");
    return absl::StrCat("nothing to learn: none of ", size, " tokens is the assistant's");
  }

  const SampleEncoder& encoder_;
  const DatasetOptions& options_;
  Dataset dataset_;
  int num_bad_ = 0, num_reported_ = 0;
  std::string report_;
};

}  // namespace

absl::StatusOr<Dataset> LoadDataset(std::string_view data, const Tokenizer& tokenizer,
                                    const ChatTemplate* chat_template, const DatasetOptions& options) {
  CHECK_GE(options.max_length, 2);
  const SampleEncoder encoder(&tokenizer, chat_template, options.end_token, options.loss_mask);
  Loader loader(encoder, options);
  if (data.starts_with(kByteOrderMark)) data.remove_prefix(kByteOrderMark.size());
  for (int number = 1; !data.empty(); ++number) {
    const size_t newline = data.find('\n');
    const std::string_view line = data.substr(0, newline);
    if (!IsBlank(line)) loader.AddLine(line, number);
    data.remove_prefix(newline == data.npos ? data.size() : newline + 1);
  }
  return std::move(loader).Finish();
}

}  // namespace tandem
