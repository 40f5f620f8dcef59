// Filters that give text or numbers.
#include <charconv>
#include <cmath>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "tokenizer/jinja/builtins.h"
#include "tokenizer/jinja/format.h"
#include "tokenizer/jinja/json_text.h"
#include "tokenizer/jinja/operators.h"
#include "tokenizer/jinja/text.h"
#include "tokenizer/unicode.h"
#include "tokenizer/utf8.h"

namespace tandem::jinja {
namespace {

using Result = absl::StatusOr<Value>;

// str(value), charged.
absl::StatusOr<std::string> TextOf(const Value& value, Evaluator* evaluator) {
  RETURN_IF_ERROR(evaluator->heap().ChargeWalk(value));
  return Str(value);
}

template <std::string (*map)(std::string_view)>
Result MapText(const Value& value, const Arguments& arguments, Evaluator* evaluator) {
  RETURN_IF_ERROR(arguments.Expect("the filter", {}));
  ASSIGN_OR_RETURN(const std::string text, TextOf(value, evaluator));
  RETURN_IF_ERROR(evaluator->heap().Charge(text.size() / 8));
  return evaluator->heap().String(map(text));
}

// Words begin behind white space and opening brackets, unlike for str.title.
std::string TitleWords(std::string_view text) {
  std::string out;
  bool begins = true;
  for (size_t at = 0; at < text.size();) {
    const Utf8Char c = DecodeUtf8(text, at);
    const bool separates = IsPythonSpace(c.code_point) || c.code_point == '-' || c.code_point == '(' ||
                           c.code_point == '{' || c.code_point == '[' || c.code_point == '<';
    const std::string_view character = text.substr(at, std::max(1, c.num_bytes));
    if (separates) {
      out.append(character);
      begins = true;
    } else if (begins) {
      out += ToUpper(character);
      begins = false;
    } else {
      size_t end = at;
      while (end < text.size()) {
        const Utf8Char next = DecodeUtf8(text, end);
        const char32_t n = next.code_point;
        if (IsPythonSpace(n) || n == '-' || n == '(' || n == '{' || n == '[' || n == '<') break;
        end += std::max(1, next.num_bytes);
      }
      out += ToLower(text.substr(at, end - at));
      at = end;
      continue;
    }
    at += character.size();
  }
  return out;
}

Result Trim(const Value& value, const Arguments& arguments, Evaluator* evaluator) {
  RETURN_IF_ERROR(arguments.Expect("trim", {"chars"}));
  ASSIGN_OR_RETURN(const std::string text, TextOf(value, evaluator));
  std::optional<std::string_view> characters;
  if (const Value* chars = arguments.Get(0, "chars"); chars != nullptr && !chars->Is<None>()) {
    if (chars->AsString() == nullptr) return TypeError("trim's chars must be None or str");
    characters = *chars->AsString();
  }
  return evaluator->heap().String(std::string(Strip(text, characters, Side::kBoth)));
}

Result String(const Value& value, const Arguments& arguments, Evaluator* evaluator) {
  RETURN_IF_ERROR(arguments.Expect("string", {}));
  if (value.AsString() != nullptr) return value;
  ASSIGN_OR_RETURN(std::string text, TextOf(value, evaluator));
  return evaluator->heap().String(std::move(text));
}

Result Safe(const Value& value, const Arguments& arguments, Evaluator* evaluator) {
  RETURN_IF_ERROR(arguments.Expect("safe", {}));
  ASSIGN_OR_RETURN(std::string text, TextOf(value, evaluator));
  return evaluator->heap().String(std::move(text), /*is_markup=*/true);
}

Result Escape(const Value& value, const Arguments& arguments, Evaluator* evaluator) {
  RETURN_IF_ERROR(arguments.Expect("escape", {}));
  if (value.AsString() != nullptr && (*value.As<Value::String>())->is_markup) return value;
  ASSIGN_OR_RETURN(const std::string text, TextOf(value, evaluator));
  return evaluator->heap().String(EscapeHtml(text), /*is_markup=*/true);
}

Result Replace(const Value& value, const Arguments& arguments, Evaluator* evaluator) {
  RETURN_IF_ERROR(arguments.Expect("replace", {"old", "new", "count"}, 2));
  ASSIGN_OR_RETURN(const std::string text, TextOf(value, evaluator));
  ASSIGN_OR_RETURN(const std::string old, TextOf(*arguments.Get(0, "old"), evaluator));
  ASSIGN_OR_RETURN(const std::string with, TextOf(*arguments.Get(1, "new"), evaluator));
  const Value* count = arguments.Get(2, "count");
  if (count != nullptr && !count->IsInteger() && !count->Is<None>()) return TypeError("replace's count must be an int");
  const int64_t max_count = count == nullptr || count->Is<None>() ? -1 : count->ToInteger();
  Heap& heap = evaluator->heap();
  RETURN_IF_ERROR(heap.ChargeSearch(text, old));
  RETURN_IF_ERROR(heap.CheckBytes(ReplacedSize(text, old, with, max_count)));
  return heap.String(ReplaceText(text, old, with, max_count));
}

Result Indent(const Value& value, const Arguments& arguments, Evaluator* evaluator) {
  RETURN_IF_ERROR(arguments.Expect("indent", {"width", "first", "blank"}));
  ASSIGN_OR_RETURN(std::string text, TextOf(value, evaluator));
  const Value* width = arguments.Get(0, "width");
  const Value* first = arguments.Get(1, "first");
  const Value* blank = arguments.Get(2, "blank");
  Heap& heap = evaluator->heap();
  std::string indention(4, ' ');
  if (width != nullptr && width->AsString() != nullptr) {
    indention = *width->AsString();
  } else if (width != nullptr) {
    if (!width->IsInteger()) return TypeError("indent's width must be an int or a str");
    RETURN_IF_ERROR(heap.CheckBytes(width->ToInteger()));
    indention.assign(std::max<int64_t>(0, width->ToInteger()), ' ');
  }
  text.push_back('\n');
  const std::vector<std::string_view> lines = SplitLines(text, /*keep_ends=*/false);
  RETURN_IF_ERROR(heap.Charge(lines.size() * (1 + indention.size() / 64)));
  RETURN_IF_ERROR(heap.CheckBytes(text.size() + lines.size() * indention.size()));
  std::string out;
  for (size_t i = 0; i < lines.size(); ++i) {
    if (i > 0) out.push_back('\n');
    const bool indents =
        i == 0 ? first != nullptr && IsTrue(*first) : !lines[i].empty() || (blank != nullptr && IsTrue(*blank));
    if (indents) out += indention;
    out.append(lines[i]);
  }
  return heap.String(std::move(out));
}

Result Format(const Value& value, const Arguments& arguments, Evaluator* evaluator) {
  Heap& heap = evaluator->heap();
  ASSIGN_OR_RETURN(std::string text, TextOf(value, evaluator));
  ASSIGN_OR_RETURN(const Value format, heap.String(std::move(text)));
  if (arguments.named.empty()) {
    ASSIGN_OR_RETURN(const Value tuple, heap.Tuple(arguments.positional));
    return FormatPercent(format, tuple, &heap);
  }
  std::vector<std::pair<Value, Value>> entries;
  for (const auto& [name, argument] : arguments.named) {
    ASSIGN_OR_RETURN(Value key, heap.String(name));
    entries.emplace_back(std::move(key), argument);
  }
  ASSIGN_OR_RETURN(const Value dict, heap.Dict(std::move(entries)));
  return FormatPercent(format, dict, &heap);
}

absl::StatusOr<DumpOptions> ReadDumpOptions(const Arguments& arguments) {
  RETURN_IF_ERROR(arguments.Expect("tojson", {"ensure_ascii", "indent", "separators", "sort_keys"}));
  DumpOptions options;
  if (const Value* ascii = arguments.Get(0, "ensure_ascii")) options.ensure_ascii = IsTrue(*ascii);
  if (const Value* sort = arguments.Get(3, "sort_keys")) options.sort_keys = IsTrue(*sort);
  if (const Value* indent = arguments.Get(1, "indent"); indent != nullptr && !indent->Is<None>()) {
    if (indent->AsString() == nullptr && !indent->IsInteger())
      return TypeError("tojson's indent must be an int or a str");
    options.indent = indent->AsString() != nullptr
                         ? *indent->AsString()
                         : std::string(std::clamp<int64_t>(indent->ToInteger(), 0, 1000), ' ');
    options.item_separator = ",";
  }
  if (const Value* separators = arguments.Get(2, "separators"); separators != nullptr && !separators->Is<None>()) {
    const Values* pair = separators->AsSequence();
    if (pair == nullptr || pair->size() != 2 || !(*pair)[0].AsString() || !(*pair)[1].AsString()) {
      return TypeError("tojson's separators must be two strings");
    }
    options.item_separator = *(*pair)[0].AsString();
    options.key_separator = *(*pair)[1].AsString();
  }
  return options;
}

Result ToJson(const Value& value, const Arguments& arguments, Evaluator* evaluator) {
  ASSIGN_OR_RETURN(const DumpOptions options, ReadDumpOptions(arguments));
  ASSIGN_OR_RETURN(std::string text, DumpJson(value, options, &evaluator->heap()));
  return evaluator->heap().String(std::move(text));
}

// int("..."), with Python's underscores and white space; nullopt where that raises.
std::optional<int64_t> ParseInteger(std::string_view text, int base) {
  std::string digits;
  for (const char c : Strip(text, std::nullopt, Side::kBoth)) {
    if (c != '_') digits.push_back(c);
  }
  std::string_view rest = digits;
  if (rest.starts_with('+')) rest.remove_prefix(1);
  const bool negative = rest.starts_with('-');
  const std::string_view prefix = rest.substr(negative, 2);
  std::string unprefixed(rest);
  const bool has_prefix = (base == 16 && (prefix == "0x" || prefix == "0X")) ||
                          (base == 8 && (prefix == "0o" || prefix == "0O")) ||
                          (base == 2 && (prefix == "0b" || prefix == "0B"));
  if (has_prefix) unprefixed.erase(negative, 2);
  int64_t value = 0;
  const char* const end = unprefixed.data() + unprefixed.size();
  const auto parsed = std::from_chars(unprefixed.data(), end, value, base);
  if (parsed.ec != std::errc() || parsed.ptr != end) return std::nullopt;
  return value;
}

std::optional<double> ParseFloat(std::string_view text) {
  text = Strip(text, std::nullopt, Side::kBoth);
  if (text.starts_with('+')) text.remove_prefix(1);
  double value = 0;
  const auto parsed = std::from_chars(text.data(), text.data() + text.size(), value);
  if (text.empty() || parsed.ptr != text.data() + text.size()) return std::nullopt;
  return value;
}

Result Int(const Value& value, const Arguments& arguments, Evaluator*) {
  RETURN_IF_ERROR(arguments.Expect("int", {"default", "base"}));
  RETURN_IF_ERROR(CheckDefined(value));
  const Value* fallback = arguments.Get(0, "default");
  const Value* base = arguments.Get(1, "base");
  if (value.IsInteger()) return Value(value.ToInteger());
  std::optional<double> number;
  if (const std::string* text = value.AsString()) {
    const int64_t radix = base != nullptr && base->IsInteger() ? std::clamp<int64_t>(base->ToInteger(), 2, 36) : 10;
    if (const std::optional<int64_t> integer = ParseInteger(*text, radix)) return Value(*integer);
    number = ParseFloat(*text);
  } else if (value.Is<double>()) {
    number = value.ToDouble();
  }
  if (number.has_value() && std::abs(*number) < 9e18) return Value(static_cast<int64_t>(*number));
  return fallback != nullptr ? *fallback : Value(0);
}

Result Float(const Value& value, const Arguments& arguments, Evaluator*) {
  RETURN_IF_ERROR(arguments.Expect("float", {"default"}));
  RETURN_IF_ERROR(CheckDefined(value));
  if (value.IsNumber()) return Value(value.ToDouble());
  if (const std::string* text = value.AsString()) {
    if (const std::optional<double> number = ParseFloat(*text)) return Value(*number);
  }
  const Value* fallback = arguments.Get(0, "default");
  return fallback != nullptr ? *fallback : Value(0.0);
}

Result Abs(const Value& value, const Arguments& arguments, Evaluator*) {
  RETURN_IF_ERROR(arguments.Expect("abs", {}));
  RETURN_IF_ERROR(CheckDefined(value));
  if (!value.IsNumber()) return TypeError(absl::StrCat("bad operand type for abs(): ", Quoted(TypeName(value))));
  if (value.Is<double>()) return Value(std::abs(value.ToDouble()));
  return value.ToInteger() < 0 ? ApplyUnary(Unary::Op::kMinus, value) : Result(Value(value.ToInteger()));
}

Result Round(const Value& value, const Arguments& arguments, Evaluator*) {
  RETURN_IF_ERROR(arguments.Expect("round", {"precision", "method"}));
  RETURN_IF_ERROR(CheckDefined(value));
  const Value* precision = arguments.Get(0, "precision");
  const Value* method = arguments.Get(1, "method");
  if (!value.IsNumber() || (precision != nullptr && !precision->IsInteger())) {
    return TypeError(absl::StrCat("round of a ", std::string(TypeName(value)), ", want a number"));
  }
  const int64_t digits = precision == nullptr ? 0 : std::clamp<int64_t>(precision->ToInteger(), -300, 300);
  const std::string name = method != nullptr ? Str(*method) : "common";
  if (name != "common" && name != "ceil" && name != "floor") {
    return absl::InvalidArgumentError("round's method must be common, ceil or floor");
  }
  const double scale = std::pow(10.0, static_cast<double>(digits));
  if (name == "ceil") return Value(std::ceil(value.ToDouble() * scale) / scale);
  if (name == "floor") return Value(std::floor(value.ToDouble() * scale) / scale);
  if (value.IsInteger() && digits >= 0) return Value(value.ToInteger());
  if (digits < 0) return Value(std::nearbyint(value.ToDouble() * scale) / scale);
  // Exact decimal rounding, ties to even, as Python's round.
  char buffer[1024];
  const auto fixed = std::to_chars(buffer, buffer + sizeof(buffer), value.ToDouble(), std::chars_format::fixed,
                                   static_cast<int>(digits));
  double rounded = value.ToDouble();
  if (fixed.ec == std::errc()) std::from_chars(buffer, fixed.ptr, rounded);
  return Value(rounded);
}

constexpr NamedFilter kFilters[] = {
    {"trim", Trim},
    {"tojson", ToJson},
    {"string", String},
    {"safe", Safe},
    {"lower", MapText<ToLower>},
    {"upper", MapText<ToUpper>},
    {"capitalize", MapText<ToCapitalized>},
    {"title", MapText<TitleWords>},
    {"replace", Replace},
    {"indent", Indent},
    {"format", Format},
    {"escape", Escape},
    {"e", Escape},
    {"int", Int},
    {"float", Float},
    {"abs", Abs},
    {"round", Round},
};

}  // namespace

std::span<const NamedFilter> TextFilters() {
  return kFilters;
}

}  // namespace tandem::jinja
