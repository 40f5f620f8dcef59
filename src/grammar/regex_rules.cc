#include "grammar/regex_rules.h"

#include <string>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "grammar/text_reader.h"

namespace tandem::grammar {
namespace {

constexpr int kMaxDepth = 128;
constexpr size_t kMaxBytes = 64 << 10;

// \d, \w and \s are of ASCII, as in ECMAScript.
std::optional<CharSet> ClassEscape(char c) {
  CharSet set;
  switch (absl::ascii_tolower(c)) {
    case 'd':
      set = CharSet({{'0', '9'}});
      break;
    case 'w':
      set = CharSet({{'0', '9'}, {'A', 'Z'}, {'_', '_'}, {'a', 'z'}});
      break;
    case 's':
      set = CharSet({{'\t', '\r'}, {' ', ' '}});
      break;
    default:
      return std::nullopt;
  }
  return absl::ascii_isupper(c) ? set.Negated() : set;
}

class Parser {
 public:
  Parser(std::string_view text, RegexMatch match) : search_(match == RegexMatch::kSearch), in_(text) {}
  absl::StatusOr<Rules> Parse();

 private:
  ExprId AnyText() { return rules_.Repeat(rules_.Chars(CharSet::Any()), 0, kUnbounded); }
  absl::StatusOr<ExprId> ParseChoice(int depth);
  absl::StatusOr<ExprId> ParseSequence(int depth);
  absl::StatusOr<ExprId> ParseAtom(int depth);
  absl::StatusOr<ExprId> ParseGroup(int depth);
  absl::StatusOr<ExprId> ParseCounted(ExprId atom);
  absl::StatusOr<ExprId> ParseClass();
  absl::StatusOr<CharSet> TakeClassMember();
  absl::StatusOr<char32_t> TakeEscape(bool in_class);

