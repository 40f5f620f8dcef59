#include "base/trace.h"

#include <algorithm>
#include <string_view>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "base/json.h"
#include "base/status.h"

namespace tandem {
namespace {

absl::StatusOr<TraceRequest> FromCsv(const std::string& line) {
  const std::vector<std::string> fields = absl::StrSplit(line, ',');
  if (fields.size() < 3 || fields.size() > 4) {
    return absl::InvalidArgumentError(
        absl::StrCat(fields.size(), " fields, want arrival_seconds,prompt_tokens,output_tokens[,adapter]"));
  }
  TraceRequest request;
  double arrival = 0;
  if (!absl::SimpleAtod(fields[0], &arrival)) {
    return absl::InvalidArgumentError(absl::StrCat("arrival is '", fields[0], "', want seconds"));
  }
  request.arrival = absl::Seconds(arrival);
  if (!absl::SimpleAtoi(fields[1], &request.prompt_tokens) || !absl::SimpleAtoi(fields[2], &request.output_tokens)) {
    return absl::InvalidArgumentError(
        absl::StrCat("lengths are '", fields[1], "' and '", fields[2], "', want integers"));
  }
  if (fields.size() == 4) request.adapter = std::string(absl::StripAsciiWhitespace(fields[3]));
  return request;
}

absl::StatusOr<TraceRequest> FromJson(const std::string& line) {
  ASSIGN_OR_RETURN(const Json json, ParseJson(line));
  TraceRequest request;
  ASSIGN_OR_RETURN(const double arrival, JsonGet<double>(json, "arrival"));
  ASSIGN_OR_RETURN(const int64_t prompt, JsonGet<int64_t>(json, "prompt_tokens"));
  ASSIGN_OR_RETURN(const int64_t output, JsonGet<int64_t>(json, "output_tokens"));
  ASSIGN_OR_RETURN(request.adapter, JsonGet<std::string>(json, "adapter", ""));
  request.arrival = absl::Seconds(arrival);
  request.prompt_tokens = static_cast<int>(std::clamp<int64_t>(prompt, -1, 1 << 30));
  request.output_tokens = static_cast<int>(std::clamp<int64_t>(output, -1, 1 << 30));
  return request;
}

absl::Status Check(const TraceRequest& request, absl::Duration last) {
  // So is what is no number: absl::Seconds makes an infinity of it.
  if (absl::AbsDuration(request.arrival) == absl::InfiniteDuration()) {
    return absl::InvalidArgumentError("arrival is not finite, want seconds");
  }
  if (request.prompt_tokens < 1 || request.output_tokens < 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("lengths are ", request.prompt_tokens, " and ", request.output_tokens, ", want at least 1"));
  }
  if (request.arrival < last) {
    return absl::InvalidArgumentError(absl::StrCat("arrival is ", absl::ToDoubleSeconds(request.arrival),
                                                   ", want at least ", absl::ToDoubleSeconds(last),
                                                   ", that of the request above it"));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::vector<TraceRequest>> ParseTrace(const std::string& name, const std::string& text) {
  std::vector<TraceRequest> requests;
  absl::Duration last = absl::ZeroDuration();
  int number = 0;
  const std::vector<std::string> lines = absl::StrSplit(text, '\n');
  for (const std::string& raw : lines) {
    const std::string line(absl::StripAsciiWhitespace(raw));
    ++number;
    if (line.empty() && number == static_cast<int>(lines.size())) break;
    if (number == 1 && line.starts_with("arrival")) continue;
    absl::StatusOr<TraceRequest> request = line.starts_with("{") ? FromJson(line) : FromCsv(line);
    absl::Status status = request.status();
    if (status.ok()) status = Check(*request, last);
    if (!status.ok()) return Annotate(status, absl::StrCat(name, ":", number));
    last = request->arrival;
    requests.push_back(*std::move(request));
  }
  if (requests.empty()) return absl::InvalidArgumentError(absl::StrCat(name, " has no request"));
  return requests;
}

}  // namespace tandem
