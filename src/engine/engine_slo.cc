// The engine's side of latency targets: the scheduler with its cost model, and what is said of both.
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/log.h"
#include "base/status.h"
#include "engine/cost_profile.h"
#include "engine/engine.h"
#include "sched/policies.h"
#include "sched/slo.h"

namespace tandem {
namespace {

std::string Ms(absl::Duration duration) {
  return absl::StrFormat("%.1f ms", absl::ToDoubleMilliseconds(duration));
}

}  // namespace

absl::Status Engine::CreateScheduler() {
  ASSIGN_OR_RETURN(const Policy policy, PolicyNamed(options_.policy));
  if (options_.profile_limit > absl::ZeroDuration()) {
    if (!options_.cost_directory.empty()) {
      cost_path_ = CostModelPath(options_.cost_directory, options_.model_path, desc(), backend_->name(),
                                 std::string(Name(model_->weight_dtype())));
    }
    cost_ =
        std::make_unique<CostModel>(LoadOrProfile(cost_path_, {.model = model_.get(),
                                                               .backend = backend_.get(),
                                                               .pool = pool_.get(),
                                                               .adapters = adapters_.get(),
                                                               .max_batch_rows = options_.scheduler.max_batch_rows,
                                                               .max_backward_rows = options_.training.backward_window,
                                                               .limit = options_.profile_limit}));
  }
  scheduler_ = std::make_unique<Scheduler>(SchedulerParts{.inference = inference_.get(),
                                                          .training = training_.get(),
                                                          .pool = pool_.get(),
                                                          .num_layers = desc().num_layers,
                                                          .options = options_.scheduler,
                                                          .policy = policy,
                                                          .cost = cost_.get()});
  const absl::MutexLock lock(&status_mutex_);
  status_.scheduler.policy = options_.policy;
  return absl::OkStatus();
}

void Engine::ApplyTargets(GenerateRequest& request) const {
  if (!request.ttft.has_value()) request.ttft = options_.slo.ttft;
  if (!request.tpot.has_value()) request.tpot = options_.slo.tpot;
}

absl::Status Engine::CheckTargets(const GenerateRequest& request) {
  if (cost_ == nullptr) return absl::OkStatus();
  const int prompt = static_cast<int>(request.prompt.size());
  const absl::Duration ttft = PredictTtft(*cost_, options_.scheduler, prompt), tpot = PredictTpot(*cost_, prompt);
  std::string problem;
  if (request.ttft.has_value() && ttft > *request.ttft) {
    problem = absl::StrCat("a TTFT of ", Ms(*request.ttft), " with ", prompt,
                           " prompt tokens: alone on this machine it takes ", Ms(ttft));
  } else if (request.tpot.has_value() && tpot > *request.tpot) {
    problem = absl::StrCat("a TPOT of ", Ms(*request.tpot), ": alone on this machine a token takes ", Ms(tpot));
  }
  if (problem.empty()) return absl::OkStatus();
  if (options_.refuse_unmeetable) return absl::FailedPreconditionError(absl::StrCat("nobody can meet ", problem));
  // Said for the first, the second, the fourth ...: a client that always asks so must not fill the log.
  if ((unmeetable_ & (unmeetable_ + 1)) == 0) LOG_WARN("{}: nobody can meet {}", request.request_id, problem);
  ++unmeetable_;
  return absl::OkStatus();
}

void Engine::ReportIteration(const IterationReport& report) {
  if (report.outlier && !outlier_logged_) {
    LOG_WARN("an iteration took {}, {:.0f} times its prediction of {}; later ones are only counted",
             Ms(report.measured), absl::FDivDuration(report.measured, report.predicted), Ms(report.predicted));
    outlier_logged_ = true;
  }
  if (report.forced_unit && !forced_reported_) {
    training_->Message(
        "the latency targets leave no iteration in which a unit of this job's backward fits: it gets one "
        "now and then all the same; a smaller training.backward_window would fit better");
    forced_reported_ = true;
  }
}

void Engine::PublishIteration(const IterationReport& report) {
  SchedulerStatus& status = status_.scheduler;
  status.decode_rows = report.decode_rows;
  status.prefill_rows = report.prefill_rows;
  status.training_rows = report.training_rows;
  status.backward_rows = report.backward_rows;
  status.predicted_ms = absl::ToDoubleMilliseconds(report.predicted);
  status.measured_ms = absl::ToDoubleMilliseconds(report.measured);
  status.budget_ms = report.budget < absl::InfiniteDuration() ? absl::ToDoubleMilliseconds(report.budget) : 0;
  status.yields += report.backward_skipped > 0 ? 1 : 0;
  status.outliers += report.outlier ? 1 : 0;
  constexpr double kDecay = 1.0 / 100;
  status.planning_us += kDecay * (absl::ToDoubleMicroseconds(report.planning) - status.planning_us);
  if (cost_ == nullptr) return;
  status.mean_error = cost_->mean_error();
  status.headroom = cost_->headroom();
}

}  // namespace tandem
