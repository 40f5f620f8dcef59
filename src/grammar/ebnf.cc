#include "grammar/ebnf.h"

#include <map>
#include <string>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "grammar/text_reader.h"

namespace tandem::grammar {
namespace {

constexpr int kMaxDepth = 128;
constexpr int kMaxCounts = 4;  // of one item: each is a level of the expression, and those are walked recursively
constexpr size_t kMaxBytes = 256 << 10;

bool IsNameChar(char c) {
  return absl::ascii_isalnum(c) || c == '-' || c == '_';
}

class Parser {
 public:
  explicit Parser(std::string_view text) : in_(text) {}
  absl::StatusOr<Rules> Parse();

 private:
  // Blanks and comments; newlines too inside of parentheses and behind '|' and '::='.
  void SkipBlanks(int depth);
  void SkipLines() { SkipBlanks(1); }
  std::string TakeName();
  RuleId RuleNamed(const std::string& name);
  absl::Status ParseRule();
  absl::StatusOr<ExprId> ParseChoice(int depth);
  absl::StatusOr<ExprId> ParseSequence(int depth);
  absl::StatusOr<ExprId> ParseItem(int depth);
  absl::StatusOr<ExprId> ParseCounted(ExprId item, int depth);
  absl::StatusOr<ExprId> ParseLiteral();
  absl::StatusOr<ExprId> ParseClass();
  absl::StatusOr<char32_t> TakeEscaped();