  const bool search_;
  TextReader in_;
  Rules rules_;
};

absl::StatusOr<Rules> Parser::Parse() {
  ASSIGN_OR_RETURN(const ExprId expr, ParseChoice(0));
  if (!in_.done()) return in_.Error("')' without '('");
  rules_.root = rules_.AddRule("root", expr);
  return std::move(rules_);
}

absl::StatusOr<ExprId> Parser::ParseChoice(int depth) {
  if (depth > kMaxDepth) return in_.Error(absl::StrCat("groups nested deeper than ", kMaxDepth));
  std::vector<ExprId> parts;
  do {
    ASSIGN_OR_RETURN(const ExprId part, ParseSequence(depth));
    parts.push_back(part);
  } while (in_.Take("|"));
  return rules_.Choice(std::move(parts));
}

absl::StatusOr<ExprId> Parser::ParseSequence(int depth) {
  std::vector<ExprId> parts;
  bool ends = false;
  if (depth == 0 && !in_.Take("^") && search_) parts.push_back(AnyText());
  while (!in_.done() && in_.peek() != '|' && in_.peek() != ')') {
    if (depth == 0 && in_.peek() == '$' && (in_.peek(1) == '|' || in_.peek(1) == '\0')) {
      in_.Skip(1);
      ends = true;
      break;
    }
    ASSIGN_OR_RETURN(ExprId atom, ParseAtom(depth));
    ASSIGN_OR_RETURN(atom, ParseCounted(atom));
    parts.push_back(atom);
  }
  if (depth == 0 && !ends && search_) parts.push_back(AnyText());
  return rules_.Sequence(std::move(parts));
}

absl::StatusOr<ExprId> Parser::ParseAtom(int depth) {
  const char c = in_.peek();
  if (c == '(') return ParseGroup(depth);
  if (c == '[') return ParseClass();
  if (in_.Take(".")) return rules_.Chars(CharSet({{'\n', '\n'}}).Negated());
  if (c == '^' || c == '$') return in_.Error("an anchor inside of the expression is not supported");
  if (c == '*' || c == '+' || c == '?') return in_.Error("nothing to repeat");
  if (c != '\\') {
    ASSIGN_OR_RETURN(const char32_t literal, in_.TakeChar());
    return rules_.Chars(CharSet({{literal, literal}}));
  }
  if (const std::optional<CharSet> set = ClassEscape(in_.peek(1)); set.has_value()) {
    in_.Skip(2);
    return rules_.Chars(*set);
  }
  ASSIGN_OR_RETURN(const char32_t literal, TakeEscape(/*in_class=*/false));
  return rules_.Chars(CharSet({{literal, literal}}));
}

absl::StatusOr<ExprId> Parser::ParseGroup(int depth) {
  for (const std::string_view look : {"(?=", "(?!", "(?<=", "(?<!"}) {
    if (in_.LooksAt(look)) return in_.Error(absl::StrCat("lookaround '", std::string(look), "' is not regular"));
  }
  if (in_.Take("(?P<") || in_.Take("(?<")) {
    while (absl::ascii_isalnum(in_.peek()) || in_.peek() == '_') in_.Skip(1);
    if (!in_.Take(">")) return in_.Error("want '>' behind the group's name");
  } else if (!in_.Take("(?:")) {
    if (in_.LooksAt("(?")) return in_.Error("inline flags and special groups are not supported");
    in_.Skip(1);
  }
  ASSIGN_OR_RETURN(const ExprId inner, ParseChoice(depth + 1));
  if (!in_.Take(")")) return in_.Error("want ')'");
  return inner;
}

absl::StatusOr<ExprId> Parser::ParseCounted(ExprId atom) {
  Counts counts;
  if (in_.Take("*")) {
    counts = {0, kUnbounded};
  } else if (in_.Take("+")) {
    counts = {1, kUnbounded};
  } else if (in_.Take("?")) {
    counts = {0, 1};
  } else if (in_.peek() == '{') {
    ASSIGN_OR_RETURN(const std::optional<Counts> taken, in_.TakeCounts());
    if (!taken.has_value()) return atom;  // a literal brace
    counts = *taken;
  } else {
    return atom;
  }
  if (in_.peek() == '+') return in_.Error("possessive quantifiers are not supported");
  in_.Take("?");  // lazy: the same language
  if (in_.peek() == '*' || in_.peek() == '?') return in_.Error("nothing to repeat");
  return rules_.Repeat(atom, counts.min, counts.max);
}

absl::StatusOr<char32_t> Parser::TakeEscape(bool in_class) {
  const size_t at = in_.at();
  in_.Skip(1);
  if (in_.done()) return in_.ErrorAt(at, "a '\\' at the end");
  const char c = in_.peek();
  constexpr std::string_view kNames = "ntrfv", kMeant = "\n\t\r\f\v";
  if (const size_t found = kNames.find(c); found != kNames.npos) {
    in_.Skip(1);
    return static_cast<unsigned char>(kMeant[found]);
  }
  if (in_.Take("x")) return in_.TakeHex(2);
  if (in_.Take("u")) return in_.TakeHex(4);
  if (c == '0' && !absl::ascii_isdigit(in_.peek(1))) {
    in_.Skip(1);
    return 0;
  }
  if (absl::ascii_isdigit(c) || c == 'k') return in_.ErrorAt(at, "back references are not regular");
  if (c == 'p' || c == 'P') return in_.ErrorAt(at, "Unicode properties are not supported");
  if (in_class && c == 'b') return in_.ErrorAt(at, "\\b is not supported");
  if (absl::ascii_isalpha(c)) return in_.ErrorAt(at, absl::StrCat("\\", std::string(1, c), " is not supported"));
  return in_.TakeChar();
}

absl::StatusOr<CharSet> Parser::TakeClassMember() {
  if (in_.peek() == '\\') {
    if (std::optional<CharSet> set = ClassEscape(in_.peek(1)); set.has_value()) {
      in_.Skip(2);
      return *std::move(set);
    }
  }
  absl::StatusOr<char32_t> first = in_.peek() == '\\' ? TakeEscape(true) : in_.TakeChar();
  if (!first.ok()) return first.status();
  char32_t last = *first;
  if (in_.peek() == '-' && in_.peek(1) != ']' && in_.peek(1) != '\0') {
    in_.Skip(1);
    if (in_.peek() == '\\' && ClassEscape(in_.peek(1)).has_value()) return in_.Error("a class ends a range");
    absl::StatusOr<char32_t> end = in_.peek() == '\\' ? TakeEscape(true) : in_.TakeChar();
    if (!end.ok()) return end.status();
    last = *end;
    if (last < *first) return in_.Error("the range of the class is reversed");
  }
  return CharSet({{*first, last}});
}

absl::StatusOr<ExprId> Parser::ParseClass() {
  const size_t begin = in_.at();
  in_.Skip(1);
  const bool negated = in_.Take("^");
  CharSet chars;
  do {
    if (in_.done()) return in_.ErrorAt(begin, "the class has no closing ']'");
    if (in_.peek() == ']') return in_.ErrorAt(begin, "an empty class");
    if (in_.LooksAt("[:")) return in_.Error("POSIX classes are not supported");
    ASSIGN_OR_RETURN(const CharSet member, TakeClassMember());
    chars.Add(member);
  } while (!in_.Take("]"));
  return rules_.Chars(negated ? chars.Negated() : chars);
}

}  // namespace

absl::StatusOr<Rules> ParseRegex(std::string_view pattern, RegexMatch match) {
  if (pattern.size() > kMaxBytes) {
    return absl::InvalidArgumentError(absl::StrCat("has ", pattern.size(), " bytes, want at most ", kMaxBytes));
  }
  return Parser(pattern, match).Parse();
}

}  // namespace tandem::grammar
