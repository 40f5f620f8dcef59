#include "cli/terminal.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <cstdlib>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace tandem {
namespace {

std::string_view Code(Style style) {
  switch (style) {
    case Style::kBold:
      return "1";
    case Style::kDim:
      return "2";
    case Style::kRed:
      return "31";
    case Style::kGreen:
      return "32";
    case Style::kYellow:
      return "33";
    case Style::kCyan:
      return "36";
  }
  return "0";
}

std::string_view Environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

}  // namespace

Terminal DetectTerminal(int fd) {
  Terminal terminal;
  terminal.interactive = ::isatty(fd) == 1 && Environment("TERM") != "dumb" && !Environment("TERM").empty();
  terminal.color = terminal.interactive && Environment("NO_COLOR").empty();
  winsize size{};
  int columns = 0;
  if (::ioctl(fd, TIOCGWINSZ, &size) == 0 && size.ws_col > 0) {
    terminal.width = size.ws_col;
  } else if (absl::SimpleAtoi(std::string(Environment("COLUMNS")), &columns) && columns > 0) {
    terminal.width = columns;
  }
  return terminal;
}

std::string Paint(const Terminal& terminal, Style style, std::string_view text) {
  if (!terminal.color || text.empty()) return std::string(text);
  return absl::StrCat("\x1b[", std::string(Code(style)), "m", std::string(text), "\x1b[0m");
}

int DisplayWidth(std::string_view text) {
  int width = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\x1b') {
      i = text.find('m', i);
      if (i == std::string_view::npos) break;
      continue;
    }
    const bool continuation = (static_cast<unsigned char>(text[i]) & 0xC0) == 0x80;
    if (!continuation) ++width;
  }
  return width;
}

std::string Harmless(std::string_view text) {
  std::string safe;
  for (size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    const bool c0 = (byte < 0x20 && byte != '\n' && byte != '\t') || byte == 0x7f;
    // U+0080..U+009F, C1: 0xC2 0x80..0x9F.
    const bool c1 = byte == 0xC2 && i + 1 < text.size() && static_cast<unsigned char>(text[i + 1]) <= 0x9F;
    if (!c0 && !c1) {
      safe += text[i];
      continue;
    }
    safe += "\xEF\xBF\xBD";
    if (c1) ++i;
  }
  return safe;
}

}  // namespace tandem
