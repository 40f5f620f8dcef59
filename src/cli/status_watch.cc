// tandem status --watch: the daemon's status, drawn in place until Ctrl-C.
#include <memory>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "base/status.h"
#include "cli/commands.h"
#include "cli/interrupt.h"
#include "cli/output.h"
#include "cli/status_view.h"

namespace tandem {

absl::Status RunStatusWatch(const Session& session) {
  HoldInterrupts();
  constexpr absl::Duration kEvery = absl::Milliseconds(500);
  ASSIGN_OR_RETURN(const std::unique_ptr<Client> client, Client::Connect(session.daemon));
  absl::Notification interrupted;
  const InterruptHandler on_interrupt([&interrupted] { interrupted.Notify(); });
  StatusView view;
  size_t drawn = 0;
  do {
    ASSIGN_OR_RETURN(const v1::DaemonStatus status, client->GetStatus());
    if (session.json) {
      RETURN_IF_ERROR(PrintJson(status, JsonLayout::kLine));
      continue;
    }
    v1::ListJobsResponse jobs;
    if (status.has_model()) {
      // It may have been unloaded since: then there are no jobs either.
      absl::StatusOr<v1::ListJobsResponse> listed = client->ListJobs();
      if (listed.ok()) jobs = *std::move(listed);
    }
    view.Add(status, jobs);
    std::string text;
    if (session.out.interactive && drawn > 0) absl::StrAppend(&text, "\x1b[", drawn, "A\r\x1b[J");
    const std::vector<std::string> lines = view.Live(session.out);
    for (const std::string& line : lines) absl::StrAppend(&text, line, "\n");
    if (!session.out.interactive) absl::StrAppend(&text, "\n");
    drawn = lines.size();
    RETURN_IF_ERROR(Print(text));
  } while (!interrupted.WaitForNotificationWithTimeout(kEvery));
  return absl::OkStatus();
}

}  // namespace tandem
