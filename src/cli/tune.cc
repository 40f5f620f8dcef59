// tandem tune and tandem jobs watch: submit a job, and draw how it goes.
#include <unistd.h>

#include <utility>
#include <vector>

#include "absl/time/clock.h"
#include "base/file.h"
#include "base/status.h"
#include "cli/commands.h"
#include "cli/interrupt.h"
#include "cli/job_view.h"
#include "cli/output.h"

namespace tandem {
namespace {

constexpr absl::Duration kRedrawEvery = absl::Milliseconds(50);

// Draws a JobView: in place on a terminal, else line by line.
class JobDrawing {
 public:
  JobDrawing(const v1::Job& job, const Terminal& terminal) : view_(job), terminal_(terminal) {}

  absl::Status Add(const v1::JobEvent& event) {
    view_.Add(event);
    const std::string notice = view_.Notice(terminal_, event);
    if (!terminal_.interactive) {
      const std::string line = notice.empty() ? view_.Plain(event) : notice;
      return line.empty() ? absl::OkStatus() : Print(line + "\n");
    }
    if (!notice.empty()) {
      RETURN_IF_ERROR(Print(absl::StrCat(Erase(), notice, "\x1b[K\n")));
      return Draw();
    }
    const absl::Time now = absl::Now();
    if (now - drawn_ < kRedrawEvery) return absl::OkStatus();
    drawn_ = now;
    return Draw();
  }

  // The last picture, which stays.
  absl::Status Finish() { return terminal_.interactive ? Draw() : absl::OkStatus(); }

 private:
  // Back to the first line of the picture.
  std::string Erase() {
    const int lines = std::exchange(lines_, 0);
    return lines > 0 ? absl::StrCat("\x1b[", lines, "A\r\x1b[J") : "";
  }

  absl::Status Draw() {
    std::string text = Erase();
    for (const std::string& line : view_.Live(terminal_)) {
      absl::StrAppend(&text, line, "\x1b[K\n");
      ++lines_;
    }
    return Print(text);
  }

  JobView view_;
  const Terminal terminal_;
  absl::Time drawn_ = absl::InfinitePast();
  int lines_ = 0;  // of the picture on the screen
};

absl::Status PrintDetached(const Session& session, const std::string& id) {
  if (session.json) return absl::OkStatus();
  return Print(absl::StrCat("\ndetached: the job goes on\n  watch it   tandem jobs watch ", id,
                            "\n  cancel it  tandem jobs cancel ", id, "\n"));
}

absl::StatusCode CodeOfName(const std::string& name) {
  for (int number = 1; number <= static_cast<int>(absl::StatusCode::kUnauthenticated); ++number) {
    const auto code = static_cast<absl::StatusCode>(number);
    if (absl::StatusCodeToString(code) == name) return code;
  }
  return absl::StatusCode::kUnknown;
}

// What became of the job, as text or as this command's own failure.
absl::Status PrintOutcome(const Session& session, const v1::Job& job) {
  if (session.json) RETURN_IF_ERROR(PrintJson(job, JsonLayout::kLine));
  if (job.state() == v1::JOB_STATE_FAILED) {
    return absl::Status(CodeOfName(job.error().status()),
                        absl::StrCat("job ", job.id(), " failed: ", job.error().message()));
  }
  if (job.state() == v1::JOB_STATE_CANCELLED) {
    return absl::CancelledError(absl::StrCat("job ", job.id(), " was cancelled"));
  }
  if (session.json) return absl::OkStatus();
  return Print(absl::StrCat(Paint(session.out, Style::kBold, job.adapter()), " generation ", job.adapter_generation(),
                            " is ready: tandem generate PROMPT --adapter ", job.adapter(), "\n"));
}

absl::Status Watch(const Session& session, Client& client, const v1::Job& job) {
  JobDrawing drawing(job, session.out);
  absl::Status printed;
  absl::Status watched;
  {
    const InterruptHandler on_interrupt([&client] { client.StopWatching(); });
    watched = client.WatchJob(job.id(), [&](const v1::JobEvent& event) {
      printed.Update(session.json ? PrintJson(event, JsonLayout::kLine) : drawing.Add(event));
    });
  }
  if (!session.json) printed.Update(drawing.Finish());
  RETURN_IF_ERROR(printed);
  if (absl::IsCancelled(watched)) return PrintDetached(session, job.id());
  RETURN_IF_ERROR(watched);
  ASSIGN_OR_RETURN(const v1::Job ended, client.GetJob(job.id()));
  return PrintOutcome(session, ended);
}

absl::Status PrintSubmitted(const Session& session, const v1::Job& job) {
  if (session.json) return PrintJson(job, JsonLayout::kLine);
  std::string text = absl::StrCat("job ", Paint(session.out, Style::kBold, job.id()), " trains ", job.adapter(), ": ",
                                  job.num_samples(), " samples, ", job.dataset_tokens(), " tokens, ",
                                  job.dataset_learned_tokens(), " of them learned, ", job.total_steps(), " steps\n");
  if (job.num_truncated_samples() > 0) {
    absl::StrAppend(&text, Paint(session.out, Style::kYellow, "note"), ": ", job.num_truncated_samples(),
                    " samples are longer than --max-length and were cut\n");
  }
  return Print(text);
}

}  // namespace

absl::Status RunTune(const Session& session, const TuneOptions& options) {
  v1::CreateJobRequest request = options.request;
  if (options.data_on_daemon) {
    request.mutable_data()->set_path(options.data);
  } else {
    ASSIGN_OR_RETURN(*request.mutable_data()->mutable_jsonl(), ReadFile(options.data));
    request.mutable_data()->set_name(options.data.substr(options.data.rfind('/') + 1));
  }
  if (options.watch) HoldInterrupts();
  ASSIGN_OR_RETURN(const std::unique_ptr<Client> client, Client::Connect(session.daemon));
  ASSIGN_OR_RETURN(const v1::Job job, client->CreateJob(request));
  RETURN_IF_ERROR(PrintSubmitted(session, job));
  if (options.watch) return Watch(session, *client, job);
  if (session.json) return absl::OkStatus();
  return Print(
      absl::StrCat("  watch it   tandem jobs watch ", job.id(), "\n  cancel it  tandem jobs cancel ", job.id(), "\n"));
}

absl::Status RunJobsWatch(const Session& session, const std::string& id) {
  HoldInterrupts();
  ASSIGN_OR_RETURN(const std::unique_ptr<Client> client, Client::Connect(session.daemon));
  ASSIGN_OR_RETURN(const v1::Job job, client->GetJob(id));
  return Watch(session, *client, job);
}

}  // namespace tandem
