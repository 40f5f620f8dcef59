#include "cli/bench/report.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "cli/format.h"

namespace tandem::bench {
namespace {

constexpr int kBins = 12;
constexpr size_t kMaxErrors = 5;  // kinds of errors shown

double Ms(absl::Duration duration) {
  return absl::ToDoubleMilliseconds(duration);
}

bool IsGood(const RequestTrace& trace, const Slo& slo) {
  if (slo.ttft.has_value() && trace.ttft() > *slo.ttft) return false;
  const std::optional<absl::Duration> tpot = trace.tpot();
  return !slo.tpot.has_value() || !tpot.has_value() || *tpot <= *slo.tpot;
}

std::string FormatMs(double ms) {
  return ms < 10 ? absl::StrFormat("%.2f", ms) : ms < 1000 ? absl::StrFormat("%.1f", ms) : absl::StrFormat("%.0f", ms);
}

std::string LatencyTable(const Terminal& terminal, const Report& report) {
  Table table({{"MILLISECONDS"},
               {"MEAN", Align::kRight},
               {"P50", Align::kRight},
               {"P90", Align::kRight},
               {"P99", Align::kRight},
               {"MAX", Align::kRight}});
  const auto add = [&](const char* name, const Summary& s) {
    if (s.count == 0) return;
    table.AddRow({name, FormatMs(s.mean), FormatMs(s.p50), FormatMs(s.p90), FormatMs(s.p99), FormatMs(s.max)});
  };
  add("TTFT  to the first token", report.ttft_ms);
  add("TPOT  a token after it", report.tpot_ms);
  add("ITL   between messages", report.itl_ms);
  add("E2E   to the end", report.e2e_ms);
  return table.Render(terminal);
}

std::string DescribeSlo(const Slo& slo) {
  std::string text;
  if (slo.ttft.has_value()) absl::StrAppend(&text, "TTFT <= ", FormatNumber(Ms(*slo.ttft)), " ms");
  if (slo.tpot.has_value()) {
    absl::StrAppend(&text, text.empty() ? "" : ", ", "TPOT <= ", FormatNumber(Ms(*slo.tpot)), " ms");
  }
  return text;
}

}  // namespace

Report Evaluate(const LoadResult& result, const Slo& slo, absl::Duration warm_up) {
  Report report;
  report.slo = slo;
  report.seconds = absl::ToDoubleSeconds(std::max(result.elapsed - warm_up, absl::ZeroDuration()));
  std::vector<double> tpot, e2e, lag;
  for (const RequestTrace& trace : result.traces) {
    if (trace.due < warm_up) continue;
    ++report.sent;
    lag.push_back(Ms(trace.sent - trace.due));
    if (!trace.ok()) {
      ++report.failed;
      ++report.errors[trace.status.ok() ? "ended without a token" : trace.status.ToString()];
      continue;
    }
    ++report.done;
    report.prompt_tokens += trace.prompt_tokens;
    report.completion_tokens += trace.completion_tokens;
    report.ttft_samples_ms.push_back(Ms(trace.ttft()));
    e2e.push_back(Ms(trace.e2e()));
    if (const auto each = trace.tpot(); each.has_value()) tpot.push_back(Ms(*each));
    for (const absl::Duration gap : trace.token_gaps) report.itl_samples_ms.push_back(Ms(gap));
    if (IsGood(trace, slo)) ++report.good;
  }
  report.ttft_ms = Summarize(report.ttft_samples_ms);
  report.tpot_ms = Summarize(std::move(tpot));
  report.itl_ms = Summarize(report.itl_samples_ms);
  report.e2e_ms = Summarize(std::move(e2e));
  report.lag_ms = Summarize(std::move(lag));
  return report;
}

nlohmann::ordered_json ToJson(const Report& report) {
  nlohmann::ordered_json json = {
      {"requests", {{"sent", report.sent}, {"done", report.done}, {"failed", report.failed}}},
      {"seconds", report.seconds},
      {"prompt_tokens", report.prompt_tokens},
      {"completion_tokens", report.completion_tokens},
      {"requests_per_second", report.PerSecond(report.done)},
      {"prompt_tokens_per_second", report.PerSecond(static_cast<double>(report.prompt_tokens))},
      {"completion_tokens_per_second", report.PerSecond(static_cast<double>(report.completion_tokens))},
      {"ttft_ms", ToJson(report.ttft_ms)},
      {"tpot_ms", ToJson(report.tpot_ms)},
      {"itl_ms", ToJson(report.itl_ms)},
      {"e2e_ms", ToJson(report.e2e_ms)},
      {"send_lag_ms", ToJson(report.lag_ms)}};
  if (report.slo.any()) {
    auto& goodput = json["goodput"];
    if (report.slo.ttft.has_value()) goodput["slo_ttft_ms"] = Ms(*report.slo.ttft);
    if (report.slo.tpot.has_value()) goodput["slo_tpot_ms"] = Ms(*report.slo.tpot);
    goodput["good_requests"] = report.good;
    goodput["requests_per_second"] = report.PerSecond(report.good);
    goodput["attainment"] = report.sent > 0 ? static_cast<double>(report.good) / report.sent : 0.0;
  }
  auto& errors = json["errors"] = nlohmann::ordered_json::object();
  for (const auto& [error, count] : report.errors) errors[error] = count;
  return json;
}

std::string RequestLines(const LoadResult& result, const Slo& slo) {
  std::string lines;
  for (const RequestTrace& trace : result.traces) {
    nlohmann::ordered_json json = {{"due_s", absl::ToDoubleSeconds(trace.due)}, {"ok", trace.ok()}};
    if (trace.ok()) {
      json["prompt_tokens"] = trace.prompt_tokens;
      json["completion_tokens"] = trace.completion_tokens;
      json["ttft_ms"] = Ms(trace.ttft());
      if (const auto tpot = trace.tpot(); tpot.has_value()) json["tpot_ms"] = Ms(*tpot);
      json["e2e_ms"] = Ms(trace.e2e());
      json["good"] = IsGood(trace, slo);
    } else {
      json["error"] = trace.status.ToString();
    }
    absl::StrAppend(&lines, json.dump(), "\n");
  }
  return lines;
}

std::string Render(const Terminal& terminal, const Report& report) {
  std::vector<std::pair<std::string, std::string>> fields;
  fields.emplace_back("requests", absl::StrFormat("%d sent, %d done, %s in %.1f s", report.sent, report.done,
                                                  report.failed > 0 ? Paint(terminal, Style::kRed,
                                                                            absl::StrCat(report.failed, " failed"))
                                                                    : "none failed",
                                                  report.seconds));
  fields.emplace_back(
      "throughput", absl::StrFormat("%.2f requests/s, %s prompt + %s generated tokens/s", report.PerSecond(report.done),
                                    FormatCount(report.PerSecond(static_cast<double>(report.prompt_tokens))),
                                    FormatCount(report.PerSecond(static_cast<double>(report.completion_tokens)))));
  if (report.slo.any()) {
    const double share = report.sent > 0 ? 100.0 * report.good / report.sent : 0;
    fields.emplace_back("goodput", absl::StrFormat("%.2f requests/s: %.1f %% of those sent within %s",
                                                   report.PerSecond(report.good), share, DescribeSlo(report.slo)));
  }
  if (report.lag_ms.p99 > 10) {
    fields.emplace_back("note", absl::StrFormat("this client sent late by %.0f ms (p99): it is too slow for this load",
                                                report.lag_ms.p99));
  }
  size_t shown = 0;
  for (const auto& [error, count] : report.errors) {
    if (shown++ == kMaxErrors) break;
    fields.emplace_back("error", absl::StrCat(count, " x ", Harmless(error)));
  }
  std::string text = absl::StrCat(RenderFields(terminal, fields), "\n");
  if (report.done == 0) return text;
  absl::StrAppend(&text, LatencyTable(terminal, report), "\n",
                  RenderHistogram(terminal, "TTFT, ms: requests", MakeHistogram(report.ttft_samples_ms, kBins)));
  if (!report.itl_samples_ms.empty()) {
    absl::StrAppend(&text, "\n",
                    RenderHistogram(terminal, "ITL, ms: messages", MakeHistogram(report.itl_samples_ms, kBins)));
  }
  return text;
}

}  // namespace tandem::bench
