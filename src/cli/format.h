// Numbers, tables, bars and curves as text.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "cli/terminal.h"

namespace tandem {

std::string FormatCount(double value);                   // 950, 12.3k, 4.6M, 1.2G
std::string FormatClock(absl::Duration duration);        // 0:07, 12:40, 3:05:00
std::string FormatAge(absl::Time then, absl::Time now);  // 7s, 12m, 3h, 5d; "-" where never
std::string FormatNumber(double value);                  // four significant digits: 0.0002, 1.235, 2e-05

// The first `width` code points of unpainted text.
std::string Truncate(const std::string& text, int width);

// A bar of `width` columns, in eighths of a column: "█████▍    ". `fraction` outside 0..1 is clamped.
std::string Bar(double fraction, int width);

// The curve of `values` in at most `width` columns, "█▆▄▃▂▁": each column the mean of its share, scaled between the
// least and the greatest finite value. A value that is not finite leaves a gap.
std::string Sparkline(const std::vector<double>& values, int width);

enum class Align { kLeft, kRight };

// Rows below headings, columns as wide as their widest cell and two blanks apart.
class Table {
 public:
  struct Column {
    std::string heading;
    Align align = Align::kLeft;
  };
  explicit Table(std::vector<Column> columns) : columns_(std::move(columns)) {}

  void AddRow(std::vector<std::string> cells);  // as many as columns
  std::string Render(const Terminal& terminal) const;

 private:
  std::vector<Column> columns_;
  std::vector<std::vector<std::string>> rows_;
};

// "name   value" lines, values aligned. An entry with an empty value is a heading.
std::string RenderFields(const Terminal& terminal, const std::vector<std::pair<std::string, std::string>>& fields);

}  // namespace tandem
