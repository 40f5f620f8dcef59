// Masks against brute force: all texts of a random grammar up to a length, by rewriting rules, and all tokens.
#include <gtest/gtest.h>

#include <map>
#include <random>
#include <set>

#include "grammar/test_grammars.h"

namespace tandem::grammar {
namespace {

using Texts = std::set<std::string>;
constexpr size_t kMaxText = 6;

Texts Concatenated(const Texts& a, const Texts& b, bool* cut) {
  Texts out;
  for (const std::string& x : a) {
    for (const std::string& y : b) {
      if (x.size() + y.size() <= kMaxText) {
        out.insert(x + y);
      } else {
        *cut = true;
      }
    }
  }
  return out;
}

// The texts of `id` given those known of every rule; *cut where there are longer ones.
Texts TextsOf(const Rules& rules, ExprId id, const std::vector<Texts>& known, bool* cut) {
  const Expr& expr = rules.expr(id);
  Texts out;
  switch (expr.kind) {
    case ExprKind::kBytes:
      if (expr.bytes.size() <= kMaxText) out.insert(expr.bytes);
      break;
    case ExprKind::kChars:
      for (const CodePoints& range : expr.chars.ranges()) {
        for (char32_t c = range.first; c <= range.last; ++c) out.insert(std::string(1, static_cast<char>(c)));
      }
      break;
    case ExprKind::kSequence:
      out = {""};
      for (const ExprId child : expr.children) out = Concatenated(out, TextsOf(rules, child, known, cut), cut);
      break;
    case ExprKind::kChoice:
      for (const ExprId child : expr.children) out.merge(TextsOf(rules, child, known, cut));
      break;
    case ExprKind::kRepeat: {
      const Texts once = TextsOf(rules, expr.children[0], known, cut);
      Texts turns = {""};
      const int max = expr.max == kUnbounded ? std::max<int>(expr.min, kMaxText) : expr.max;
      for (int i = 0; i <= max; ++i) {
        if (i >= expr.min) out.insert(turns.begin(), turns.end());
        if (i < max) turns = Concatenated(turns, once, cut);
      }
      break;
    }
    case ExprKind::kRule:
      out = known[expr.rule];
  }
  return out;
}

// To a fixed point: every text of at most kMaxText bytes is found, as no derivation shrinks a text.
Texts Language(const Rules& rules, bool* cut) {
  std::vector<Texts> known(rules.num_rules());
  for (bool changed = true; changed;) {
    changed = false;
    for (RuleId rule = 0; rule < rules.num_rules(); ++rule) {
      Texts texts = TextsOf(rules, rules.rule(rule).expr, known, cut);
      changed = changed || texts.size() != known[rule].size();
      known[rule] = std::move(texts);
    }
  }
  return known[rules.root];
}

class RandomGrammar {
 public:
  explicit RandomGrammar(uint32_t seed) : random_(seed) {}
  Rules Make() {
    Rules rules;
    const int count = 1 + Pick(3);
    for (int i = 0; i < count; ++i) rules.AddRule("r" + std::to_string(i));
    for (int i = 0; i < count; ++i) rules.Define(i, Expression(rules, 3));
    return rules;
  }
  int Pick(int n) { return static_cast<int>(random_() % n); }
  std::string Text(size_t length) {
    std::string text;
    while (text.size() < length) text.push_back(static_cast<char>('a' + Pick(3)));
    return text;
  }

 private:
  ExprId Expression(Rules& rules, int depth) {
    switch (depth == 0 ? Pick(2) : Pick(7)) {
      case 0:
        return rules.Bytes(Text(Pick(3)));
      case 1:
        return rules.Chars(CharSet({{'a', static_cast<char32_t>('a' + Pick(3))}}));
      case 2:
        return rules.Ref(Pick(rules.num_rules()));
      case 3:
      case 4: {
        std::vector<ExprId> parts;
        for (int i = 1 + Pick(3); i > 0; --i) parts.push_back(Expression(rules, depth - 1));
        return Pick(2) ? rules.Sequence(std::move(parts)) : rules.Choice(std::move(parts));
      }
      default: {
        const int min = Pick(3);
        const int max = Pick(3) == 0 ? kUnbounded : Pick(4) == 0 ? 90 : min + Pick(3);
        return rules.Repeat(Expression(rules, depth - 1), min, max);
      }
    }
  }
  std::mt19937 random_;
};

bool IsPrefix(const Texts& language, const std::string& prefix) {
  const auto at = language.lower_bound(prefix);
  return at != language.end() && at->starts_with(prefix);
}

TEST(MaskOracle, MaskIsExactlyTheTokensAfterWhichACompletionExists) {
  int compiled = 0, whole = 0, masks = 0, allowed = 0;
  for (uint32_t seed = 0; seed < 400; ++seed) {
    RandomGrammar random(seed);
    const Rules rules = random.Make();
    std::vector<std::string> texts{"a", "b", "c"};
    for (int i = 0; i < 12; ++i) texts.push_back(random.Text(1 + random.Pick(3)));
    const absl::StatusOr<std::shared_ptr<Grammar>> grammar = Grammar::Compile(rules, MakeTokens(texts));
    if (!grammar.ok()) continue;  // left recursion through several rules, or no text at all
    // What the oracle finds must be in the mask; where no text of any rule was cut off, nothing else may be.
    bool cut = false;
    const Texts language = Language(rules, &cut);
    whole += !cut;
    ++compiled;
    for (int walk = 0; walk < 6; ++walk) {
      Matcher matcher(*grammar);
      std::string text;
      for (int step = 0; step < 4; ++step) {
        std::vector<uint64_t> mask(1);
        ASSERT_TRUE(matcher.FillMask(std::span(mask)).ok()) << seed;
        ++masks;
        ASSERT_EQ(matcher.MayEnd(), language.contains(text)) << "seed " << seed << " text " << text;
        ASSERT_EQ(mask[0] >> texts.size() & 1, language.contains(text)) << "seed " << seed << " text " << text;
        std::vector<int> next;
        for (size_t token = 0; token < texts.size(); ++token) {
          const bool in_mask = mask[0] >> token & 1;
          const bool want = IsPrefix(language, text + texts[token]);
          ASSERT_GE(in_mask, want) << "seed " << seed << " text '" << text << "' token " << texts[token];
          ASSERT_TRUE(cut || in_mask == want) << "seed " << seed << " text '" << text << "' token " << texts[token];
          Matcher copy = matcher;
          ASSERT_EQ(copy.Accept(static_cast<int32_t>(token)).ok(), in_mask) << "seed " << seed;
          if (want) next.push_back(static_cast<int>(token));
        }
        allowed += static_cast<int>(next.size());
        if (next.empty()) break;
        const int token = next[random.Pick(static_cast<int>(next.size()))];
        if (text.size() + texts[token].size() > kMaxText - 3) break;
        ASSERT_TRUE(matcher.Accept(token).ok());
        text += texts[token];
      }
    }
  }
  EXPECT_GT(compiled, 200);
  EXPECT_GT(whole, 50);
  EXPECT_GT(masks, 1000);
  EXPECT_GT(allowed, 1000);
}

}  // namespace
}  // namespace tandem::grammar
