#include "cli/format.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/check.h"

namespace tandem {
namespace {

constexpr std::array<const char*, 8> kEighthsHigh = {"▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
constexpr std::array<const char*, 8> kEighthsWide = {"", "▏", "▎", "▍", "▌", "▋", "▊", "▉"};

std::string Pad(const std::string& text, int width, Align align) {
  const std::string blanks(std::max(0, width - DisplayWidth(text)), ' ');
  return align == Align::kLeft ? text + blanks : blanks + text;
}

// The mean of each of `columns` equal shares of the values.
std::vector<double> Resample(const std::vector<double>& values, size_t columns) {
  if (values.size() <= columns) return values;
  std::vector<double> means;
  for (size_t column = 0; column < columns; ++column) {
    const size_t begin = column * values.size() / columns, end = (column + 1) * values.size() / columns;
    double sum = 0;
    for (size_t i = begin; i < end; ++i) sum += values[i];
    means.push_back(sum / static_cast<double>(end - begin));
  }
  return means;
}

}  // namespace

std::string FormatCount(double value) {
  if (!std::isfinite(value)) return "-";
  constexpr std::array<const char*, 4> kSuffixes = {"", "k", "M", "G"};
  size_t power = 0;
  while (std::abs(value) >= 999.5 && power + 1 < kSuffixes.size()) {
    value /= 1000;
    ++power;
  }
  return power == 0 ? absl::StrFormat("%.0f", value) : absl::StrFormat("%.1f%s", value, kSuffixes[power]);
}

std::string FormatClock(absl::Duration duration) {
  const int64_t seconds = std::max<int64_t>(0, absl::ToInt64Seconds(duration));
  if (seconds < 3600) return absl::StrFormat("%d:%02d", seconds / 60, seconds % 60);
  return absl::StrFormat("%d:%02d:%02d", seconds / 3600, seconds / 60 % 60, seconds % 60);
}

std::string FormatAge(absl::Time then, absl::Time now) {
  if (then == absl::UnixEpoch()) return "-";
  const int64_t seconds = std::max<int64_t>(0, absl::ToInt64Seconds(now - then));
  if (seconds < 60) return absl::StrCat(seconds, "s");
  if (seconds < 3600) return absl::StrCat(seconds / 60, "m");
  if (seconds < 86400) return absl::StrCat(seconds / 3600, "h");
  return absl::StrCat(seconds / 86400, "d");
}

std::string FormatNumber(double value) {
  return absl::StrFormat("%.4g", value);
}

std::string Truncate(const std::string& text, int width) {
  size_t end = 0;
  for (int column = 0; end < text.size(); ++end) {
    const bool continuation = (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80;
    if (!continuation && column++ == width) break;
  }
  return text.substr(0, end);
}

std::string Bar(double fraction, int width) {
  if (!(fraction > 0)) fraction = 0;
  const int eighths = static_cast<int>(std::min(1.0, fraction) * width * 8);
  std::string bar;
  for (int i = 0; i < eighths / 8; ++i) bar += kEighthsHigh[7];
  bar += kEighthsWide[eighths % 8];
  return Pad(bar, width, Align::kLeft);
}

std::string Sparkline(const std::vector<double>& values, int width) {
  if (width <= 0) return "";
  const std::vector<double> points = Resample(values, width);
  double low = std::numeric_limits<double>::infinity(), high = -low;
  for (const double point : points) {
    if (!std::isfinite(point)) continue;
    low = std::min(low, point);
    high = std::max(high, point);
  }
  std::string line;
  for (const double point : points) {
    if (!std::isfinite(point)) {
      line += " ";
      continue;
    }
    const double height = high > low ? (point - low) / (high - low) : 0.5;
    line += kEighthsHigh[std::min(7, static_cast<int>(height * 8))];
  }
  return line;
}

void Table::AddRow(std::vector<std::string> cells) {
  CHECK_EQ(cells.size(), columns_.size());
  rows_.push_back(std::move(cells));
}

std::string Table::Render(const Terminal& terminal) const {
  std::vector<int> widths;
  for (size_t i = 0; i < columns_.size(); ++i) {
    int width = DisplayWidth(columns_[i].heading);
    for (const std::vector<std::string>& row : rows_) width = std::max(width, DisplayWidth(row[i]));
    widths.push_back(width);
  }
  const auto append_line = [&](std::string& text, const auto& cell) {
    std::string line;
    for (size_t i = 0; i < columns_.size(); ++i) {
      absl::StrAppend(&line, i > 0 ? "  " : "", Pad(cell(i), widths[i], columns_[i].align));
    }
    line.erase(line.find_last_not_of(' ') + 1);
    absl::StrAppend(&text, line, "\n");
  };
  std::string text;
  append_line(text, [&](size_t i) { return Paint(terminal, Style::kDim, columns_[i].heading); });
  for (const std::vector<std::string>& row : rows_) {
    append_line(text, [&](size_t i) { return row[i]; });
  }
  return text;
}

std::string RenderFields(const Terminal& terminal, const std::vector<std::pair<std::string, std::string>>& fields) {
  int width = 0;
  for (const auto& [name, value] : fields) {
    if (!value.empty()) width = std::max(width, DisplayWidth(name));
  }
  std::string text;
  for (const auto& [name, value] : fields) {
    if (value.empty()) {
      absl::StrAppend(&text, Paint(terminal, Style::kBold, name), "\n");
    } else {
      absl::StrAppend(&text, Paint(terminal, Style::kDim, Pad(name, width, Align::kLeft)), "  ", value, "\n");
    }
  }
  return text;
}

}  // namespace tandem
