#include "training/json_locate.h"

#include <optional>

#include "nlohmann/json.hpp"

namespace tandem {
namespace {

// Walks valid JSON; bounds are checked all the same, so that a mistake here ends in a wrong column and nothing worse.
class Walker {
 public:
  explicit Walker(std::string_view text) : text_(text) {}

  size_t at() const { return at_; }
  void set_at(size_t at) { at_ = at; }
  char peek() const { return at_ < text_.size() ? text_[at_] : '\0'; }

  void SkipSpace() {
    while (peek() == ' ' || peek() == '\t' || peek() == '\n' || peek() == '\r') ++at_;
  }

  // Past the string that starts here; returns it with its quotes and escapes.
  std::string_view SkipString() {
    const size_t begin = at_++;
    while (at_ < text_.size() && text_[at_] != '"') at_ += text_[at_] == '\\' ? 2 : 1;
    at_ = std::min(at_ + 1, text_.size());
    return text_.substr(begin, at_ - begin);
  }

  // Past the value that starts here.
  void SkipValue() {
    int depth = 0;
    do {
      SkipSpace();
      const char c = peek();
      if (c == '"') {
        SkipString();
      } else if (c == '{' || c == '[') {
        ++depth, ++at_;
      } else if (c == '}' || c == ']') {
        --depth, ++at_;
      } else if (c == ',' || c == ':') {
        ++at_;
      } else {
        const size_t end = text_.find_first_of(",:]}[{\" \t\r\n", at_);
        at_ = end == text_.npos ? text_.size() : end;
      }
      SkipSpace();
    } while (depth > 0 && at_ < text_.size());
  }

  // Past the comma or the bracket after a member; true where another member follows.
  bool SkipSeparator() {
    SkipSpace();
    const bool more = peek() == ',';
    if (at_ < text_.size()) ++at_;
    SkipSpace();
    return more;
  }

 private:
  std::string_view text_;
  size_t at_ = 0;
};

struct Place {
  size_t name = 0;   // what a message points at
  size_t value = 0;  // where the next step of the path starts
};

std::optional<Place> FindMember(Walker& walker, const std::string& key) {
  if (walker.peek() != '{') return std::nullopt;
  std::optional<Place> found;
  walker.set_at(walker.at() + 1);
  walker.SkipSpace();
  while (walker.peek() == '"') {
    const size_t name = walker.at();
    const std::string_view quoted = walker.SkipString();
    walker.SkipSpace();
    walker.set_at(walker.at() + 1);  // the colon
    walker.SkipSpace();
    const nlohmann::json unquoted = nlohmann::json::parse(quoted, nullptr, /*allow_exceptions=*/false);
    if (unquoted.is_string() && unquoted.get_ref<const std::string&>() == key) found = Place{name, walker.at()};
    walker.SkipValue();
    if (!walker.SkipSeparator()) break;
  }
  return found;
}

std::optional<Place> FindElement(Walker& walker, size_t index) {
  if (walker.peek() != '[') return std::nullopt;
  walker.set_at(walker.at() + 1);
  walker.SkipSpace();
  for (size_t i = 0; walker.peek() != ']' && walker.peek() != '\0'; ++i) {
    if (i == index) return Place{walker.at(), walker.at()};
    walker.SkipValue();
    if (!walker.SkipSeparator()) break;
  }
  return std::nullopt;
}

}  // namespace

size_t LocateJson(std::string_view text, const JsonPath& path) {
  Walker walker(text);
  walker.SkipSpace();
  size_t best = walker.at();
  for (const auto& step : path) {
    const std::optional<Place> place = std::holds_alternative<std::string>(step)
                                           ? FindMember(walker, std::get<std::string>(step))
                                           : FindElement(walker, std::get<size_t>(step));
    if (!place.has_value()) break;
    best = place->name;
    walker.set_at(place->value);
  }
  return best;
}

}  // namespace tandem
