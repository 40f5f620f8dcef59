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
  enum class StopString { kLeftOut, kInText };  // of what is returned
  // Empty strings never match.
  explicit StopChecker(std::vector<std::string> stops, StopString in_text = StopString::kLeftOut);

  // Takes the next piece; returns the text that is now certain to stand before any stop string. "" after a match.
  std::string Append(std::string_view piece);

  // What was held back: at the end it became no stop string. "" after a match.
  std::string Flush();

  bool stopped() const { return match_ != nullptr; }
  const std::string& match() const { return *match_; }  // the stop string that was found

 private:
  size_t FindStop(size_t first_new);
  size_t FindPossibleStop() const;

  const std::vector<std::string> stops_;
  const StopString in_text_;
  std::string held_;
  const std::string* match_ = nullptr;  // one of stops_
};

}  // namespace tandem
