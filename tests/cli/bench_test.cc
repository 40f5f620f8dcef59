// The figures of tandem bench: percentiles, histograms, arrivals, lengths, goodput, and a load on a real server.
#include <algorithm>
#include <cmath>

#include "base/file.h"
#include "cli/bench/loadgen.h"
#include "cli/bench/report.h"
#include "cli/bench/stats.h"
#include "cli/bench/workload.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "serve/fakes.h"
#include "serve/grpc/server.h"

namespace tandem::bench {
namespace {

using ::testing::HasSubstr;

TEST(StatsTest, PercentilesLieBetweenRanks) {
  const std::vector<double> sorted = {10, 20, 30, 40};
  EXPECT_DOUBLE_EQ(Percentile(sorted, 0), 10);
  EXPECT_DOUBLE_EQ(Percentile(sorted, 50), 25);
  EXPECT_DOUBLE_EQ(Percentile(sorted, 90), 37);  // numpy.percentile([10, 20, 30, 40], 90)
  EXPECT_DOUBLE_EQ(Percentile(sorted, 100), 40);
}

TEST(StatsTest, ASummaryOfNothingIsZeros) {
  const Summary summary = Summarize({});
  EXPECT_EQ(summary.count, 0u);
  EXPECT_EQ(summary.p99, 0);
}

TEST(StatsTest, AHistogramHoldsEverySampleInRoundBins) {
  std::vector<double> samples;
  for (int i = 0; i < 1000; ++i) samples.push_back(i * 0.1);
  samples.push_back(5000);  // an outlier must not flatten the rest
  const std::vector<Bin> bins = MakeHistogram(samples, 10);
  size_t count = 0;
  for (const Bin& bin : bins) count += bin.count;
  EXPECT_EQ(count, samples.size());
  EXPECT_DOUBLE_EQ(bins[0].high - bins[0].low, 10);
  EXPECT_EQ(bins[0].count, 100u);
  EXPECT_EQ(bins.back().high, 5000);
}

TEST(StatsTest, AHistogramOfEqualSamplesIsOneBin) {
  const std::vector<Bin> bins = MakeHistogram({7, 7, 7}, 10);
  ASSERT_EQ(bins.size(), 1u);
  EXPECT_EQ(bins[0].count, 3u);
}

TEST(StatsTest, NoLineOfAHistogramIsWiderThanTheTerminal) {
  const std::string text = RenderHistogram({.width = 40}, "ms", MakeHistogram({1, 2, 3, 400, 12345.678}, 12));
  size_t begin = 0;
  while (begin < text.size()) {
    const size_t end = text.find('\n', begin);
    EXPECT_LE(DisplayWidth(text.substr(begin, end - begin)), 40);
    begin = end + 1;
  }
}

TEST(ArrivalsTest, MeanGapIsOneByTheRateAndItsVariationIsCv) {
  for (const double cv : {0.0, 1.0, 3.0}) {
    Arrivals arrivals(50, cv, 7);
    constexpr int kCount = 40'000;
    double last = 0, sum = 0, squares = 0;
    for (int i = 0; i < kCount; ++i) {
      const double at = absl::ToDoubleSeconds(arrivals.Next());
      sum += at - last;
      squares += (at - last) * (at - last);
      last = at;
    }
    const double mean = sum / kCount;
    EXPECT_NEAR(mean, 0.02, 0.02 * 0.06);  // cv 3: the mean's own deviation is 3 / sqrt(40000) = 1.5 %
    EXPECT_NEAR(std::sqrt(std::max(0.0, squares / kCount - mean * mean)) / mean, cv, 0.15);
  }
}

TEST(LengthsTest, DrawWhatTheySay) {
  std::mt19937_64 random(3);
  EXPECT_EQ(LengthDistribution::Parse("128")->Draw(random), 128);
  const auto uniform = LengthDistribution::Parse("uniform:5-9");
  const auto normal = LengthDistribution::Parse("normal:100,10");
  double sum = 0;
  for (int i = 0; i < 1000; ++i) {
    const int length = uniform->Draw(random);
    EXPECT_TRUE(length >= 5 && length <= 9);
    sum += normal->Draw(random);
  }
  EXPECT_NEAR(sum / 1000, 100, 2);
}

TEST(LengthsTest, RefuseWhatTheyAreNot) {
  for (const char* text : {"", "0", "-3", "uniform:9-5", "uniform:5", "normal:x,3", "cauchy:1,2"}) {
    EXPECT_TRUE(absl::IsInvalidArgument(LengthDistribution::Parse(text).status())) << text;
  }
}

TEST(RequestsTest, AFileIsReadLineByLine) {
  const std::string path = testing::TempDir() + "/requests.jsonl";
  ASSERT_TRUE(WriteFileAtomically(path, R"({"prompt": "a", "max_tokens": 7}

{"messages": [{"role": "user", "content": "hi"}]}
)")
                  .ok());
  const auto requests = ReadRequests(path, 9);
  ASSERT_TRUE(requests.ok()) << requests.status();
  ASSERT_EQ(requests->size(), 2u);
  EXPECT_EQ((*requests)[0].text(), "a");
  EXPECT_EQ((*requests)[0].stopping().max_tokens(), 7);
  EXPECT_EQ((*requests)[1].chat().messages(0).content(), "hi");
  EXPECT_EQ((*requests)[1].stopping().max_tokens(), 9);
}

TEST(RequestsTest, ABadLineIsNamed) {
  const std::string path = testing::TempDir() + "/bad.jsonl";
  ASSERT_TRUE(WriteFileAtomically(path, "{\"prompt\": \"a\"}\n{\"text\": 1}\n").ok());
  EXPECT_THAT(std::string(ReadRequests(path, 9).status().message()), HasSubstr("bad.jsonl:2: "));
}

RequestTrace Trace(int ttft_ms, int tokens, int last_ms) {
  RequestTrace trace;
  trace.due = trace.sent = absl::Milliseconds(100);
  trace.first_token = absl::Milliseconds(100 + ttft_ms);
  trace.last_token = trace.end = absl::Milliseconds(100 + last_ms);
  trace.completion_tokens = tokens;
  trace.first_tokens = 1;
  return trace;
}

TEST(ReportTest, GoodputCountsWhatKeepsEveryLimit) {
  LoadResult result;
  result.elapsed = absl::Seconds(2);
  result.traces = {Trace(50, 11, 150),   // TPOT 10 ms: good
                   Trace(300, 11, 400),  // too late
                   Trace(50, 11, 1050),  // too slow
                   Trace(50, 1, 50)};    // one token: has no TPOT
  result.traces.push_back({.status = absl::ResourceExhaustedError("full")});
  const Report report = Evaluate(result, {.ttft = absl::Milliseconds(200), .tpot = absl::Milliseconds(20)});
  EXPECT_EQ(report.good, 2);
  EXPECT_EQ(report.done, 4);
  EXPECT_EQ(report.failed, 1);
  EXPECT_EQ(report.errors.at("RESOURCE_EXHAUSTED: full"), 1);
  EXPECT_DOUBLE_EQ(report.tpot_ms.p50, 10);
  EXPECT_DOUBLE_EQ(ToJson(report)["goodput"]["requests_per_second"].get<double>(), 1);
}

TEST(ReportTest, WhatIsDueInTheWarmUpDoesNotCount) {
  LoadResult result;
  result.elapsed = absl::Seconds(2);
  result.traces = {Trace(50, 11, 150), Trace(50, 11, 150)};
  result.traces[1].due = absl::Milliseconds(600);
  const Report report = Evaluate(result, {}, absl::Milliseconds(500));
  EXPECT_EQ(report.sent, 1);
  EXPECT_DOUBLE_EQ(report.seconds, 1.5);
}

TEST(ReportTest, EveryRequestHasALine) {
  LoadResult result;
  result.traces = {Trace(50, 11, 150), {.status = absl::ResourceExhaustedError("full")}};
  const std::string lines = RequestLines(result, {.tpot = absl::Milliseconds(5)});
  EXPECT_EQ(std::count(lines.begin(), lines.end(), '\n'), 2);
  EXPECT_THAT(lines, HasSubstr(R"("ttft_ms":50.0,"tpot_ms":10.0,"e2e_ms":150.0,"good":false})"));
  EXPECT_THAT(lines, HasSubstr(R"("error":"RESOURCE_EXHAUSTED: full")"));
}

TEST(RequestsTest, ATraceHasItsLengthsAndAdapters) {
  const auto requests = TraceRequests({{.prompt_tokens = 7, .output_tokens = 2, .adapter = "support"}}, 0, 1);
  ASSERT_EQ(requests.size(), 1u);
  EXPECT_EQ(requests[0].tokens().ids_size(), 7);
  EXPECT_EQ(requests[0].stopping().max_tokens(), 2);
  EXPECT_TRUE(requests[0].stopping().ignore_eos());
  EXPECT_EQ(requests[0].adapter(), "support");
}

class LoadTest : public testing::Test {
 protected:
  LoadTest() {
    GrpcServerOptions options;
    options.port = 0;
    auto server = GrpcServer::Start(options, engine_.host());
    CHECK(server.ok()) << server.status();
    server_ = *std::move(server);
    daemon_.server = "127.0.0.1:" + std::to_string(server_->port());
    engine_.inference.on_generate = [](const FakeInference::Running& running) {
      running.sink->OnUpdate({.token_ids = {1}, .text = "a", .usage = {3, 1}});
      running.sink->OnUpdate({.token_ids = {2, 3}, .text = "bc", .usage = {3, 3}});
      running.sink->OnEnd({.status = absl::OkStatus(), .reason = FinishReason::kLength, .usage = {3, 3}});
    };
  }

