#include "cli/job_view.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace tandem {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

v1::Job SomeJob(int total_steps) {
  v1::Job job;
  job.set_adapter("support");
  job.set_state(v1::JOB_STATE_QUEUED);
  job.set_total_steps(total_steps);
  return job;
}

// Step `step`, at `step` times two seconds, with a loss that falls.
v1::JobEvent Step(int step) {
  v1::JobEvent event;
  event.set_state(v1::JOB_STATE_RUNNING);
  event.mutable_time()->set_seconds(1000 + 2 * step);
  event.mutable_step()->set_step(step);
  event.mutable_step()->set_loss(4.0 / step);
  event.mutable_step()->set_learning_rate(2e-4);
  event.mutable_step()->set_tokens_per_second(1234);
  return event;
}

TEST(JobViewTest, BeforeTheFirstStepItShowsTheState) {
  EXPECT_THAT(JobView(SomeJob(10)).Live({.width = 60}), ElementsAre(HasSubstr("0/10  queued"), ""));
}

TEST(JobViewTest, ShowsProgressSpeedTimeLeftAndTheCurve) {
  JobView view(SomeJob(10));
  for (int step = 1; step <= 5; ++step) view.Add(Step(step));
  EXPECT_THAT(view.Live({.width = 90}),
              ElementsAre("support  ████████████▌              5/10  loss 0.8000  lr 0.0002  1.2k tokens/s  0:10 left",
                          "█▃▂▁▁  loss 4.0000 to 0.8000"));
}

TEST(JobViewTest, FitsAnyWidth) {
  JobView view(SomeJob(1000));
  for (int step = 1; step <= 500; ++step) view.Add(Step(step));
  for (int width = 10; width <= 200; ++width) {
    for (const std::string& line : view.Live({.width = width})) EXPECT_LE(DisplayWidth(line), width) << line;
  }
}

TEST(JobViewTest, NoTimeIsLeftAtTheEnd) {
  JobView view(SomeJob(2));
  view.Add(Step(1));
  view.Add(Step(2));
  EXPECT_THAT(view.Live({.width = 90})[0], Not(HasSubstr("left")));
}

TEST(JobViewTest, NoticesAreWhatIsNoStep) {
  JobView view(SomeJob(2));
  v1::JobEvent started, published, message;
  started.set_state(v1::JOB_STATE_RUNNING);
  started.mutable_state_changed()->set_message("after 3 s in the queue");
  published.mutable_published()->set_adapter_generation(2);
  message.mutable_message()->set_message("one sample was cut");
  EXPECT_THAT(view.Notice({}, started), HasSubstr("running: after 3 s in the queue"));
  EXPECT_THAT(view.Notice({}, published), HasSubstr("published support, generation 2"));
  EXPECT_THAT(view.Notice({}, message), HasSubstr("one sample was cut"));
  EXPECT_EQ(view.Notice({}, Step(1)), "");
}

TEST(JobViewTest, PlainLinesAreAHundredAtMostAndTheLast) {
  JobView view(SomeJob(1005));
  int lines = 0;
  for (int step = 1; step <= 1005; ++step) {
    view.Add(Step(step));
    lines += !view.Plain(Step(step)).empty();
  }
  EXPECT_EQ(lines, 101);
  EXPECT_THAT(view.Plain(Step(1005)), HasSubstr("support  step 1005/1005  loss"));
}

}  // namespace
}  // namespace tandem
