// tandem generate: the text as it comes, then one line about it on stderr.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <optional>
#include <utility>
#include <vector>

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

// "  ' fox'  62.3 %   ' cat' 11.0 %, ' dog' 9.8 %": one token and its alternatives. A prompt's first token has neither.
std::string LogprobLine(const Terminal& terminal, const v1::TokenLogprobs& logprobs) {
  const auto entry = [](const v1::TokenLogprob& token) {
    return std::make_pair("'" + absl::CEscape(token.bytes()) + "'", 100 * std::exp(token.logprob()));
  };
  const auto [text, percent] = entry(logprobs.token());
  if (!logprobs.token().has_logprob()) return text + "\n";
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

// What is printed of a request: one completion as it comes; several one after the other at the end, for they come
// mixed.
class Printout {
  static constexpr int kMostCompletions = 128;  // a daemon refuses more

 public:
  Printout(const Session& session, const v1::GenerateRequest& request)
      : session_(session), request_(request), completions_(std::clamp(request.sampling().n(), 1, kMostCompletions)) {}

  absl::Status Add(const v1::GenerateResponse& response) {
    if (session_.json) return PrintJson(response, JsonLayout::kLine);
    RETURN_IF_ERROR(AddPrompt(response));
    if (completions_.size() == 1) return Print(Shown(response));
    if (response.index() < 0 || static_cast<size_t>(response.index()) >= completions_.size()) return absl::OkStatus();
    Completion& completion = completions_[response.index()];
    completion.shown += Shown(response);
    completion.tokens += response.token_ids_size();
    completion.last = response;
    return absl::OkStatus();
  }

  absl::Status End() const {
    if (session_.json) return absl::OkStatus();
    const std::string line_end = request_.has_logprobs() ? "" : "\n";
    if (completions_.size() == 1) return Print(line_end);
    for (size_t i = 0; i < completions_.size(); ++i) {
      const Completion& completion = completions_[i];
      const std::string title =
          absl::StrFormat("--- %d of %d: %d tokens, %s, seed %d", i + 1, completions_.size(), completion.tokens,
                          ReasonName(completion.last.finish_reason()), completion.last.seed());
      RETURN_IF_ERROR(Print(Paint(session_.out, Style::kDim, title) + "\n" + completion.shown + line_end));
    }
    return absl::OkStatus();
  }

 private:
  struct Completion {
    std::string shown;
    int tokens = 0;
    v1::GenerateResponse last;
  };

  absl::Status AddPrompt(const v1::GenerateResponse& response) {
    std::string lines;
    for (const v1::TokenLogprobs& logprobs : response.prompt_logprobs()) lines += LogprobLine(session_.out, logprobs);
    prompt_shown_ = prompt_shown_ || !lines.empty();
    // The completion begins with the first message that has tokens.
    if (prompt_shown_ && !separated_ && response.token_ids_size() > 0) {
      lines += Paint(session_.out, Style::kDim, "--- the prompt ends here") + "\n";
      separated_ = true;
    }
    return lines.empty() ? absl::OkStatus() : Print(lines);
  }

  std::string Shown(const v1::GenerateResponse& response) const {
    if (!request_.has_logprobs()) return session_.out.interactive ? Harmless(response.text()) : response.text();
    std::string lines;
    for (const v1::TokenLogprobs& logprobs : response.logprobs()) lines += LogprobLine(session_.out, logprobs);
    return lines;
  }

  const Session& session_;
  const v1::GenerateRequest& request_;
  std::vector<Completion> completions_;
  bool prompt_shown_ = false, separated_ = false;
};

std::string Summary(const v1::GenerateRequest& request, const v1::GenerateResponse& last, double tokens_per_second) {
  const v1::Usage& usage = last.usage();
  std::string text = absl::StrFormat("%d tokens, %.1f tokens/s", usage.completion_tokens(), tokens_per_second);
  if (request.sampling().n() <= 1) {
    text += absl::StrFormat(", %s, seed %d", ReasonName(last.finish_reason()), last.seed());
  }
  if (usage.drafted_tokens() > 0) {
    text += absl::StrFormat(", %d of %d guesses right", usage.accepted_tokens(), usage.drafted_tokens());
  }
  return text;
}

}  // namespace

absl::Status RunGenerate(const Session& session, const v1::GenerateRequest& request) {
  ASSIGN_OR_RETURN(const std::unique_ptr<Client> client, Client::Connect(session.daemon));
  Speedometer speed;
  Printout printout(session, request);
  bool any = false;
  v1::GenerateResponse last;
  absl::Status printed;
  const absl::Status status = client->Generate(request, [&](const v1::GenerateResponse& response) {
    speed.Add(response, absl::Now());
    any = true;
    printed.Update(printout.Add(response));
    last = response;
  });
  if (any) printed.Update(printout.End());
  RETURN_IF_ERROR(status);
  RETURN_IF_ERROR(printed);
  const std::string summary = Summary(request, last, speed.TokensPerSecond());
  std::fprintf(stderr, "%s\n", Paint(DetectTerminal(2), Style::kDim, summary).c_str());
  return absl::OkStatus();
}

}  // namespace tandem
