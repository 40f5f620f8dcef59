// What the terminal can do, and text made for it.
#pragma once

#include <string>
#include <string_view>

namespace tandem {

struct Terminal {
  bool interactive = false;  // a TTY that understands escape sequences: redraws in place
  bool color = false;        // interactive, and NO_COLOR (https://no-color.org) is not set
  int width = 80;            // columns
};

// Of a file descriptor, with the environment's TERM, NO_COLOR and COLUMNS.
Terminal DetectTerminal(int fd);

enum class Style { kBold, kDim, kRed, kGreen, kYellow, kCyan };

// `text` in a style where the terminal has colour, else as it is.
std::string Paint(const Terminal& terminal, Style style, std::string_view text);

// Columns that UTF-8 text takes, one for each code point; escape sequences of Paint take none.
int DisplayWidth(std::string_view text);

// A model's words for a terminal: control characters but newline and tab become U+FFFD, so that no output can drive it.
std::string Harmless(std::string_view text);

}  // namespace tandem
