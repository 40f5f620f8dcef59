// tandem generate: the text as it comes, then one line about it on stderr.
#include <cstdio>
#include <optional>

#include "absl/strings/ascii.h"
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

// Tokens after the first over the time they took: the first one's waiting and prefill are not the generation's speed.
std::string Summary(const v1::GenerateResponse& last, absl::Duration after_first, absl::Duration whole) {
  const int tokens = last.usage().completion_tokens();
  const double rate = tokens > 1 && after_first > absl::ZeroDuration()
                          ? (tokens - 1) / absl::ToDoubleSeconds(after_first)
                          : tokens / absl::ToDoubleSeconds(whole);
  return absl::StrFormat("%d tokens, %.1f tokens/s, %s, seed %d", tokens, rate, ReasonName(last.finish_reason()),
                         last.seed());
}

}  // namespace

absl::Status RunGenerate(const Session& session, const v1::GenerateRequest& request) {
  ASSIGN_OR_RETURN(const std::unique_ptr<Client> client, Client::Connect(session.server));
  const absl::Time start = absl::Now();
  std::optional<absl::Time> first;
  v1::GenerateResponse last;
  absl::Status printed;
  const absl::Status status = client->Generate(request, [&](const v1::GenerateResponse& response) {
    if (!first.has_value()) first = absl::Now();
    if (session.json) {
      printed.Update(PrintJson(response, JsonLayout::kLine));
    } else {
      printed.Update(Print(session.out.interactive ? Harmless(response.text()) : response.text()));
    }
    last = response;
  });
  if (!session.json && first.has_value()) printed.Update(Print("\n"));
  RETURN_IF_ERROR(status);
  RETURN_IF_ERROR(printed);
  const absl::Time end = absl::Now();
  std::fprintf(stderr, "%s\n",
               Paint(DetectTerminal(2), Style::kDim, Summary(last, end - first.value_or(end), end - start)).c_str());
  return absl::OkStatus();
}

}  // namespace tandem
