#include "cli/job_view.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "cli/format.h"

namespace tandem {
namespace {

constexpr size_t kRecentSteps = 20;
constexpr int kMaxBar = 32;

}  // namespace

std::string StateName(v1::JobState state) {
  constexpr std::string_view kPrefix = "JOB_STATE_";
  const std::string name = v1::JobState_Name(state);
  return name.starts_with(kPrefix) ? absl::AsciiStrToLower(name.substr(kPrefix.size())) : absl::StrCat(state);
}

std::string PaintedState(const Terminal& terminal, v1::JobState state) {
  switch (state) {
    case v1::JOB_STATE_SUCCEEDED:
      return Paint(terminal, Style::kGreen, StateName(state));
    case v1::JOB_STATE_FAILED:
      return Paint(terminal, Style::kRed, StateName(state));
    case v1::JOB_STATE_CANCELLED:
    case v1::JOB_STATE_CANCELLING:
      return Paint(terminal, Style::kYellow, StateName(state));
    default:
      return Paint(terminal, Style::kCyan, StateName(state));
  }
}

absl::Time FromProto(const google::protobuf::Timestamp& time) {
  return absl::FromUnixSeconds(time.seconds()) + absl::Nanoseconds(time.nanos());
}

JobView::JobView(const v1::Job& job) : adapter_(job.adapter()), total_steps_(job.total_steps()), state_(job.state()) {}

void JobView::Add(const v1::JobEvent& event) {
  state_ = event.state();
  if (!event.has_step()) return;
  last_ = event.step();
  losses_.push_back(last_.loss());
  recent_.emplace_back(last_.step(), FromProto(event.time()));
  if (recent_.size() > kRecentSteps) recent_.pop_front();
}

absl::Duration JobView::TimeLeft() const {
  if (recent_.size() < 2 || recent_.back().first <= recent_.front().first) return absl::InfiniteDuration();
  const absl::Duration each =
      (recent_.back().second - recent_.front().second) / (recent_.back().first - recent_.front().first);
  return each * std::max(0, total_steps_ - last_.step());
}

std::string JobView::Figures() const {
  std::string text = absl::StrFormat("%d/%d", last_.step(), total_steps_);
  if (losses_.empty()) return absl::StrCat(text, "  ", StateName(state_));
  absl::StrAppendFormat(&text, "  loss %.4f  lr %s  %s tokens/s", last_.loss(), FormatNumber(last_.learning_rate()),
                        FormatCount(last_.tokens_per_second()));
  const absl::Duration left = TimeLeft();
  if (left < absl::InfiniteDuration() && last_.step() < total_steps_)
    absl::StrAppend(&text, "  ", FormatClock(left), " left");
  return text;
}

std::vector<std::string> JobView::Live(const Terminal& terminal) const {
  const std::string figures = Figures();
  const int room = terminal.width - DisplayWidth(adapter_) - DisplayWidth(figures) - 4;
  const double done = total_steps_ > 0 ? static_cast<double>(last_.step()) / total_steps_ : 0;
  std::string first;
  if (room >= 8) {
    first = absl::StrCat(Paint(terminal, Style::kBold, adapter_), "  ",
                         Paint(terminal, Style::kGreen, Bar(done, std::min(room, kMaxBar))), "  ", figures);
  } else {  // too narrow for a useful bar; a line that wraps would spoil the redrawing
    first = Truncate(absl::StrCat(adapter_, "  ", figures), terminal.width);
  }
  if (losses_.empty()) return {first, ""};
  const std::string ends = absl::StrFormat("loss %.4f to %.4f", losses_.front(), losses_.back());
  const int curve = terminal.width - DisplayWidth(ends) - 4;
  if (curve < 1) return {first, Truncate(ends, terminal.width)};
  return {first, absl::StrCat(Paint(terminal, Style::kCyan, Sparkline(losses_, std::min(curve, 60))), "  ",
                              Paint(terminal, Style::kDim, ends))};
}

std::string JobView::Notice(const Terminal& terminal, const v1::JobEvent& event) const {
  const std::string time = absl::FormatTime("%H:%M:%S", FromProto(event.time()), absl::LocalTimeZone());
  std::string text;
  switch (event.event_case()) {
    case v1::JobEvent::kStateChanged:
      text = PaintedState(terminal, event.state());
      if (!event.state_changed().message().empty()) absl::StrAppend(&text, ": ", event.state_changed().message());
      break;
    case v1::JobEvent::kPublished:
      text = absl::StrCat("published ", adapter_, ", generation ", event.published().adapter_generation());
      break;
    case v1::JobEvent::kMessage:
      text = event.message().message();
      break;
    case v1::JobEvent::kStep:
    case v1::JobEvent::EVENT_NOT_SET:
      return "";
  }
  return absl::StrCat(Paint(terminal, Style::kDim, time), "  ", text);
}

std::string JobView::Plain(const v1::JobEvent& event) const {
  if (!event.has_step()) return "";
  const int every = std::max(1, total_steps_ / 100);
  if (event.step().step() % every != 0 && event.step().step() != total_steps_) return "";
  return absl::StrCat(adapter_, "  step ", Figures());
}

}  // namespace tandem
