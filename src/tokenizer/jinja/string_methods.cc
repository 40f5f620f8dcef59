// The methods of str.
#include <algorithm>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "tokenizer/jinja/builtins.h"
#include "tokenizer/jinja/format.h"
#include "tokenizer/jinja/operators.h"
#include "tokenizer/jinja/text.h"
#include "tokenizer/unicode.h"
#include "tokenizer/utf8.h"

namespace tandem::jinja {
namespace {

using Result = absl::StatusOr<Value>;

// An argument that must be a str; nullopt where it is not given or None.
absl::StatusOr<std::optional<std::string_view>> TextArgument(const Arguments& arguments, size_t index,
                                                             std::string_view name) {
  const Value* value = arguments.Get(index, name);
  if (value == nullptr || value->Is<None>()) return std::nullopt;
  RETURN_IF_ERROR(CheckDefined(*value));
  if (value->AsString() == nullptr) {
    return TypeError(absl::StrCat(std::string(name), " must be str, not ", std::string(TypeName(*value))));
  }
  return std::string_view(*value->AsString());
}

absl::StatusOr<std::string_view> RequiredText(const Arguments& arguments, size_t index, std::string_view name) {
  ASSIGN_OR_RETURN(const std::optional<std::string_view> text, TextArgument(arguments, index, name));
  if (!text.has_value()) return TypeError(absl::StrCat(std::string(name), " is missing, want a str"));
  return *text;
}

absl::StatusOr<int64_t> IntegerArgument(const Arguments& arguments, size_t index, std::string_view name,
                                        int64_t fallback) {
  const Value* value = arguments.Get(index, name);
  if (value == nullptr || value->Is<None>()) return fallback;
  if (!value->IsInteger()) {
    return TypeError(absl::StrCat(Quoted(TypeName(*value)), " object cannot be interpreted as an integer"));
  }
  return value->ToInteger();
}

template <std::string (*map)(std::string_view)>
Result MapText(const std::string& self, const Arguments& arguments, Heap* heap) {
  RETURN_IF_ERROR(arguments.Expect("the method", {}));
  RETURN_IF_ERROR(heap->Charge(self.size() / 8));
  return heap->String(map(self));
}

std::string SwapCase(std::string_view text) {
  std::string out;
  for (size_t at = 0; at < text.size();) {
    const Utf8Char c = DecodeUtf8(text, at);
    const std::string_view character = text.substr(at, std::max(1, c.num_bytes));
    out += IsUpper(c.code_point) ? ToLower(character) : ToUpper(character);
    at += character.size();
  }
  return out;
}

template <Side side>
Result StripText(const std::string& self, const Arguments& arguments, Heap* heap) {
  RETURN_IF_ERROR(arguments.Expect("strip", {"chars"}));
  ASSIGN_OR_RETURN(const std::optional<std::string_view> characters, TextArgument(arguments, 0, "chars"));
  return heap->String(std::string(Strip(self, characters, side)));
}

Result ListOf(const std::vector<std::string_view>& parts, Heap* heap) {
  Values items;
  items.reserve(parts.size());
  for (const std::string_view part : parts) {
    ASSIGN_OR_RETURN(items.emplace_back(), heap->String(std::string(part)));
  }
  return heap->List(std::move(items));
}

template <bool from_right>
Result SplitText(const std::string& self, const Arguments& arguments, Heap* heap) {
  RETURN_IF_ERROR(arguments.Expect("split", {"sep", "maxsplit"}));
  ASSIGN_OR_RETURN(const std::optional<std::string_view> separator, TextArgument(arguments, 0, "sep"));
  ASSIGN_OR_RETURN(const int64_t max_split, IntegerArgument(arguments, 1, "maxsplit", -1));
  if (separator.has_value() && separator->empty()) return absl::InvalidArgumentError("empty separator");
  RETURN_IF_ERROR(heap->ChargeSearch(self, separator.value_or("")));
  return ListOf(Split(self, separator, max_split, from_right), heap);
}

Result SplitIntoLines(const std::string& self, const Arguments& arguments, Heap* heap) {
  RETURN_IF_ERROR(arguments.Expect("splitlines", {"keepends"}));
  const Value* keep_ends = arguments.Get(0, "keepends");
  return ListOf(SplitLines(self, keep_ends != nullptr && IsTrue(*keep_ends)), heap);
}

template <bool from_right>
Result Partition(const std::string& self, const Arguments& arguments, Heap* heap) {
  RETURN_IF_ERROR(arguments.Expect("partition", {"sep"}, 1));
  ASSIGN_OR_RETURN(const std::string_view separator, RequiredText(arguments, 0, "sep"));
  if (separator.empty()) return absl::InvalidArgumentError("empty separator");
  RETURN_IF_ERROR(heap->ChargeSearch(self, separator));
  const size_t at = from_right ? self.rfind(separator) : self.find(separator);
  std::string parts[3] = {from_right ? "" : self, "", from_right ? self : ""};
  if (at != self.npos) {
    parts[0] = self.substr(0, at);
    parts[1] = separator;
    parts[2] = self.substr(at + separator.size());
  }
  Values items;
  for (std::string& part : parts) {
    ASSIGN_OR_RETURN(items.emplace_back(), heap->String(std::move(part)));
  }
  return heap->Tuple(std::move(items));
}

// The part of `self` that the arguments `start` and `end` (characters) leave, and where it begins in characters.
struct Window {
  std::string_view text;
  int64_t start = 0;
  bool is_valid = true;  // start lies in the text
};

absl::StatusOr<Window> ReadWindow(const std::string& self, const Arguments& arguments) {
  Window window{self};
  if (arguments.positional.size() <= 1 && arguments.named.empty()) return window;
  const int64_t length = CountCodePoints(self);
  ASSIGN_OR_RETURN(int64_t start, IntegerArgument(arguments, 1, "start", 0));
  ASSIGN_OR_RETURN(int64_t end, IntegerArgument(arguments, 2, "end", length));
  if (start < 0) start = std::max<int64_t>(0, start + length);
  if (end < 0) end += length;
  window.is_valid = start <= length && start <= end;
  window.start = std::min(start, length);
  end = std::clamp(end, window.start, length);
  const size_t begin = ByteOfCodePoint(self, 0, window.start);
  window.text = std::string_view(self).substr(begin, ByteOfCodePoint(self, begin, end - window.start) - begin);
  return window;
}

template <bool at_end>
Result BeginsOrEnds(const std::string& self, const Arguments& arguments, Heap* heap) {
  RETURN_IF_ERROR(arguments.Expect(at_end ? "endswith" : "startswith", {"prefix", "start", "end"}, 1));
  ASSIGN_OR_RETURN(const Window window, ReadWindow(self, arguments));
  const Value& affix = *arguments.Get(0, "prefix");
  Values affixes = {affix};
  if (affix.Is<Value::Tuple>()) affixes = *affix.AsSequence();
  for (const Value& candidate : affixes) {
    const std::string* text = candidate.AsString();
    if (text == nullptr) {
      return TypeError(absl::StrCat(at_end ? "endswith" : "startswith",
                                    " first arg must be str or a tuple of str, not ",
                                    std::string(TypeName(candidate))));
    }
    RETURN_IF_ERROR(heap->Charge(1 + text->size() / 64));
    if (window.is_valid && (at_end ? window.text.ends_with(*text) : window.text.starts_with(*text))) return Value(true);
  }
  return Value(false);
}

// find, rfind, index, rindex: positions in characters.
template <bool from_right, bool must_exist>
Result FindText(const std::string& self, const Arguments& arguments, Heap* heap) {
  RETURN_IF_ERROR(arguments.Expect("find", {"sub", "start", "end"}, 1));
  ASSIGN_OR_RETURN(const std::string_view needle, RequiredText(arguments, 0, "sub"));
  ASSIGN_OR_RETURN(const Window window, ReadWindow(self, arguments));
  RETURN_IF_ERROR(heap->ChargeSearch(self, needle));
  const size_t at = from_right ? window.text.rfind(needle) : window.text.find(needle);
  if (window.is_valid && at != window.text.npos) {
    return Value(window.start + static_cast<int64_t>(CountCodePoints(window.text.substr(0, at))));
  }
  if (must_exist) return absl::InvalidArgumentError("substring not found");
  return Value(-1);
}

Result CountText(const std::string& self, const Arguments& arguments, Heap* heap) {
  RETURN_IF_ERROR(arguments.Expect("count", {"sub", "start", "end"}, 1));
  ASSIGN_OR_RETURN(const std::string_view needle, RequiredText(arguments, 0, "sub"));
  ASSIGN_OR_RETURN(const Window window, ReadWindow(self, arguments));
  RETURN_IF_ERROR(heap->ChargeSearch(self, needle));
  if (!window.is_valid) return Value(0);
  if (needle.empty()) return Value(CountCodePoints(window.text) + 1);
  int64_t count = 0;
  for (size_t at = window.text.find(needle); at != window.text.npos;
       at = window.text.find(needle, at + needle.size())) {
    ++count;
  }
  return Value(count);
}

Result Replace(const std::string& self, const Arguments& arguments, Heap* heap) {
  RETURN_IF_ERROR(arguments.Expect("replace", {"old", "new", "count"}, 2));
  ASSIGN_OR_RETURN(const std::string_view old, RequiredText(arguments, 0, "old"));
  ASSIGN_OR_RETURN(const std::string_view with, RequiredText(arguments, 1, "new"));
  ASSIGN_OR_RETURN(const int64_t count, IntegerArgument(arguments, 2, "count", -1));
  RETURN_IF_ERROR(heap->ChargeSearch(self, old));
  RETURN_IF_ERROR(heap->CheckBytes(ReplacedSize(self, old, with, count)));
  return heap->String(ReplaceText(self, old, with, count));
}

Result Join(const std::string& self, const Arguments& arguments, Heap* heap) {
  RETURN_IF_ERROR(arguments.Expect("join", {"iterable"}, 1));
  ASSIGN_OR_RETURN(const Values items, Iterate(*arguments.Get(0, "iterable"), heap));
  std::string joined;
  for (size_t i = 0; i < items.size(); ++i) {
    const std::string* text = items[i].AsString();
    if (text == nullptr) {
      return TypeError(
          absl::StrCat("sequence item ", i, ": expected str instance, ", std::string(TypeName(items[i])), " found"));
    }
    if (i > 0) joined += self;
    joined += *text;
    RETURN_IF_ERROR(heap->CheckBytes(joined.size()));
  }
  return heap->String(std::move(joined));
}

template <bool from_end>
Result RemoveAffix(const std::string& self, const Arguments& arguments, Heap* heap) {
  RETURN_IF_ERROR(arguments.Expect("removeprefix", {"affix"}, 1));
  ASSIGN_OR_RETURN(const std::string_view affix, RequiredText(arguments, 0, "affix"));
  std::string_view text = self;
  if (!from_end && text.starts_with(affix)) text.remove_prefix(affix.size());
  if (from_end && text.ends_with(affix)) text.remove_suffix(affix.size());
  return heap->String(std::string(text));
}

enum class Alignment { kLeft, kRight, kCenter, kZeros };

template <Alignment alignment>
Result Justify(const std::string& self, const Arguments& arguments, Heap* heap) {
  RETURN_IF_ERROR(arguments.Expect("the method", {"width", "fillchar"}, 1));
  ASSIGN_OR_RETURN(const int64_t width, IntegerArgument(arguments, 0, "width", 0));
  ASSIGN_OR_RETURN(const std::optional<std::string_view> fill, TextArgument(arguments, 1, "fillchar"));
  const std::string filler(fill.value_or(alignment == Alignment::kZeros ? "0" : " "));
  if (CountCodePoints(filler) != 1) return TypeError("the fill character must be exactly one character long");
  const int64_t length = CountCodePoints(self);
  const int64_t missing = std::max<int64_t>(0, width - length);
  RETURN_IF_ERROR(heap->CheckBytes(missing));
  // str.center puts the odd one to the left where the width is odd.
  int64_t left = alignment == Alignment::kLeft ? 0 : missing;
  if (alignment == Alignment::kCenter) left = missing / 2 + (missing & width & 1);
  const bool keeps_sign = alignment == Alignment::kZeros && !self.empty() && (self[0] == '-' || self[0] == '+');
  std::string out = keeps_sign ? self.substr(0, 1) : "";
  for (int64_t i = 0; i < left; ++i) out += filler;
  out += keeps_sign ? self.substr(1) : self;
  for (int64_t i = left; i < missing; ++i) out += filler;
  return heap->String(std::move(out));
}

// isdigit and the like: not empty, and true of every character.
template <bool (*predicate)(char32_t)>
Result All(const std::string& self, const Arguments& arguments, Heap* heap) {
  RETURN_IF_ERROR(arguments.Expect("the method", {}));
  RETURN_IF_ERROR(heap->Charge(self.size() / 8));
  for (size_t at = 0; at < self.size();) {
    const Utf8Char c = DecodeUtf8(self, at);
    if (!predicate(c.code_point)) return Value(false);
    at += std::max(1, c.num_bytes);
  }
  return Value(!self.empty());
}

bool IsAlphaNumeric(char32_t c) {
  return IsAlpha(c) || IsDecimal(c) || IsDigit(c) || IsNumeric(c);
}
bool IsAsciiCharacter(char32_t c) {
  return c < 0x80;
}

Result IsAscii(const std::string& self, const Arguments& arguments, Heap* heap) {
  if (self.empty()) return Value(true);
  return All<IsAsciiCharacter>(self, arguments, heap);
}

template <bool (*is_case)(char32_t), bool (*is_other)(char32_t)>
Result HasCase(const std::string& self, const Arguments& arguments, Heap* heap) {
  RETURN_IF_ERROR(arguments.Expect("the method", {}));
  RETURN_IF_ERROR(heap->Charge(self.size() / 8));
  bool found = false;
  for (size_t at = 0; at < self.size();) {
    const Utf8Char c = DecodeUtf8(self, at);
    if (is_other(c.code_point)) return Value(false);
    found |= is_case(c.code_point);
    at += std::max(1, c.num_bytes);
  }
  return Value(found);
}

constexpr struct {
  std::string_view name;
  StringMethod method;
} kMethods[] = {
    {"strip", StripText<Side::kBoth>},
    {"lstrip", StripText<Side::kLeft>},
    {"rstrip", StripText<Side::kRight>},
    {"split", SplitText<false>},
    {"rsplit", SplitText<true>},
    {"splitlines", SplitIntoLines},
    {"partition", Partition<false>},
    {"rpartition", Partition<true>},
    {"startswith", BeginsOrEnds<false>},
    {"endswith", BeginsOrEnds<true>},
    {"find", FindText<false, false>},
    {"rfind", FindText<true, false>},
    {"index", FindText<false, true>},
    {"rindex", FindText<true, true>},
    {"count", CountText},
    {"replace", Replace},
    {"join", Join},
    {"removeprefix", RemoveAffix<false>},
    {"removesuffix", RemoveAffix<true>},
    {"lower", MapText<ToLower>},
    {"upper", MapText<ToUpper>},
    {"title", MapText<ToTitle>},
    {"capitalize", MapText<ToCapitalized>},
    {"swapcase", MapText<SwapCase>},
    {"ljust", Justify<Alignment::kLeft>},
    {"rjust", Justify<Alignment::kRight>},
    {"center", Justify<Alignment::kCenter>},
    {"zfill", Justify<Alignment::kZeros>},
    {"isdigit", All<IsDigit>},
    {"isdecimal", All<IsDecimal>},
    {"isnumeric", All<IsNumeric>},
    {"isalpha", All<IsAlpha>},
    {"isalnum", All<IsAlphaNumeric>},
    {"isspace", All<IsPythonSpace>},
    {"isascii", IsAscii},
    {"islower", HasCase<IsLower, IsUpper>},
    {"isupper", HasCase<IsUpper, IsLower>},
};

}  // namespace

StringMethod FindStringMethod(std::string_view name) {
  for (const auto& entry : kMethods) {
    if (entry.name == name) return entry.method;
  }
  return nullptr;
}

}  // namespace tandem::jinja
