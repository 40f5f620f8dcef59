// tandem generate: the text as it comes, then one line about it on stderr.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <optional>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "base/status.h"
#include "cli/commands.h"
#include "cli/output.h"

namespace tandem {
namespace {

std::string ReasonName(v1::FinishReason reason) {
  const std::string name = v1::FinishReason_Name(reason);
  constexpr std::string_view kPrefix = "FINISH_REASON_";
  return name.starts_with(kPrefix) ? absl::AsciiStrToLower(name.substr(kPrefix.size())) : "unknown";
}

// How fast tokens came. The first message waited for a place and for the prompt: where enough follow, they alone count.
class Speedometer {
 public:
  void Add(const v1::GenerateResponse& response, absl::Time now) {
    if (!first_.has_value()) {
      first_ = now;
      first_tokens_ = response.usage().completion_tokens();
    }
    last_ = now;
    tokens_ = response.usage().completion_tokens();
  }

  double TokensPerSecond() const {
    constexpr int kEnough = 8;
    const bool enough = tokens_ - first_tokens_ >= kEnough && last_ > *first_;
    const absl::Duration time = enough ? last_ - *first_ : last_ - start_;
    return (enough ? tokens_ - first_tokens_ : tokens_) / std::max(1e-6, absl::ToDoubleSeconds(time));
  }

 private:
  const absl::Time start_ = absl::Now();
  std::optional<absl::Time> first_;
  absl::Time last_ = start_;
  int first_tokens_ = 0, tokens_ = 0;
};

// "  ' fox'  62.3 %   ' cat' 11.0 %, ' dog' 9.8 %": one token and its alternatives.
std::string LogprobLine(const Terminal& terminal, const v1::TokenLogprobs& logprobs) {
  const auto entry = [](const v1::TokenLogprob& token) {
    return std::make_pair("'" + absl::CEscape(token.bytes()) + "'", 100 * std::exp(token.logprob()));
  };
  const auto [text, percent] = entry(logprobs.token());
  const Style style = percent >= 50 ? Style::kGreen : percent >= 10 ? Style::kYellow : Style::kRed;
  std::string line = Paint(terminal, style, absl::StrFormat("%-16s %6.2f %%", text, percent));
  std::string separator = "   ";
  for (const v1::TokenLogprob& top : logprobs.top()) {
    const auto [other, share] = entry(top);
    line += absl::StrFormat("%s%s %.2f %%", separator, other, share);
    separator = ", ";
  }
  return line + "\n";
}

std::string Shown(const Session& session, const v1::GenerateRequest& request, const v1::GenerateResponse& response) {
  if (!request.has_logprobs()) return session.out.interactive ? Harmless(response.text()) : response.text();
  std::string lines;
  for (const v1::TokenLogprobs& logprobs : response.logprobs()) lines += LogprobLine(session.out, logprobs);
  return lines;
}

}  // namespace

absl::Status RunGenerate(const Session& session, const v1::GenerateRequest& request) {
  ASSIGN_OR_RETURN(const std::unique_ptr<Client> client, Client::Connect(session.daemon));
  Speedometer speed;
  bool any = false;
  v1::GenerateResponse last;
  absl::Status printed;
  const absl::Status status = client->Generate(request, [&](const v1::GenerateResponse& response) {
    speed.Add(response, absl::Now());
    any = true;
    if (session.json) {
      printed.Update(PrintJson(response, JsonLayout::kLine));
    } else {
      printed.Update(Print(Shown(session, request, response)));
    }
    last = response;
  });
  if (!session.json && any && !request.has_logprobs()) printed.Update(Print("\n"));
  RETURN_IF_ERROR(status);
  RETURN_IF_ERROR(printed);
  const std::string summary = absl::StrFormat("%d tokens, %.1f tokens/s, %s, seed %d", last.usage().completion_tokens(),
                                              speed.TokensPerSecond(), ReasonName(last.finish_reason()), last.seed());
  std::fprintf(stderr, "%s\n", Paint(DetectTerminal(2), Style::kDim, summary).c_str());
  return absl::OkStatus();
}

}  // namespace tandem
