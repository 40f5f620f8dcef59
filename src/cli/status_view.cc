#include "cli/status_view.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "cli/format.h"
#include "cli/job_view.h"

namespace tandem {
namespace {

constexpr size_t kHistory = 120;  // polls
constexpr int kBarWidth = 24, kCurveWidth = 24;
constexpr int kLabelWidth = 11;

void Push(std::vector<double>& history, double value) {
  history.push_back(value);
  if (history.size() > kHistory) history.erase(history.begin());
}

std::string Line(const Terminal& terminal, const std::string& label, const std::string& text) {
  const std::string cut = Truncate(text, std::max(1, terminal.width - kLabelWidth));
  return absl::StrCat(Paint(terminal, Style::kDim, absl::StrFormat("%-*s", kLabelWidth, label)), cut);
}

bool IsAlive(v1::JobState state) {
  return state == v1::JOB_STATE_RUNNING || state == v1::JOB_STATE_QUEUED;
}

}  // namespace

std::string IterationRows(const v1::SchedulerStatus& s) {
  return absl::StrCat(s.decode_rows(), " decode + ", s.prefill_rows(), " prefill + ", s.training_rows(),
                      " training rows, ", s.backward_rows(), " backward");
}

std::string IterationTime(const v1::SchedulerStatus& s) {
  std::string text = absl::StrFormat("%.1f ms measured", s.measured_ms());
  if (s.predicted_ms() > 0) {
    const std::string from = s.cost_model().empty() ? "" : absl::StrCat(" by ", s.cost_model());
    absl::StrAppend(&text, absl::StrFormat(", %.1f ms predicted%s (mean error %.1f %%)", s.predicted_ms(), from,
                                           100 * s.mean_error()));
  }
  if (s.budget_ms() > 0) absl::StrAppend(&text, absl::StrFormat(", budget %.1f ms", s.budget_ms()));
  return text;
}

std::string SloText(const v1::SchedulerStatus& s) {
  if (s.slo_requests() == 0) return "no request had a target";
  std::string text = absl::StrFormat("%.1f %% of %d requests within their targets, %.1f %% lately",
                                     100.0 * static_cast<double>(s.slo_met()) / static_cast<double>(s.slo_requests()),
                                     s.slo_requests(), 100 * s.slo_recent());
  if (s.slo_unmeetable() > 0) absl::StrAppend(&text, ", ", s.slo_unmeetable(), " that nobody can meet");
  return text;
}

void StatusView::Add(const v1::DaemonStatus& status, const v1::ListJobsResponse& jobs) {
  status_ = status;
  Push(step_ms_, status.scheduler().measured_ms());
  Push(attainment_, status.scheduler().slo_recent());
  std::map<std::string, Job> alive;
  for (const v1::Job& job : jobs.jobs()) {
    if (!IsAlive(job.state())) continue;
    Job kept = std::move(jobs_[job.id()]);
    if (job.step() > kept.last.step()) kept.losses.push_back(job.loss());
    kept.last = job;
    alive.emplace(job.id(), std::move(kept));
  }
  jobs_ = std::move(alive);
}

std::vector<std::string> StatusView::Live(const Terminal& terminal) const {
  if (!status_.has_model()) return {Line(terminal, "model", "none serves: tandem models load PATH")};
  const v1::SchedulerStatus& scheduler = status_.scheduler();
  const v1::InferenceStatus& inference = status_.inference();
  const v1::TrainingStatus& training = status_.training();
  const v1::KvStatus& kv = status_.kv();
  const double used = kv.blocks_total() > 0 ? static_cast<double>(kv.blocks_used()) / kv.blocks_total() : 0;
  std::vector<std::string> lines = {
      Line(terminal, "model",
           absl::StrCat(status_.model().name(), ", ", scheduler.policy(), ", ", status_.steps(), " steps")),
      Line(terminal, "inference",
           absl::StrCat(inference.running_requests(), " running, ", inference.waiting_requests(), " waiting, ",
                        FormatCount(inference.tokens_per_second()), " tokens/s")),
      Line(terminal, "training",
           absl::StrCat(training.running_jobs(), " running, ", training.queued_jobs(), " queued, ",
                        FormatCount(training.tokens_per_second()), " tokens/s")),
      Line(terminal, "KV cache", absl::StrCat(Bar(used, kBarWidth), " ", kv.blocks_used(), "/", kv.blocks_total())),
      Line(terminal, "step", absl::StrCat(Sparkline(step_ms_, kCurveWidth), " ", IterationTime(scheduler))),
      Line(terminal, "rows", IterationRows(scheduler)),
      Line(terminal, "targets",
           scheduler.slo_requests() > 0 ? absl::StrCat(Sparkline(attainment_, kCurveWidth), " ", SloText(scheduler))
                                        : SloText(scheduler))};
  for (const auto& [id, job] : jobs_) {
    const std::string loss = job.last.step() > 0 ? absl::StrFormat("loss %.4f", job.last.loss()) : "no step yet";
    lines.push_back(
        Line(terminal, id,
             absl::StrCat(Sparkline(job.losses, kCurveWidth), " ", job.last.adapter(), " ", StateName(job.last.state()),
                          ", step ", job.last.step(), "/", job.last.total_steps(), ", ", loss)));
  }
  return lines;
}

}  // namespace tandem