  std::vector<v1::GenerateRequest> Requests(int count) {
    return SyntheticRequests({.num_requests = count,
                              .prompt_tokens = *LengthDistribution::Parse("uniform:2-9"),
                              .output_tokens = *LengthDistribution::Parse("3")});
  }

  FakeEngine engine_;
  std::unique_ptr<GrpcServer> server_;
  ConnectOptions daemon_;
};

TEST_F(LoadTest, ClosedLoadSendsAllAndTimesThem) {
  LoadGenerator load(daemon_);
  LoadProgress last;
  const auto result = load.Run(Requests(40), {.concurrency = 4, .connections = 2},
                               [&](const LoadProgress& progress) { last = progress; });
  ASSERT_TRUE(result.ok()) << result.status();
  ASSERT_EQ(result->traces.size(), 40u);
  for (const RequestTrace& trace : result->traces) {
    EXPECT_TRUE(trace.ok()) << trace.status;
    EXPECT_EQ(trace.completion_tokens, 3);
    EXPECT_GT(trace.ttft(), absl::ZeroDuration());
    EXPECT_GE(trace.end, trace.last_token);
  }
  EXPECT_EQ(last.total, 40);
}

TEST_F(LoadTest, OpenLoadSendsAtItsOwnTimes) {
  LoadGenerator load(daemon_);
  const auto result = load.Run(Requests(20), {.arrival = Arrival::kOpen, .rate = 2000, .cv = 0}, [](const auto&) {});
  ASSERT_TRUE(result.ok()) << result.status();
  for (size_t i = 0; i < result->traces.size(); ++i) {
    EXPECT_NEAR(absl::ToDoubleMilliseconds(result->traces[i].due), 0.5 * static_cast<double>(i + 1), 1e-6);
    EXPECT_GE(result->traces[i].sent, result->traces[i].due);
  }
}

TEST_F(LoadTest, ATracesArrivalsAreKept) {
  LoadGenerator load(daemon_);
  const std::vector<absl::Duration> arrivals = {absl::Milliseconds(1), absl::Milliseconds(1), absl::Milliseconds(7)};
  const auto result = load.Run(Requests(3), {.arrival = Arrival::kOpen, .arrivals = arrivals}, [](const auto&) {});
  ASSERT_TRUE(result.ok()) << result.status();
  ASSERT_EQ(result->traces.size(), arrivals.size());
  for (size_t i = 0; i < arrivals.size(); ++i) EXPECT_EQ(result->traces[i].due, arrivals[i]);
}

TEST_F(LoadTest, StopCancelsWhatIsUnderWay) {
  engine_.inference.on_generate = nullptr;  // never answers
  LoadGenerator load(daemon_);
  const auto result = load.Run(Requests(8), {.concurrency = 3}, [&](const LoadProgress& progress) {
    if (progress.running() == 3) load.Stop();
  });
  ASSERT_TRUE(result.ok()) << result.status();
  ASSERT_EQ(result->traces.size(), 3u);
  for (const RequestTrace& trace : result->traces) EXPECT_TRUE(absl::IsCancelled(trace.status)) << trace.status;
}

TEST_F(LoadTest, NoDaemonIsUnavailable) {
  server_.reset();
  EXPECT_TRUE(absl::IsUnavailable(LoadGenerator(daemon_).Run(Requests(1), {}, [](const auto&) {}).status()));
}

}  // namespace
}  // namespace tandem::bench