  TextReader in_;
  Rules rules_;
  std::map<std::string, RuleId> names_;
};

void Parser::SkipBlanks(int depth) {
  for (; !in_.done(); in_.Skip(1)) {
    if (in_.peek() == '#') {
      while (!in_.done() && in_.peek() != '\n') in_.Skip(1);
    }
    const char c = in_.peek();
    if (in_.done() || !(c == ' ' || c == '\t' || (depth > 0 && (c == '\n' || c == '\r')))) return;
  }
}

std::string Parser::TakeName() {
  std::string name;
  for (; IsNameChar(in_.peek()); in_.Skip(1)) name.push_back(in_.peek());
  return name;
}

RuleId Parser::RuleNamed(const std::string& name) {
  const auto [at, added] = names_.try_emplace(name, rules_.num_rules());
  if (added) rules_.AddRule(name);
  return at->second;
}

absl::StatusOr<Rules> Parser::Parse() {
  for (SkipLines(); !in_.done(); SkipLines()) RETURN_IF_ERROR(ParseRule());
  const auto root = names_.find("root");
  if (root == names_.end() || rules_.rule(root->second).expr < 0) {
    return absl::InvalidArgumentError("there is no rule 'root', want one: the text begins there");
  }
  rules_.root = root->second;
  return std::move(rules_);
}

absl::Status Parser::ParseRule() {
  const size_t begin = in_.at();
  const std::string name = TakeName();
  if (name.empty()) return in_.Error("want the name of a rule: letters, digits, '-' and '_'");
  SkipBlanks(0);
  if (!in_.Take("::=")) return in_.Error(absl::StrCat("want '::=' behind '", name, "'"));
  SkipLines();
  const RuleId rule = RuleNamed(name);
  if (rules_.rule(rule).expr >= 0) return in_.ErrorAt(begin, absl::StrCat("rule '", name, "' is defined twice"));
  ASSIGN_OR_RETURN(const ExprId expr, ParseChoice(0));
  rules_.Define(rule, expr);
  if (!in_.done() && in_.peek() != '\n' && in_.peek() != '\r') return in_.Error("want the end of the line");
  return absl::OkStatus();
}

absl::StatusOr<ExprId> Parser::ParseChoice(int depth) {
  if (depth > kMaxDepth) return in_.Error(absl::StrCat("parentheses nested deeper than ", kMaxDepth));
  std::vector<ExprId> parts;
  do {
    if (!parts.empty()) SkipLines();
    ASSIGN_OR_RETURN(const ExprId part, ParseSequence(depth));
    parts.push_back(part);
  } while (in_.Take("|"));
  return rules_.Choice(std::move(parts));
}

absl::StatusOr<ExprId> Parser::ParseSequence(int depth) {
  std::vector<ExprId> parts;
  for (;;) {
    SkipBlanks(depth);
    const char c = in_.peek();
    if (in_.done() || c == '|' || c == ')' || c == '\n' || c == '\r') break;
    ASSIGN_OR_RETURN(ExprId item, ParseItem(depth));
    ASSIGN_OR_RETURN(item, ParseCounted(item, depth));
    parts.push_back(item);
  }
  return rules_.Sequence(std::move(parts));
}

absl::StatusOr<ExprId> Parser::ParseItem(int depth) {
  const char c = in_.peek();
  if (c == '"') return ParseLiteral();
  if (c == '[') return ParseClass();
  if (in_.Take(".")) return rules_.Chars(CharSet::Any());
  if (IsNameChar(c)) return rules_.Ref(RuleNamed(TakeName()));
  if (!in_.Take("(")) return in_.Error("want a literal, a class, a rule's name, '.' or '('");
  ASSIGN_OR_RETURN(const ExprId inner, ParseChoice(depth + 1));
  if (!in_.Take(")")) return in_.Error("want ')'");
  return inner;
}

absl::StatusOr<ExprId> Parser::ParseCounted(ExprId item, int depth) {
  for (int turns = 0;; ++turns) {
    SkipBlanks(depth);
    const char c = in_.peek();
    if (turns == kMaxCounts && (c == '*' || c == '+' || c == '?' || c == '{')) {
      return in_.Error(absl::StrCat("one item has more than ", kMaxCounts, " repetitions, want at most so many"));
    }
    if (in_.Take("*")) {
      item = rules_.Repeat(item, 0, kUnbounded);
    } else if (in_.Take("+")) {
      item = rules_.Repeat(item, 1, kUnbounded);
    } else if (in_.Take("?")) {
      item = rules_.Optional(item);
    } else if (in_.peek() == '{') {
      ASSIGN_OR_RETURN(const std::optional<Counts> counts, in_.TakeCounts());
      if (!counts.has_value()) return in_.Error("want {m}, {m,} or {m,n}");
      item = rules_.Repeat(item, counts->min, counts->max);
    } else {
      return item;
    }
  }
}

absl::StatusOr<char32_t> Parser::TakeEscaped() {
  if (!in_.Take("\\")) return in_.TakeChar();
  const char c = in_.peek();
  const size_t at = in_.at();
  in_.Skip(1);
  constexpr std::string_view kNames = "nrt\\\"[]^-/'", kMeant = "\n\r\t\\\"[]^-/'";
  if (const size_t found = kNames.find(c); c != '\0' && found != kNames.npos) {
    return static_cast<unsigned char>(kMeant[found]);
  }
  if (c == 'x') return in_.TakeHex(2);
  if (c == 'u') return in_.TakeHex(4);
  if (c == 'U') return in_.TakeHex(8);
  return in_.ErrorAt(at, "unknown escape");
}

absl::StatusOr<ExprId> Parser::ParseLiteral() {
  in_.Skip(1);
  std::string bytes;
  while (!in_.Take("\"")) {
    if (in_.done() || in_.peek() == '\n') return in_.Error("the literal has no closing '\"'");
    ASSIGN_OR_RETURN(const char32_t c, TakeEscaped());
    AppendUtf8(c, &bytes);
  }
  return rules_.Bytes(std::move(bytes));
}

absl::StatusOr<ExprId> Parser::ParseClass() {
  in_.Skip(1);
  const bool negated = in_.Take("^");
  CharSet chars;
  while (!in_.Take("]")) {
    if (in_.done() || in_.peek() == '\n') return in_.Error("the class has no closing ']'");
    ASSIGN_OR_RETURN(const char32_t first, TakeEscaped());
    char32_t last = first;
    if (in_.peek() == '-' && in_.peek(1) != ']') {
      in_.Skip(1);
      ASSIGN_OR_RETURN(last, TakeEscaped());
      if (last < first) return in_.Error("the range of the class is reversed");
    }
    chars.Add(CodePoints{first, last});
  }
  return rules_.Chars(negated ? chars.Negated() : chars);
}

}  // namespace

absl::StatusOr<Rules> ParseEbnf(std::string_view text) {
  if (text.size() > kMaxBytes) {
    return absl::InvalidArgumentError(absl::StrCat("has ", text.size(), " bytes, want at most ", kMaxBytes));
  }
  return Parser(text).Parse();
}

}  // namespace tandem::grammar
