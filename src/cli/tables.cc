// tandem jobs, adapters, status: what there is, in tables.
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "base/status.h"
#include "cli/commands.h"
#include "cli/format.h"
#include "cli/job_view.h"
#include "cli/output.h"
#include "cli/status_view.h"

namespace tandem {
namespace {

using Fields = std::vector<std::pair<std::string, std::string>>;

std::string Steps(const v1::Job& job) {
  return absl::StrCat(job.step(), "/", job.total_steps());
}
std::string Loss(const v1::Job& job) {
  return job.step() > 0 ? absl::StrFormat("%.4f", job.loss()) : "-";
}

std::string LocalTime(const google::protobuf::Timestamp& time) {
  return absl::FormatTime("%Y-%m-%d %H:%M:%S", FromProto(time), absl::LocalTimeZone());
}

std::string JobsTable(const Terminal& terminal, const v1::ListJobsResponse& response) {
  Table table({{"JOB"},
               {"ADAPTER"},
               {"STATE"},
               {"STEP", Align::kRight},
               {"LOSS", Align::kRight},
               {"TOKENS/S", Align::kRight},
               {"AGE", Align::kRight}});
  for (const v1::Job& job : response.jobs()) {
    const bool running = job.state() == v1::JOB_STATE_RUNNING;
    table.AddRow({job.id(), job.adapter(), PaintedState(terminal, job.state()), Steps(job), Loss(job),
                  running ? FormatCount(job.tokens_per_second()) : "-",
                  FormatAge(FromProto(job.created()), absl::Now())});
  }
  return table.Render(terminal);
}

Fields JobFields(const Terminal& terminal, const v1::Job& job) {
  Fields fields = {{"job", job.id()}, {"adapter", job.adapter()}, {"state", PaintedState(terminal, job.state())}};
  if (job.has_error())
    fields.emplace_back("error", absl::StrCat(job.error().message(), " (", job.error().status(), ")"));
  fields.emplace_back("step", absl::StrFormat("%s, epoch %.2f", Steps(job), job.epoch()));
  fields.emplace_back("loss", Loss(job));
  fields.emplace_back("trained", absl::StrCat(FormatCount(job.trained_tokens()), " tokens, ",
                                              FormatCount(job.tokens_per_second()), " tokens/s"));
  fields.emplace_back(
      "data", absl::StrCat(job.num_samples(), " samples (", job.num_truncated_samples(), " cut), ",
                           job.dataset_tokens(), " tokens, ", job.dataset_learned_tokens(), " of them learned"));
  fields.emplace_back("published", job.adapter_generation() > 0 ? absl::StrCat("generation ", job.adapter_generation())
                                                                : "nothing yet");
  if (job.has_created()) fields.emplace_back("created", LocalTime(job.created()));
  if (job.has_started()) fields.emplace_back("started", LocalTime(job.started()));
  if (job.has_finished()) fields.emplace_back("finished", LocalTime(job.finished()));
  return fields;
}

std::string AdaptersTable(const Terminal& terminal, const v1::ListAdaptersResponse& response) {
  Table table({{"ADAPTER"},
               {"GENERATION", Align::kRight},
               {"METHOD"},
               {"RANK", Align::kRight},
               {"ALPHA", Align::kRight},
               {"PARAMETERS", Align::kRight},
               {"AGE", Align::kRight},
               {"FROM"},
               {"MODULES"}});
  for (const v1::Adapter& adapter : response.adapters()) {
    table.AddRow({adapter.name(), absl::StrCat(adapter.generation()), adapter.method(),
                  adapter.rank() > 0 ? absl::StrCat(adapter.rank()) : "-",
                  adapter.alpha() > 0 ? FormatNumber(adapter.alpha()) : "-", FormatCount(adapter.num_parameters()),
                  FormatAge(FromProto(adapter.created()), absl::Now()),
                  adapter.job_id().empty() ? adapter.path() : adapter.job_id(),
                  absl::StrJoin(adapter.target_modules(), ",")});
  }
  return table.Render(terminal);
}

// Of all prompt tokens, how many were found in the prefix cache.
std::string CacheFields(const v1::DaemonStatus& status) {
  const double cached = static_cast<double>(status.inference().cached_prompt_tokens());
  const double prompts = cached + static_cast<double>(status.inference().prompt_tokens());
  return absl::StrFormat("%d blocks cached, %.1f %% of prompt tokens found, %d preemptions",
                         status.kv().blocks_cached(), prompts > 0 ? 100 * cached / prompts : 0.0,
                         status.inference().preemptions());
}

// Of all guesses of prompt lookup, how many were right.
std::string SpeculationText(const v1::InferenceStatus& inference) {
  if (inference.drafted_tokens() == 0) return "no token was guessed";
  return absl::StrFormat("%d of %d guessed tokens were right", inference.accepted_tokens(), inference.drafted_tokens());
}

std::pair<std::string, std::string> DaemonField(const Terminal& terminal, const std::string& server,
                                                const v1::DaemonStatus& status) {
  const std::string state = status.draining()    ? Paint(terminal, Style::kYellow, "draining")
                            : status.has_model() ? Paint(terminal, Style::kGreen, "serving")
                                                 : Paint(terminal, Style::kYellow, "no model serves");
  return {"tandemd", absl::StrCat(status.version(), " at ", server, ", ", state, ", up ",
                                  FormatAge(FromProto(status.started()), absl::Now()))};
}

Fields StatusFields(const Terminal& terminal, const std::string& server, const v1::DaemonStatus& status) {
  const v1::ModelStatus& model = status.model();
  const v1::KvStatus& kv = status.kv();
  return {
      DaemonField(terminal, server, status),
      {"model", absl::StrCat(model.name(), ", ", FormatCount(model.num_parameters()), " parameters, ",
                             model.weight_dtype(), ", context ", model.max_context(), " tokens")},
      {"backend", model.backend()},
      {"inference",
       absl::StrCat(status.inference().running_requests(), " running, ", status.inference().waiting_requests(),
                    " waiting, ", FormatCount(status.inference().tokens_per_second()), " tokens/s, ",
                    FormatCount(status.inference().generated_tokens()), " tokens so far")},
      {"speculation", SpeculationText(status.inference())},
      {"training", absl::StrCat(status.training().running_jobs(), " running, ", status.training().queued_jobs(),
                                " queued, ", FormatCount(status.training().tokens_per_second()), " tokens/s, ",
                                FormatCount(status.training().trained_tokens()), " tokens so far, ",
                                status.training().preemptions(), " samples gave their KV blocks to requests")},
      {"KV cache", absl::StrCat(kv.blocks_used(), " of ", kv.blocks_total(), " blocks of ", kv.block_size(),
                                " tokens, ", CacheFields(status))},
      {"steps", absl::StrFormat("%d, the last one %.2f ms", status.steps(), status.last_step_ms())},
      {"scheduler", absl::StrCat(status.scheduler().policy(), "; last iteration ", IterationTime(status.scheduler()))},
      {"targets", SloText(status.scheduler())},
  };
}

}  // namespace

absl::Status RunJobsList(const Session& session) {
  ASSIGN_OR_RETURN(const std::unique_ptr<Client> client, Client::Connect(session.daemon));
  ASSIGN_OR_RETURN(const v1::ListJobsResponse response, client->ListJobs());
  if (session.json) return PrintJson(response, JsonLayout::kDocument);
  if (response.jobs().empty()) return Print("no jobs yet: tandem tune DATA.jsonl --as NAME\n");
  return Print(JobsTable(session.out, response));
}

absl::Status RunJobsShow(const Session& session, const std::string& id) {
  ASSIGN_OR_RETURN(const std::unique_ptr<Client> client, Client::Connect(session.daemon));
  ASSIGN_OR_RETURN(const v1::Job job, client->GetJob(id));
  if (session.json) return PrintJson(job, JsonLayout::kDocument);
  return Print(RenderFields(session.out, JobFields(session.out, job)));
}

absl::Status RunJobsCancel(const Session& session, const std::string& id) {
  ASSIGN_OR_RETURN(const std::unique_ptr<Client> client, Client::Connect(session.daemon));
  ASSIGN_OR_RETURN(const v1::Job job, client->CancelJob(id));
  if (session.json) return PrintJson(job, JsonLayout::kDocument);
  return Print(absl::StrCat("job ", job.id(), " is ", PaintedState(session.out, job.state()), "\n"));
}

absl::Status RunAdaptersList(const Session& session) {
  ASSIGN_OR_RETURN(const std::unique_ptr<Client> client, Client::Connect(session.daemon));
  ASSIGN_OR_RETURN(const v1::ListAdaptersResponse response, client->ListAdapters());
  if (session.json) return PrintJson(response, JsonLayout::kDocument);
  if (response.adapters().empty()) return Print("no adapters yet: tandem tune, or tandem adapters load NAME PATH\n");
  return Print(AdaptersTable(session.out, response));
}

absl::Status RunAdaptersLoad(const Session& session, const std::string& name, const std::string& path) {
  ASSIGN_OR_RETURN(const std::unique_ptr<Client> client, Client::Connect(session.daemon));
  ASSIGN_OR_RETURN(const v1::Adapter adapter, client->LoadAdapter(name, path));
  if (session.json) return PrintJson(adapter, JsonLayout::kDocument);
  return Print(absl::StrCat("loaded ", adapter.name(), ", generation ", adapter.generation(), "\n"));
}

absl::Status RunAdaptersUnload(const Session& session, const std::string& name) {
  ASSIGN_OR_RETURN(const std::unique_ptr<Client> client, Client::Connect(session.daemon));
  RETURN_IF_ERROR(client->UnloadAdapter(name));
  if (session.json) return PrintJson(v1::UnloadAdapterResponse(), JsonLayout::kDocument);
  return Print(absl::StrCat("unloaded ", name, "\n"));
}

absl::Status RunStatus(const Session& session) {
  ASSIGN_OR_RETURN(const std::unique_ptr<Client> client, Client::Connect(session.daemon));
  ASSIGN_OR_RETURN(const v1::DaemonStatus status, client->GetStatus());
  if (session.json) return PrintJson(status, JsonLayout::kDocument);
  if (!status.has_model()) {
    RETURN_IF_ERROR(Print(RenderFields(session.out, {DaemonField(session.out, session.daemon.server, status)})));
    return RunModelsList(session);
  }
  return Print(RenderFields(session.out, StatusFields(session.out, session.daemon.server, status)));
}

}  // namespace tandem
