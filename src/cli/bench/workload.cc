#include "cli/bench/workload.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/check.h"
#include "base/file.h"
#include "base/json.h"
#include "base/status.h"

namespace tandem::bench {
namespace {

constexpr int kMaxLength = 1 << 24;

// Printable ASCII as tokens: below 256 every byte-level and byte-fallback vocabulary holds bytes.
constexpr int kFirstId = 33, kLastId = 126;

bool ParsePair(const std::string& text, char separator, double* a, double* b) {
  const std::pair<std::string, std::string> parts = absl::StrSplit(text, absl::MaxSplits(separator, 1));
  return absl::SimpleAtod(parts.first, a) && absl::SimpleAtod(parts.second, b);
}

absl::StatusOr<v1::GenerateRequest> ReadRequest(const std::string& line, int max_tokens) {
  ASSIGN_OR_RETURN(const Json json, ParseJson(line));
  if (!json.is_object()) return absl::InvalidArgumentError(absl::StrCat(DescribeJson(json), ", want an object"));
  v1::GenerateRequest request;
  if (const auto messages = json.find("messages"); messages != json.end()) {
    if (!messages->is_array()) {
      return absl::InvalidArgumentError(absl::StrCat("messages is ", DescribeJson(*messages), ", want an array"));
    }
    for (const Json& message : *messages) {
      if (!message.is_object()) {
        return absl::InvalidArgumentError(absl::StrCat("a message is ", DescribeJson(message), ", want an object"));
      }
      v1::ChatMessage& turn = *request.mutable_chat()->add_messages();
      ASSIGN_OR_RETURN(*turn.mutable_role(), JsonGet<std::string>(message, "role"));
      ASSIGN_OR_RETURN(*turn.mutable_content(), JsonGet<std::string>(message, "content"));
    }
  } else {
    ASSIGN_OR_RETURN(*request.mutable_text(), JsonGet<std::string>(json, "prompt"));
  }
  ASSIGN_OR_RETURN(const int64_t tokens, JsonGet<int64_t>(json, "max_tokens", max_tokens));
  if (tokens < 1 || tokens > kMaxLength) {
    return absl::InvalidArgumentError(absl::StrCat("max_tokens is ", tokens, ", want 1 to ", kMaxLength));
  }
  request.mutable_stopping()->set_max_tokens(static_cast<int>(tokens));
  return request;
}

class TokenDrawer {
 public:
  TokenDrawer(uint64_t seed, double temperature) : random_(seed), temperature_(temperature) {}

  std::mt19937_64& random() { return random_; }
  int Id() { return id_(random_); }

  // A prompt of `prefix` and `own` drawn tokens, to be generated from to its very end.
  v1::GenerateRequest Request(const std::vector<int>& prefix, int own) {
    v1::GenerateRequest request;
    auto& ids = *request.mutable_tokens()->mutable_ids();
    ids.Add(prefix.begin(), prefix.end());
    for (int i = 0; i < own; ++i) ids.Add(Id());
    request.mutable_sampling()->set_temperature(static_cast<float>(temperature_));
    request.mutable_sampling()->set_seed(random_());
    request.mutable_stopping()->set_ignore_eos(true);
    return request;
  }

