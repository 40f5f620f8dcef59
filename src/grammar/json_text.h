// JSON as rules: the pieces that a schema's rules are made of. What they match is JSON, but not all spellings of it:
// docs/structured-output.md says which.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "grammar/rules.h"

namespace tandem::grammar {

// Adds to one Rules, borrowed. Each piece is a rule and made once.
class JsonText {
 public:
  explicit JsonText(Rules* rules) : rules_(*rules) {}

  // White space behind '{', '[', ',' and before '}', ']': none, one space, or a newline with up to 20 spaces or tabs.
  ExprId Blank();
  ExprId Integer();  // of up to 18 digits
  ExprId Number();   // of up to 18 digits before and behind the point, and an exponent of up to 2
  ExprId Boolean();
  ExprId Null() { return rules_.Bytes("null"); }
  ExprId Object();  // any
  ExprId Value();   // any

  // Integers of at most 18 digits within the bounds, both included.
  ExprId IntegerBetween(std::optional<int64_t> low, std::optional<int64_t> high);
  // Numbers within such bounds, without exponents.
  ExprId NumberBetween(std::optional<int64_t> low, std::optional<int64_t> high);

  // A string of so many characters (code points); high may be kUnbounded.
  ExprId String(int low, int high);
  // A string whose content `expression` finds a match in, as ECMAScript searches; characters that need no escape are
  // written as themselves. Statuses of ParseRegex.
  absl::StatusOr<ExprId> StringLike(std::string_view expression);
  // A key without escapes that is none of `names`.
  ExprId KeyOtherThan(const std::vector<std::string>& names);

  // '{', members, '}' and '[', elements, ']' with white space within.
  ExprId Braced(ExprId members) { return Enclosed("{", members, "}"); }
  ExprId Bracketed(ExprId elements) { return Enclosed("[", elements, "]"); }
  ExprId Member(ExprId key, ExprId value) { return rules_.Sequence({key, Colon(), value}); }
  // `item` so many times with commas between.
  ExprId List(ExprId item, int low, int high);
  ExprId Comma() { return rules_.Sequence({rules_.Bytes(","), Blank()}); }

 private:
  ExprId Colon() { return rules_.Sequence({rules_.Bytes(":"), rules_.Optional(rules_.Bytes(" "))}); }
  ExprId Enclosed(const char* open, ExprId inner, const char* close) {
    return rules_.Sequence({rules_.Bytes(open), Blank(), inner, Blank(), rules_.Bytes(close)});
  }
  ExprId Once(std::optional<RuleId>& rule, const char* name, ExprId (JsonText::*make)());
  ExprId MakeBlank();
  ExprId MakeInteger();
  ExprId MakeNumber();
  ExprId MakeCharacter();
  ExprId MakeObject();
  ExprId MakeValue();
  ExprId Digits(int low, int high) { return rules_.Repeat(rules_.Chars(CharSet({{'0', '9'}})), low, high); }
  ExprId Character();
  ExprId Encoded(const CharSet& chars);
  // Decimal numerals of one length, from `low` to `high`.
  ExprId NumeralsBetween(std::string_view low, std::string_view high);
  ExprId Magnitudes(int64_t low, int64_t high);
  ExprId MakeString();

  Rules& rules_;
  std::optional<RuleId> blank_, integer_, number_, character_, object_, value_, string_;
};

}  // namespace tandem::grammar
