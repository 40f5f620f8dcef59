#include "tokenizer/jinja/format.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "tokenizer/utf8.h"

namespace tandem::jinja {
namespace {

constexpr int kMaxWidth = 10000;

struct Conversion {
  std::string flags;  // of "-+ 0#"
  int width = 0;
  int precision = -1;
  char kind = 's';

  bool Has(char flag) const { return flags.find(flag) != flags.npos; }
};

// Pads `text` to the width; zeros go between the sign and the digits.
std::string Pad(const Conversion& conversion, std::string text, bool is_number) {
  const int missing = conversion.width - static_cast<int>(CountCodePoints(text));
  if (missing <= 0) return text;
  if (conversion.Has('-')) return text.append(missing, ' ');
  if (conversion.Has('0') && is_number) {
    const bool has_sign = !text.empty() && (text[0] == '-' || text[0] == '+' || text[0] == ' ');
    return text.insert(has_sign ? 1 : 0, missing, '0');
  }
  return text.insert(0, missing, ' ');
}

std::string Sign(const Conversion& conversion, bool negative) {
  if (negative) return "-";
  return conversion.Has('+') ? "+" : conversion.Has(' ') ? " " : "";
}

absl::StatusOr<std::string> FormatInteger(const Conversion& conversion, const Value& value) {
  if (!value.IsNumber()) {
    return TypeError(absl::StrCat("%", std::string(1, conversion.kind), " format: a real number is required, not ",
                                  std::string(TypeName(value))));
  }
  if (value.Is<double>() && !(std::abs(value.ToDouble()) < 9e18)) {
    return absl::InvalidArgumentError("the number does not fit a 64-bit integer");
  }
  const int64_t number = value.Is<double>() ? static_cast<int64_t>(value.ToDouble()) : value.ToInteger();
  const uint64_t magnitude = number < 0 ? 0 - static_cast<uint64_t>(number) : static_cast<uint64_t>(number);
  char digits[32];
  const char* const pattern = conversion.kind == 'x'   ? "%lx"
                              : conversion.kind == 'X' ? "%lX"
                              : conversion.kind == 'o' ? "%lo"
                                                       : "%lu";
  std::snprintf(digits, sizeof(digits), pattern, magnitude);
  std::string text = digits;
  if (conversion.precision > static_cast<int>(text.size())) text.insert(0, conversion.precision - text.size(), '0');
  if (conversion.Has('#') && conversion.kind != 'd') text.insert(0, absl::StrCat("0", std::string(1, conversion.kind)));
  return Sign(conversion, number < 0) + text;
}

absl::StatusOr<std::string> FormatFloat(const Conversion& conversion, const Value& value) {
  if (!value.IsNumber()) return TypeError(absl::StrCat("must be real number, not ", std::string(TypeName(value))));
  const double number = value.ToDouble();
  const std::string pattern = absl::StrCat("%", conversion.Has('#') ? "#" : "", ".*", std::string(1, conversion.kind));
  const int precision = conversion.precision < 0 ? 6 : conversion.precision;
  std::string text(400 + precision, '\0');
  text.resize(std::snprintf(text.data(), text.size(), pattern.c_str(), precision, std::abs(number)));
  return Sign(conversion, std::signbit(number) && !std::isnan(number)) + text;
}

absl::StatusOr<std::string> FormatOne(const Conversion& conversion, const Value& value, Heap* heap) {
  switch (conversion.kind) {
    case 's':
    case 'r': {
      RETURN_IF_ERROR(heap->ChargeWalk(value));
      std::string text = conversion.kind == 's' ? Str(value) : Repr(value);
      if (conversion.precision >= 0) text.resize(ByteOfCodePoint(text, 0, conversion.precision));
      return Pad(conversion, std::move(text), false);
    }
    case 'd':
    case 'i':
    case 'u':
    case 'x':
    case 'X':
    case 'o': {
      Conversion decimal = conversion;
      if (conversion.kind == 'i' || conversion.kind == 'u') decimal.kind = 'd';
      ASSIGN_OR_RETURN(std::string text, FormatInteger(decimal, value));
      return Pad(conversion, std::move(text), true);
    }
    case 'e':
    case 'E':
    case 'f':
    case 'F':
    case 'g':
    case 'G': {
      ASSIGN_OR_RETURN(std::string text, FormatFloat(conversion, value));
      return Pad(conversion, std::move(text), true);
    }
    case 'c':
      if (value.AsString() != nullptr && CountCodePoints(*value.AsString()) == 1) {
        return Pad(conversion, *value.AsString(), false);
      }
      return TypeError("%c requires a character");
    default:
      return absl::InvalidArgumentError(
          absl::StrCat("unsupported format character ", Quoted(std::string(1, conversion.kind))));
  }
}

class PercentFormatter {
 public:
  PercentFormatter(std::string_view format, const Value& arguments, Heap* heap)
      : format_(format), arguments_(arguments), heap_(heap) {}

