#include "cli/status_view.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace tandem {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

v1::DaemonStatus Serving() {
  v1::DaemonStatus status;
  status.mutable_model()->set_name("demo");
  return status;
}

v1::ListJobsResponse OneJob(v1::JobState state, int step, double loss) {
  v1::ListJobsResponse jobs;
  v1::Job& job = *jobs.add_jobs();
  job.set_id("job-1");
  job.set_adapter("support");
  job.set_state(state);
  job.set_step(step);
  job.set_total_steps(40);
  job.set_loss(loss);
  return jobs;
}

TEST(StatusViewTest, TargetsAreSaidWhereARequestHadOne) {
  v1::SchedulerStatus scheduler;
  EXPECT_EQ(SloText(scheduler), "no request had a target");
  scheduler.set_slo_requests(200);
  scheduler.set_slo_met(199);
  scheduler.set_slo_recent(1);
  EXPECT_EQ(SloText(scheduler), "99.5 % of 200 requests within their targets, 100.0 % lately");
}

TEST(StatusViewTest, AttainmentIsDrawnWhereARequestHadATarget) {
  StatusView view;
  v1::DaemonStatus status = Serving();
  view.Add(status, {});
  EXPECT_THAT(view.Live({.width = 80}), Contains("targets    no request had a target"));
  status.mutable_scheduler()->set_slo_requests(1);
  view.Add(status, {});
  EXPECT_THAT(view.Live({.width = 80}), Contains(StartsWith("targets    ▅▅ ")));
}

TEST(StatusViewTest, WithoutAModelThatIsAllThereIsToSee) {
  StatusView view;
  view.Add({}, {});
  EXPECT_THAT(view.Live({.width = 80}), ElementsAre("model      none serves: tandem models load PATH"));
}

TEST(StatusViewTest, PredictionAndBudgetAreSaidWhereThereAreAny) {
  v1::SchedulerStatus scheduler;
  scheduler.set_measured_ms(31.25);
  EXPECT_EQ(IterationTime(scheduler), "31.2 ms measured");
  scheduler.set_predicted_ms(30);
  scheduler.set_mean_error(0.021);
  scheduler.set_budget_ms(45);
  EXPECT_EQ(IterationTime(scheduler), "31.2 ms measured, 30.0 ms predicted (mean error 2.1 %), budget 45.0 ms");
}

TEST(StatusViewTest, AJobsLossIsDrawnAndGoesWithTheJob) {
  StatusView view;
  view.Add(Serving(), OneJob(v1::JOB_STATE_RUNNING, 1, 4));
  view.Add(Serving(), OneJob(v1::JOB_STATE_RUNNING, 2, 2));
  const Terminal terminal{.width = 100};
  EXPECT_THAT(view.Live(terminal), Contains(HasSubstr("support running, step 2/40, loss 2.0000")));
  EXPECT_THAT(view.Live(terminal), Contains(HasSubstr("█▁")));
  view.Add(Serving(), OneJob(v1::JOB_STATE_SUCCEEDED, 40, 1));
  EXPECT_THAT(view.Live(terminal), Not(Contains(HasSubstr("support"))));
}

TEST(StatusViewTest, NoLineIsWiderThanTheTerminal) {
  StatusView view;
  for (int i = 0; i < 300; ++i) view.Add(Serving(), OneJob(v1::JOB_STATE_RUNNING, i, 4));
  for (const int width : {20, 40, 80}) {
    for (const std::string& line : view.Live({.width = width})) EXPECT_LE(DisplayWidth(line), width) << line;
  }
}

}  // namespace
}  // namespace tandem