 private:
  std::mt19937_64 random_;
  std::uniform_int_distribution<int> id_{kFirstId, kLastId};
  const double temperature_;
};

}  // namespace

absl::StatusOr<LengthDistribution> LengthDistribution::Parse(const std::string& text) {
  const std::pair<std::string, std::string> parts = absl::StrSplit(text, absl::MaxSplits(':', 1));
  double a = 0, b = 0;
  const auto in_range = [](double value) { return value >= 1 && value <= kMaxLength; };
  int fixed = 0;
  if (absl::SimpleAtoi(text, &fixed) && in_range(fixed)) return LengthDistribution(text, Kind::kFixed, fixed, 0);
  if (parts.first == "uniform" && ParsePair(parts.second, '-', &a, &b) && in_range(a) && in_range(b) && a <= b) {
    return LengthDistribution(text, Kind::kUniform, std::floor(a), std::floor(b));
  }
  if (parts.first == "normal" && ParsePair(parts.second, ',', &a, &b) && in_range(a) && b >= 0 && b <= kMaxLength) {
    return LengthDistribution(text, Kind::kNormal, a, b);
  }
  if (parts.first == "lognormal" && ParsePair(parts.second, ',', &a, &b) && in_range(a) && b >= 0 && b <= 10) {
    return LengthDistribution(text, Kind::kLognormal, a, b);
  }
  return absl::InvalidArgumentError(absl::StrCat("length is '", text,
                                                 "', want e.g. 128, uniform:16-256, normal:128,32 (mean, deviation) or "
                                                 "lognormal:128,0.8 (median, sigma), from 1 to ",
                                                 kMaxLength));
}

int LengthDistribution::Draw(std::mt19937_64& random) const {
  double length = a_;
  switch (kind_) {
    case Kind::kFixed:
      break;
    case Kind::kUniform:
      length = std::uniform_int_distribution<int>(static_cast<int>(a_), static_cast<int>(b_))(random);
      break;
    case Kind::kNormal:
      if (b_ > 0) length = std::normal_distribution<double>(a_, b_)(random);
      break;
    case Kind::kLognormal:
      if (b_ > 0) length = std::lognormal_distribution<double>(std::log(a_), b_)(random);
      break;
  }
  return static_cast<int>(std::clamp(std::round(length), 1.0, double{kMaxLength}));
}

// With mean 1 / rate = k * theta and variance k * theta^2, the shape k is 1 / cv^2.
Arrivals::Arrivals(double rate, double cv, uint64_t seed)
    : rate_(rate), cv_(cv), random_(seed), gap_(cv > 0 ? 1 / (cv * cv) : 1, cv > 0 ? cv * cv / rate : 1) {
  CHECK(rate > 0 && cv >= 0);
}

absl::Duration Arrivals::Next() {
  at_seconds_ += cv_ > 0 ? gap_(random_) : 1 / rate_;
  return absl::Seconds(at_seconds_);
}

std::vector<v1::GenerateRequest> SyntheticRequests(const SyntheticOptions& options) {
  TokenDrawer draw(options.seed, options.temperature);
  std::vector<int> prefix;
  for (int i = 0; i < options.shared_prefix; ++i) prefix.push_back(draw.Id());
  std::vector<v1::GenerateRequest> requests;
  for (int i = 0; i < options.num_requests; ++i) {
    const int own = options.prompt_tokens.Draw(draw.random());
    v1::GenerateRequest& request = requests.emplace_back(draw.Request(prefix, own));
    request.set_adapter(options.adapter);
    request.mutable_stopping()->set_max_tokens(options.output_tokens.Draw(draw.random()));
  }
  return requests;
}

std::vector<v1::GenerateRequest> TraceRequests(const std::vector<TraceRequest>& trace, double temperature,
                                               uint64_t seed) {
  TokenDrawer draw(seed, temperature);
  std::vector<v1::GenerateRequest> requests;
  for (const TraceRequest& item : trace) {
    v1::GenerateRequest& request = requests.emplace_back(draw.Request({}, item.prompt_tokens));
    request.set_adapter(item.adapter);
    request.mutable_stopping()->set_max_tokens(item.output_tokens);
  }
  return requests;
}

absl::StatusOr<std::vector<v1::GenerateRequest>> ReadRequests(const std::string& path, int max_tokens) {
  ASSIGN_OR_RETURN(const std::string text, ReadFile(path));
  std::vector<v1::GenerateRequest> requests;
  int number = 0;
  for (const auto piece : absl::StrSplit(text, '\n')) {
    ++number;
    const std::string line(absl::StripAsciiWhitespace(piece));
    if (line.empty()) continue;
    absl::StatusOr<v1::GenerateRequest> request = ReadRequest(line, max_tokens);
    if (!request.ok()) return Annotate(request.status(), absl::StrCat(path, ":", number));
    requests.push_back(*std::move(request));
  }
  if (requests.empty()) return absl::InvalidArgumentError(absl::StrCat(path, " holds no request, want at least one"));
  return requests;
}

}  // namespace tandem::bench
