// tandem bench serve: load on a running daemon, a bar while it runs, the report at the end.
#include <algorithm>
#include <iostream>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/file.h"
#include "base/status.h"
#include "cli/bench/commands.h"
#include "cli/bench/workload.h"
#include "cli/format.h"
#include "cli/interrupt.h"
#include "cli/output.h"

namespace tandem::bench {
namespace {

constexpr int kMaxBar = 32;

absl::StatusOr<std::vector<TraceRequest>> ReadTrace(const std::string& path) {
  ASSIGN_OR_RETURN(const std::string text, ReadFile(path));
  return ParseTrace(path, text);
}

absl::StatusOr<std::vector<v1::GenerateRequest>> MakeRequests(const ServeOptions& options) {
  if (!options.trace.empty()) {
    ASSIGN_OR_RETURN(const std::vector<TraceRequest> trace, ReadTrace(options.trace));
    return TraceRequests(trace, options.temperature, options.load.seed);
  }
  if (options.file.empty()) {
    ASSIGN_OR_RETURN(const LengthDistribution prompt, LengthDistribution::Parse(options.prompt_tokens));
    ASSIGN_OR_RETURN(const LengthDistribution output, LengthDistribution::Parse(options.output_tokens));
    return SyntheticRequests({.num_requests = options.num_requests,
                              .prompt_tokens = prompt,
                              .output_tokens = output,
                              .shared_prefix = options.shared_prefix,
                              .adapter = options.adapter,
                              .temperature = options.temperature,
                              .seed = options.load.seed});
  }
  ASSIGN_OR_RETURN(const LengthDistribution output, LengthDistribution::Parse(options.output_tokens));
  std::mt19937_64 random(options.load.seed);
  ASSIGN_OR_RETURN(const std::vector<v1::GenerateRequest> file, ReadRequests(options.file, output.Draw(random)));
  std::vector<v1::GenerateRequest> requests;
  for (int i = 0; i < options.num_requests; ++i) {  // from the start again where the file has fewer
    v1::GenerateRequest& request = requests.emplace_back(file[i % file.size()]);
    request.set_adapter(options.adapter);
    request.mutable_sampling()->set_temperature(static_cast<float>(options.temperature));
  }
  return requests;
}

std::string Describe(const ServeOptions& options) {
  if (!options.trace.empty()) return absl::StrCat("requests of ", options.trace);
  const LoadOptions& load = options.load;
  const std::string what = options.file.empty() ? absl::StrFormat("prompts of %s tokens, %s generated",
                                                                  options.prompt_tokens, options.output_tokens)
                                                : options.file;
  if (load.arrival == Arrival::kClosed) {
    return absl::StrFormat("%d requests, %d at a time; %s", options.num_requests, load.concurrency, what);
  }
  const std::string kind = load.cv == 1 ? "Poisson" : absl::StrFormat("gamma, cv %g", load.cv);
  return absl::StrFormat("%d requests, %g a second (%s); %s", options.num_requests, load.rate, kind, what);
}

// One line that is drawn over on a terminal; nothing elsewhere.
class ProgressLine {
 public:
  explicit ProgressLine(const Terminal& terminal) : terminal_(terminal) {}

  void Draw(const LoadProgress& progress, absl::Duration send_for) {
    if (!terminal_.interactive) return;
    const double by_count =
        progress.total > 0 ? static_cast<double>(progress.done + progress.failed) / progress.total : 0;
    const double by_time = absl::FDivDuration(progress.elapsed, send_for);  // 0 where there is no limit
    const double seconds = absl::ToDoubleSeconds(progress.elapsed);
    std::string figures =
        absl::StrFormat("%d/%d  %d running  %s tokens/s  %s", progress.done, progress.total, progress.running(),
                        FormatCount(seconds > 0 ? static_cast<double>(progress.completion_tokens) / seconds : 0),
                        FormatClock(progress.elapsed));
    if (progress.failed > 0) absl::StrAppend(&figures, "  ", progress.failed, " failed");
    const int room = terminal_.width - DisplayWidth(figures) - 3;
    const std::string bar = room >= 8 ? Bar(std::max(by_count, by_time), std::min(room, kMaxBar)) : "";
    std::cerr << "\r" << Paint(terminal_, Style::kGreen, bar) << "  " << Truncate(figures, terminal_.width - 1)
              << "\x1b[K" << std::flush;
  }
  void Erase() const {
    if (terminal_.interactive) std::cerr << "\r\x1b[K" << std::flush;
  }

 private:
  const Terminal terminal_;
};

}  // namespace

absl::Status RunServe(const Session& session, const ServeOptions& options) {
  ASSIGN_OR_RETURN(const std::vector<v1::GenerateRequest> requests, MakeRequests(options));
  LoadOptions load_options = options.load;
  if (!options.trace.empty()) {
    ASSIGN_OR_RETURN(const std::vector<TraceRequest> trace, ReadTrace(options.trace));
    load_options.arrival = Arrival::kOpen;
    for (const TraceRequest& request : trace) load_options.arrivals.push_back(request.arrival);
  }
  HoldInterrupts();
  LoadGenerator load(session.daemon);
  if (!session.json) RETURN_IF_ERROR(Print(absl::StrCat(Describe(options), "\n")));
  ProgressLine line(DetectTerminal(2));
  absl::StatusOr<LoadResult> result;
  {
    const InterruptHandler on_interrupt([&load] { load.Stop(); });
    result = load.Run(requests, load_options,
                      [&](const LoadProgress& progress) { line.Draw(progress, load_options.send_for); });
  }
  line.Erase();
  RETURN_IF_ERROR(result.status());
  if (!options.requests_out.empty()) {
    RETURN_IF_ERROR(WriteFileAtomically(options.requests_out, RequestLines(*result, options.slo)));
  }
  const Report report = Evaluate(*result, options.slo, options.warm_up);
  RETURN_IF_ERROR(Print(session.json ? ToJson(report).dump(2) + "\n" : Render(session.out, report)));
  if (report.done == 0 && report.sent > 0) {
    return absl::AbortedError(absl::StrCat("none of ", report.sent, " requests went through"));
  }
  return absl::OkStatus();
}

}  // namespace tandem::bench
