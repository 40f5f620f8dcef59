// Stop strings in a stream of text: finds one across any token borders and holds text back while it may still become
// one.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace tandem {

// The result depends on the text alone, not on how it was cut into pieces: the stop string that is complete first wins,
// of several that end at the same byte the longest. Pieces are whole UTF-8 characters, and so is all that is returned.
class StopChecker {
 public:
  explicit StopChecker(std::vector<std::string> stops);  // empty strings never match

  // Takes the next piece; returns the text that is now certain to stand before any stop string. "" after a match.
  std::string Append(std::string_view piece);

  // What was held back: at the end it became no stop string. "" after a match.
  std::string Flush();

  bool stopped() const { return stopped_; }

 private:
  size_t FindStop(size_t first_new) const;
  size_t FindPossibleStop() const;

  const std::vector<std::string> stops_;
  std::string held_;
  bool stopped_ = false;
};

}  // namespace tandem