  absl::StatusOr<std::string> Run() {
    while (at_ < format_.size()) {
      const size_t percent = std::min(format_.find('%', at_), format_.size());
      out_.append(format_.substr(at_, percent - at_));
      at_ = percent + 1;
      if (percent == format_.size()) break;
      if (format_.substr(at_, 1) == "%") {
        out_.push_back('%');
        ++at_;
        continue;
      }
      RETURN_IF_ERROR(One());
      RETURN_IF_ERROR(heap_->CheckBytes(out_.size()));
    }
    const Value::Tuple* tuple = arguments_.As<Value::Tuple>();
    const size_t given = tuple != nullptr ? tuple->object->items.size() : arguments_.Is<Value::Dict>() ? used_ : 1;
    if (used_ < given) return TypeError("not all arguments converted during string formatting");
    return std::move(out_);
  }

 private:
  absl::StatusOr<Value> NextArgument() {
    const Value::Tuple* tuple = arguments_.As<Value::Tuple>();
    const size_t given = tuple != nullptr ? tuple->object->items.size() : 1;
    if (used_ >= given) return TypeError("not enough arguments for format string");
    return tuple != nullptr ? tuple->object->items[used_++] : (++used_, arguments_);
  }

  absl::StatusOr<Value> NamedArgument() {
    const size_t end = format_.find(')', at_);
    if (end == format_.npos) return absl::InvalidArgumentError("incomplete format key");
    const std::string_view name = format_.substr(at_ + 1, end - at_ - 1);
    at_ = end + 1;
    const auto* dict = arguments_.As<Value::Dict>();
    if (dict == nullptr) return TypeError("format requires a mapping");
    const Value* value = FindKey(**dict, name);
    if (value == nullptr) return absl::InvalidArgumentError(absl::StrCat("no key ", Quoted(name), " to format"));
    return *value;
  }

  absl::StatusOr<int> Number() {
    if (format_.substr(at_, 1) == "*") {
      ++at_;
      ASSIGN_OR_RETURN(const Value width, NextArgument());
      if (!width.IsInteger()) return TypeError("* wants int");
      return static_cast<int>(std::clamp<int64_t>(width.ToInteger(), 0, kMaxWidth));
    }
    int number = 0;
    while (at_ < format_.size() && format_[at_] >= '0' && format_[at_] <= '9') {
      number = std::min(kMaxWidth, number * 10 + (format_[at_++] - '0'));
    }
    return number;
  }

  absl::Status One() {
    Conversion conversion;
    std::optional<Value> value;
    if (format_.substr(at_, 1) == "(") {
      ASSIGN_OR_RETURN(value, NamedArgument());
    }
    while (at_ < format_.size() && std::string_view("-+ 0#").find(format_[at_]) != std::string_view::npos) {
      conversion.flags.push_back(format_[at_++]);
    }
    ASSIGN_OR_RETURN(conversion.width, Number());
    if (format_.substr(at_, 1) == ".") {
      ++at_;
      ASSIGN_OR_RETURN(conversion.precision, Number());
    }
    if (at_ >= format_.size()) return absl::InvalidArgumentError("incomplete format");
    conversion.kind = format_[at_++];
    if (!value.has_value()) {
      ASSIGN_OR_RETURN(value, NextArgument());
    }
    ASSIGN_OR_RETURN(const std::string text, FormatOne(conversion, *value, heap_));
    out_ += text;
    return absl::OkStatus();
  }

  std::string_view format_;
  const Value& arguments_;
  Heap* heap_;
  std::string out_;
  size_t at_ = 0, used_ = 0;
};

}  // namespace

absl::StatusOr<Value> FormatPercent(const Value& format, const Value& arguments, Heap* heap) {
  ASSIGN_OR_RETURN(std::string text, PercentFormatter(*format.AsString(), arguments, heap).Run());
  return heap->String(std::move(text));
}

}  // namespace tandem::jinja
