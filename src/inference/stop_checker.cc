#include "inference/stop_checker.h"

#include <algorithm>
#include <utility>

namespace tandem {
namespace {

// A match begins at a character: a stop string of broken UTF-8 must not cut one in two.
bool IsCharacterStart(char byte) {
  return (static_cast<unsigned char>(byte) & 0xC0) != 0x80;
}

}  // namespace

StopChecker::StopChecker(std::vector<std::string> stops, StopString in_text)
    : stops_(std::move(stops)), in_text_(in_text) {}

std::string StopChecker::Append(std::string_view piece) {
  if (stopped()) return "";
  const size_t first_new = held_.size();
  held_.append(piece);
  size_t certain = FindStop(first_new);
  if (!stopped()) certain = FindPossibleStop();
  std::string text = held_.substr(0, certain);
  if (stopped() && in_text_ == StopString::kInText) text += *match_;
  held_ = stopped() ? "" : held_.substr(certain);
  return text;
}

std::string StopChecker::Flush() {
  return std::exchange(held_, "");
}

// Where the stop string that is complete first begins, or npos. It ends in the bytes from first_new on: one that ended
// before would have been found before.
size_t StopChecker::FindStop(size_t first_new) {
  const std::string_view text = held_;
  for (size_t end = first_new + 1; end <= text.size(); ++end) {
    size_t begin = std::string::npos;
    for (const std::string& stop : stops_) {
      if (stop.empty() || !text.substr(0, end).ends_with(stop) || !IsCharacterStart(stop[0])) continue;
      if (begin != std::string::npos && begin <= end - stop.size()) continue;
      begin = end - stop.size();
      match_ = &stop;
    }
    if (begin != std::string::npos) return begin;
  }
  return std::string::npos;
}

// Where the longest tail begins that is the beginning of a stop string; the text's end where there is none.
size_t StopChecker::FindPossibleStop() const {
  const std::string_view text = held_;
  size_t begin = text.size();
  for (const std::string& stop : stops_) {
    if (stop.empty() || !IsCharacterStart(stop[0])) continue;
    for (size_t length = std::min(stop.size() - 1, text.size()); length > text.size() - begin; --length) {
      if (!stop.starts_with(text.substr(text.size() - length))) continue;
      begin = text.size() - length;
      break;
    }
  }
  return begin;
}

}  // namespace tandem
