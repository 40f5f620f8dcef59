// The engine's side of latency targets: the scheduler with its cost model, and what is said of both.
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/log.h"
#include "base/status.h"
#include "engine/engine.h"
#include "sched/policies.h"
#include "sched/slo.h"

namespace tandem {
namespace {

std::string Ms(absl::Duration duration) {
  return absl::StrFormat("%.1f ms", absl::ToDoubleMilliseconds(duration));
}

absl::Status LoadInto(const std::string& path, CostModel& model) {
  ASSIGN_OR_RETURN(model, LoadCostModel(path));
  return absl::OkStatus();
}

}  // namespace

absl::Status Engine::CreateCostModel() {
  cost_source_ = "guess";
  cost_ = std::make_unique<CostModel>(ShapeOf(desc(), model_->weight_dtype()));
  if (model_->has_lane()) beside_ = std::make_unique<CostModel>(*cost_);
  if (!options_.cost_directory.empty()) {
    const auto path_for = [&](const std::string& device) {
      return CostModelPath(options_.cost_directory, options_.model_path, desc(), device,
                           std::string(Name(model_->weight_dtype())));
    };
    cost_path_ = path_for(backend_->name());
    beside_path_ = path_for(backend_->name() + ", beside backward");
    absl::Status status = LoadInto(cost_path_, *cost_);
    if (status.ok() && beside_ != nullptr) status = LoadInto(beside_path_, *beside_);
    if (status.ok()) {
      cost_source_ = "file";
      return absl::OkStatus();
    }
    if (!absl::IsNotFound(status)) LOG_WARN("{}; profiling again", std::string(status.message()));
  }
  if (options_.profile_limit > absl::ZeroDuration()) StartProfile();
  return absl::OkStatus();
}

void Engine::StartProfile() {
  const int pool_tokens = pool_->num_blocks() * pool_->block_size();
  ProbeLimits limits{.max_rows = options_.scheduler.max_batch_rows};
  limits.max_context = std::min({limits.max_context, max_context(), pool_tokens});
  limits.max_trained = std::min(limits.max_trained, limits.max_context);
  limits.max_backward_rows = std::min(options_.training.backward_window, limits.max_trained);
  profile_ = std::make_unique<IdleProfile>(
      Prober::Parts{.model = model_.get(), .backend = backend_.get(), .pool = pool_.get(), .adapters = adapters_.get()},
      limits, profiles_beside_ ? BesideProbes(limits) : ProfileProbes(limits), options_.profile_limit);
}

bool Engine::Profile() {
  if (profile_ == nullptr) return false;
  profile_->RunNext(profiles_beside_ ? *beside_ : *cost_);
  if (!profile_->done()) return true;
  profile_.reset();
  if (beside_ != nullptr && !profiles_beside_) {
    *beside_ = cost_->Unscaled();
    profiles_beside_ = true;
    StartProfile();
    return true;
  }
  cost_source_ = "profile";
  SaveCostModels();
  StepFeatures one;
  one.AddSpan(SpanKind::kDecode, 1, 0);
  one.samples = 1;
  LOG_INFO("cost model: profiled; a decode takes {:.2f} ms, a row beyond {:.3f} ms", 1e3 * cost_->Seconds(one),
           1e3 * cost_->SecondsPerRow());
  if (beside_ != nullptr) LOG_INFO("cost model: beside backward a decode takes {:.2f} ms", 1e3 * beside_->Seconds(one));
  return true;
}

void Engine::SaveCostModels() const {
  SaveCostModel(cost_path_, *cost_);
  if (beside_ != nullptr) SaveCostModel(beside_path_, *beside_);
}

std::string Engine::CostModelState() const {
  if (profile_ == nullptr) return cost_source_;
  return absl::StrCat("profiling, ", profile_->probes_done(), " of ", profile_->num_probes());
}

absl::Status Engine::CreateScheduler() {
  ASSIGN_OR_RETURN(const Policy policy, PolicyNamed(options_.policy));
  RETURN_IF_ERROR(CreateCostModel());
  scheduler_ = std::make_unique<Scheduler>(SchedulerParts{.inference = inference_.get(),
                                                          .training = training_.get(),
                                                          .pool = pool_.get(),
                                                          .num_layers = desc().num_layers,
                                                          .options = options_.scheduler,
                                                          .policy = policy,
                                                          .cost = cost_.get(),
                                                          .beside = beside_.get()});
  const absl::MutexLock lock(&status_mutex_);
  status_.scheduler.policy = options_.policy;
  return absl::OkStatus();
}

void Engine::ApplyTargets(GenerateRequest& request) const {
  const auto found = options_.slo_classes.find(request.priority);
  const SloTargets& targets = found != options_.slo_classes.end() ? found->second : options_.slo;
  if (!request.ttft.has_value()) request.ttft = targets.ttft;
  if (!request.tpot.has_value()) request.tpot = targets.tpot;
}

absl::Status Engine::CheckTargets(const GenerateRequest& request) {
  if (cost_source_ == "guess" && cost_->observations() == 0) return absl::OkStatus();  // knows nothing of this machine
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
        "the latency targets leave no iteration in which a piece of this job fits: it gets one now and then all the "
        "same; a smaller training.backward_window would fit better");
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
  status.mean_error = scheduler_->mean_error();
  status.headroom = cost_->headroom();
}

}  // namespace tandem
