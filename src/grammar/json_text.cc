#include "grammar/json_text.h"

#include <algorithm>
#include <map>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "grammar/regex_rules.h"

namespace tandem::grammar {
namespace {

constexpr int kMaxDigits = 18;  // every such integer fits into 64 bits
constexpr int64_t kMaxInteger = 999'999'999'999'999'999;

// Characters that stand for themselves in a JSON string.
const CharSet& PlainChars() {
  static const auto* const plain = new CharSet(CharSet({{0, 0x1F}, {'"', '"'}, {'\\', '\\'}}).Negated());
  return *plain;
}

CharSet Hex(char first, char last) {
  CharSet set;
  set.Add(CodePoints{static_cast<char32_t>(first), static_cast<char32_t>(last)});
  if (first >= 'A') set.Add(CodePoints{static_cast<char32_t>(first + 32), static_cast<char32_t>(last + 32)});
  return set;
}

CharSet HexDigit() {
  return CharSet({{'0', '9'}, {'A', 'F'}, {'a', 'f'}});
}

}  // namespace

ExprId JsonText::Once(std::optional<RuleId>& rule, const char* name, ExprId (JsonText::*make)()) {
  if (!rule.has_value()) {
    rule = rules_.AddRule(name);  // before its expression is made: that may refer to it
    rules_.Define(*rule, (this->*make)());
  }
  return rules_.Ref(*rule);
}

ExprId JsonText::Blank() {
  return Once(blank_, "blank", &JsonText::MakeBlank);
}
ExprId JsonText::Integer() {
  return Once(integer_, "integer", &JsonText::MakeInteger);
}
ExprId JsonText::Number() {
  return Once(number_, "number", &JsonText::MakeNumber);
}
ExprId JsonText::Object() {
  return Once(object_, "object", &JsonText::MakeObject);
}
ExprId JsonText::Value() {
  return Once(value_, "value", &JsonText::MakeValue);
}
ExprId JsonText::Character() {
  return Once(character_, "character", &JsonText::MakeCharacter);
}

ExprId JsonText::Boolean() {
  return rules_.Choice({rules_.Bytes("true"), rules_.Bytes("false")});
}

// Bounded: a model that may always write one more blank sometimes does nothing else.
ExprId JsonText::MakeBlank() {
  const ExprId indent = rules_.Repeat(rules_.Chars(CharSet({{' ', ' '}, {'\t', '\t'}})), 0, 20);
  return rules_.Choice({rules_.Sequence({}), rules_.Bytes(" "), rules_.Sequence({rules_.Bytes("\n"), indent})});
}

ExprId JsonText::MakeInteger() {
  const ExprId digits = rules_.Sequence({rules_.Chars(CharSet({{'1', '9'}})), Digits(0, kMaxDigits - 1)});
  return rules_.Sequence({rules_.Optional(rules_.Bytes("-")), rules_.Choice({rules_.Bytes("0"), digits})});
}

ExprId JsonText::MakeNumber() {
  const ExprId fraction = rules_.Sequence({rules_.Bytes("."), Digits(1, kMaxDigits)});
  const ExprId sign = rules_.Chars(CharSet({{'+', '+'}, {'-', '-'}}));
  const ExprId letter = rules_.Chars(CharSet({{'E', 'E'}, {'e', 'e'}}));
  const ExprId exponent = rules_.Sequence({letter, rules_.Optional(sign), Digits(1, 2)});  // within a double
  return rules_.Sequence({Integer(), rules_.Optional(fraction), rules_.Optional(exponent)});
}

// One code point in any spelling; a surrogate only as half of a pair.
ExprId JsonText::MakeCharacter() {
  const auto chars = [this](CharSet set) { return rules_.Chars(std::move(set)); };
  CharSet named;
  for (const char c : std::string_view("\"\\/bfnrt"))
    named.Add(CodePoints{static_cast<char32_t>(c), static_cast<char32_t>(c)});
  const ExprId any = chars(HexDigit());
  CharSet no_d = Hex('A', 'C');
  no_d.Add(Hex('E', 'F'));
  no_d.Add(CodePoints{'0', '9'});
  CharSet second_high({{'8', '9'}});
  second_high.Add(Hex('A', 'B'));
  const ExprId d = chars(Hex('D', 'D'));
  const ExprId basic = rules_.Choice(
      {rules_.Sequence({chars(no_d), any, any, any}), rules_.Sequence({d, chars(CharSet({{'0', '7'}})), any, any})});
  const ExprId pair =
      rules_.Sequence({d, chars(second_high), any, any, rules_.Bytes("\\u"), d, chars(Hex('C', 'F')), any, any});
  const ExprId escape =
      rules_.Choice({chars(named), rules_.Sequence({rules_.Bytes("u"), rules_.Choice({basic, pair})})});
  return rules_.Choice({chars(PlainChars()), rules_.Sequence({rules_.Bytes("\\"), escape})});
}

ExprId JsonText::MakeObject() {
  const RuleId member = rules_.AddRule("member");
  rules_.Define(member, Member(String(0, kUnbounded), Value()));
  return Braced(List(rules_.Ref(member), 0, kUnbounded));
}

ExprId JsonText::MakeValue() {
  const ExprId array = Bracketed(List(Value(), 0, kUnbounded));
  return rules_.Choice({Object(), array, String(0, kUnbounded), Number(), Boolean(), Null()});
}

ExprId JsonText::List(ExprId item, int low, int high) {
  if (high == 0) return rules_.Sequence({});
  const ExprId next = rules_.Sequence({Comma(), item});
  const ExprId list =
      rules_.Sequence({item, rules_.Repeat(next, std::max(0, low - 1), high == kUnbounded ? kUnbounded : high - 1)});
  return low == 0 ? rules_.Optional(list) : list;
}

// Its characters are written out in it: one automaton without calls, shared by every plain string.
ExprId JsonText::MakeString() {
  return rules_.Sequence({rules_.Bytes("\""), rules_.Repeat(MakeCharacter(), 0, kUnbounded), rules_.Bytes("\"")});
}

ExprId JsonText::String(int low, int high) {
  if (low == 0 && high == kUnbounded) return Once(string_, "string", &JsonText::MakeString);
  return rules_.Sequence({rules_.Bytes("\""), rules_.Repeat(Character(), low, high), rules_.Bytes("\"")});
}

// The members of `chars` as one character of a string each.
ExprId JsonText::Encoded(const CharSet& chars) {
  const auto contains = [&](char32_t c) { return !chars.Intersected(CharSet({{c, c}})).empty(); };
  std::vector<ExprId> choices{rules_.Chars(chars.Intersected(PlainChars()))};
  constexpr std::string_view kMeant = "\"\\\b\f\n\r\t", kNames = "\"\\bfnrt";
  for (char32_t c = 0; c <= '\\'; ++c) {
    if (!PlainChars().Intersected(CharSet({{c, c}})).empty() || !contains(c)) continue;
    const size_t named = kMeant.find(static_cast<char>(c));
    choices.push_back(rules_.Bytes(named != kMeant.npos
                                       ? std::string("\\") + kNames[named]
                                       : absl::StrCat("\\u", absl::Hex(uint32_t{c}, absl::kZeroPad4))));
  }
  return rules_.Choice(std::move(choices));
}

absl::StatusOr<ExprId> JsonText::StringLike(std::string_view expression) {
  ASSIGN_OR_RETURN(const Rules parsed, ParseRegex(expression, RegexMatch::kSearch));
  std::vector<ExprId> here(parsed.num_exprs());
  for (ExprId id = 0; id < parsed.num_exprs(); ++id) {
    const Expr& expr = parsed.expr(id);
    std::vector<ExprId> children;
    for (const ExprId child : expr.children) children.push_back(here[child]);
    if (expr.kind == ExprKind::kChars) here[id] = Encoded(expr.chars);
    if (expr.kind == ExprKind::kSequence) here[id] = rules_.Sequence(std::move(children));
    if (expr.kind == ExprKind::kChoice) here[id] = rules_.Choice(std::move(children));
    if (expr.kind == ExprKind::kRepeat) here[id] = rules_.Repeat(children[0], expr.min, expr.max);
  }
  const ExprId content = here[parsed.rule(parsed.root).expr];
  return rules_.Sequence({rules_.Bytes("\""), content, rules_.Bytes("\"")});
}

// A tree of the names' characters. Where a text leaves it, anything may follow; where it stays, it must not end on a
// name.
ExprId JsonText::KeyOtherThan(const std::vector<std::string>& names) {
  struct Node {
    std::map<char32_t, size_t> next;
    bool name = false;
    ExprId rest = -1;
  };
  std::vector<Node> nodes(1);
  for (const std::string& name : names) {
    size_t node = 0;
    bool plain = true;
    for (size_t at = 0; at < name.size() && plain;) {
      const char32_t c = TakeUtf8(name, &at).value_or(0);  // a schema is UTF-8: 0 is one that is not plain
      plain = !PlainChars().Intersected(CharSet({{c, c}})).empty();
      const auto [found, added] = nodes[node].next.try_emplace(c, nodes.size());
      node = found->second;
      if (added) nodes.emplace_back();
    }
    if (plain) nodes[node].name = true;
  }
  const ExprId any = rules_.Repeat(rules_.Chars(PlainChars()), 0, kUnbounded);
  for (size_t i = nodes.size(); i-- > 0;) {  // children stand behind their parents
    CharSet followed;
    std::vector<ExprId> choices;
    for (const auto& [c, child] : nodes[i].next) {
      followed.Add(CodePoints{c, c});
      choices.push_back(
          rules_.Sequence({rules_.Chars(PlainChars().Intersected(CharSet({{c, c}}))), nodes[child].rest}));
    }
    choices.push_back(rules_.Sequence({rules_.Chars(PlainChars().Intersected(followed.Negated())), any}));
    if (!nodes[i].name) choices.push_back(rules_.Sequence({}));
    nodes[i].rest = rules_.Choice(std::move(choices));
  }
  return rules_.Sequence({rules_.Bytes("\""), nodes[0].rest, rules_.Bytes("\"")});
}

// "357" to "921": 35[7-9] | 3[6-9]x | [4-8]xx | 9[0-1]x | 92[0-1].
ExprId JsonText::NumeralsBetween(std::string_view low, std::string_view high) {
  const auto digit = [this](char first, char last) {
    return rules_.Chars(CharSet({{static_cast<char32_t>(first), static_cast<char32_t>(last)}}));
  };
  if (low.empty()) return rules_.Sequence({});
  const int rest = static_cast<int>(low.size()) - 1;
  const std::string nines(rest, '9'), zeros(rest, '0');
  if (low[0] == high[0]) {
    return rules_.Sequence({digit(low[0], low[0]), NumeralsBetween(low.substr(1), high.substr(1))});
  }
  std::vector<ExprId> choices;
  char first = low[0], last = high[0];
  if (low.substr(1) != zeros) {
    choices.push_back(rules_.Sequence({digit(first, first), NumeralsBetween(low.substr(1), nines)}));
    ++first;
  }
  if (high.substr(1) != nines) {
    choices.push_back(rules_.Sequence({digit(last, last), NumeralsBetween(zeros, high.substr(1))}));
    --last;
  }
  if (first <= last) choices.push_back(rules_.Sequence({digit(first, last), Digits(rest, rest)}));
  return rules_.Choice(std::move(choices));
}

// 0 <= low <= high.
ExprId JsonText::Magnitudes(int64_t low, int64_t high) {
  const std::string first = absl::StrCat(low), last = absl::StrCat(high);
  std::vector<ExprId> choices;
  for (size_t length = first.size(); length <= last.size(); ++length) {
    const std::string least = absl::StrCat("1", std::string(length - 1, '0')), most(length, '9');
    choices.push_back(NumeralsBetween(length == first.size() ? first : least, length == last.size() ? last : most));
  }
  return rules_.Choice(std::move(choices));
}

ExprId JsonText::IntegerBetween(std::optional<int64_t> low, std::optional<int64_t> high) {
  const int64_t from = std::max(low.value_or(-kMaxInteger), -kMaxInteger);
  const int64_t to = std::min(high.value_or(kMaxInteger), kMaxInteger);
  std::vector<ExprId> choices;
  if (from <= to && to >= 0) choices.push_back(Magnitudes(std::max<int64_t>(from, 0), to));
  if (from <= to && from < 0) {
    choices.push_back(rules_.Sequence({rules_.Bytes("-"), Magnitudes(-std::min<int64_t>(to, -1), -from)}));
  }
  return rules_.Choice(std::move(choices));
}

ExprId JsonText::NumberBetween(std::optional<int64_t> low, std::optional<int64_t> high) {
  const int64_t from = std::max(low.value_or(-kMaxInteger), -kMaxInteger);
  const int64_t to = std::min(high.value_or(kMaxInteger), kMaxInteger);
  const ExprId fraction = rules_.Optional(rules_.Sequence({rules_.Bytes("."), Digits(1, kMaxDigits)}));
  const ExprId zeros = rules_.Repeat(rules_.Bytes("0"), 1, kMaxDigits);
  const ExprId no_fraction = rules_.Optional(rules_.Sequence({rules_.Bytes("."), zeros}));
  const auto between = [&](int64_t least, int64_t most) {
    std::vector<ExprId> choices{rules_.Sequence({Magnitudes(most, most), no_fraction})};
    if (least < most) choices.push_back(rules_.Sequence({Magnitudes(least, most - 1), fraction}));
    return rules_.Choice(std::move(choices));
  };
  std::vector<ExprId> choices;
  if (from <= to && to >= 0) choices.push_back(between(std::max<int64_t>(from, 0), to));
  if (from <= to && from < 0) {
    choices.push_back(rules_.Sequence({rules_.Bytes("-"), between(-std::min<int64_t>(to, 0), -from)}));
  }
  return rules_.Choice(std::move(choices));
}

}  // namespace tandem::grammar
