#include "tokenizer/jinja/operators.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "base/status.h"
#include "tokenizer/jinja/format.h"
#include "tokenizer/utf8.h"

namespace tandem::jinja {
namespace {

constexpr const char* kSymbols[] = {"+", "-", "*", "/", "//", "%", "**"};

absl::Status Unsupported(Binary::Op op, const Value& left, const Value& right) {
  return TypeError(absl::StrCat("unsupported operand type(s) for ", kSymbols[static_cast<int>(op)], ": ",
                                Quoted(TypeName(left)), " and ", Quoted(TypeName(right))));
}

absl::Status TooLarge() {
  return absl::InvalidArgumentError("the result does not fit a 64-bit integer");
}
absl::Status DivisionByZero() {
  return absl::InvalidArgumentError("division by zero");
}

int64_t FloorDivide(int64_t a, int64_t b) {
  return a / b - (a % b != 0 && (a < 0) != (b < 0));
}

absl::StatusOr<Value> IntegerPower(int64_t base, int64_t exponent) {
  if (exponent < 0) {
    if (base == 0) return DivisionByZero();
    return Value(std::pow(static_cast<double>(base), static_cast<double>(exponent)));
  }
  int64_t result = 1;
  if (base == 0 || base == 1) return Value(exponent == 0 ? int64_t{1} : base);
  if (base == -1) return Value(exponent % 2 == 0 ? int64_t{1} : int64_t{-1});
  for (; exponent > 0; --exponent) {  // at most 63 rounds before it overflows
    if (__builtin_mul_overflow(result, base, &result)) return TooLarge();
  }
  return Value(result);
}

absl::StatusOr<Value> ApplyToIntegers(Binary::Op op, int64_t a, int64_t b) {
  int64_t result = 0;
  bool overflow = false;
  switch (op) {
    case Binary::Op::kAdd:
      overflow = __builtin_add_overflow(a, b, &result);
      break;
    case Binary::Op::kSubtract:
      overflow = __builtin_sub_overflow(a, b, &result);
      break;
    case Binary::Op::kMultiply:
      overflow = __builtin_mul_overflow(a, b, &result);
      break;
    case Binary::Op::kPower:
      return IntegerPower(a, b);
    case Binary::Op::kDivide:
    case Binary::Op::kFloorDivide:
    case Binary::Op::kModulo:
      if (b == 0) return DivisionByZero();
      if (op == Binary::Op::kDivide) return Value(static_cast<double>(a) / static_cast<double>(b));
      if (b == -1) {
        overflow = op == Binary::Op::kFloorDivide && __builtin_sub_overflow(int64_t{0}, a, &result);
      } else {
        const int64_t quotient = FloorDivide(a, b);
        result = op == Binary::Op::kFloorDivide ? quotient : a - quotient * b;
      }
      break;
  }
  if (overflow) return TooLarge();
  return Value(result);
}

absl::StatusOr<Value> ApplyToDoubles(Binary::Op op, double a, double b) {
  const bool divides = op == Binary::Op::kDivide || op == Binary::Op::kFloorDivide || op == Binary::Op::kModulo;
  if (divides && b == 0) return DivisionByZero();
  switch (op) {
    case Binary::Op::kAdd:
      return Value(a + b);
    case Binary::Op::kSubtract:
      return Value(a - b);
    case Binary::Op::kMultiply:
      return Value(a * b);
    case Binary::Op::kDivide:
      return Value(a / b);
    case Binary::Op::kFloorDivide:
      return Value(std::floor(a / b));
    case Binary::Op::kModulo: {
      const double rest = std::fmod(a, b);
      return Value(rest != 0 && (rest < 0) != (b < 0) ? rest + b : rest);
    }
    case Binary::Op::kPower:
      return Value(std::pow(a, b));
  }
  return TooLarge();
}

absl::StatusOr<Value> Concatenate(const Value& left, const Value& right, Heap* heap) {
  if (left.AsString() != nullptr && right.AsString() != nullptr) {
    const bool left_is_markup = (*left.As<Value::String>())->is_markup;
    const bool right_is_markup = (*right.As<Value::String>())->is_markup;
    const std::string &a = *left.AsString(), &b = *right.AsString();
    RETURN_IF_ERROR(heap->CheckBytes(a.size() + b.size()));
    if (left_is_markup == right_is_markup) return heap->String(a + b, left_is_markup);
    return heap->String(left_is_markup ? a + EscapeHtml(b) : EscapeHtml(a) + b, true);
  }
  const bool lists = left.Is<Value::List>() && right.Is<Value::List>();
  const bool tuples = left.Is<Value::Tuple>() && right.Is<Value::Tuple>();
  if (!lists && !tuples) return Unsupported(Binary::Op::kAdd, left, right);
  const Values &a = *left.AsSequence(), &b = *right.AsSequence();
  RETURN_IF_ERROR(heap->CheckBytes(SequenceBytes(a.size() + b.size())));
  Values joined(a);
  joined.insert(joined.end(), b.begin(), b.end());
  return lists ? heap->List(std::move(joined)) : heap->Tuple(std::move(joined));
}

absl::StatusOr<Value> Repeat(const Value& object, int64_t count, Heap* heap) {
  count = std::max<int64_t>(count, 0);
  const std::string* text = object.AsString();
  const Values* items = object.AsSequence();
  const int64_t size = text != nullptr ? text->size() : items->size() * sizeof(Value);
  int64_t bytes = 0;
  if (__builtin_mul_overflow(size, count, &bytes)) bytes = INT64_MAX;
  RETURN_IF_ERROR(heap->CheckBytes(bytes));
  RETURN_IF_ERROR(heap->Charge(bytes / 64));
  if (bytes == 0) count = 0;
  if (text != nullptr) {
    std::string repeated;
    repeated.reserve(bytes);
    for (int64_t i = 0; i < count; ++i) repeated += *text;
    return heap->String(std::move(repeated), (*object.As<Value::String>())->is_markup);
  }
  Values repeated;
  repeated.reserve(items->size() * count);
  for (int64_t i = 0; i < count; ++i) repeated.insert(repeated.end(), items->begin(), items->end());
  return object.Is<Value::List>() ? heap->List(std::move(repeated)) : heap->Tuple(std::move(repeated));
}

// Python's slice.indices: where to begin, how many steps.
struct SliceRange {
  int64_t start = 0, step = 1, count = 0;
};

absl::StatusOr<std::optional<int64_t>> SliceBound(const Value& value) {
  if (value.Is<None>()) return std::nullopt;
  RETURN_IF_ERROR(CheckDefined(value));
  if (!value.IsInteger()) return TypeError("slice indices must be integers or None");
  return value.ToInteger();
}

absl::StatusOr<SliceRange> MakeRange(const Value& start, const Value& stop, const Value& step, int64_t length) {
  ASSIGN_OR_RETURN(const std::optional<int64_t> from, SliceBound(start));
  ASSIGN_OR_RETURN(const std::optional<int64_t> to, SliceBound(stop));
  ASSIGN_OR_RETURN(const std::optional<int64_t> by, SliceBound(step));
  SliceRange range;
  range.step = by.value_or(1);
  if (range.step == 0) return absl::InvalidArgumentError("slice step cannot be zero");
  range.step = std::clamp<int64_t>(range.step, -length - 1, length + 1);
  const bool forward = range.step > 0;
  const auto place = [&](std::optional<int64_t> bound, int64_t fallback) {
    if (!bound.has_value()) return fallback;
    const int64_t index = *bound < 0 ? std::max(*bound, -length - 1) + length : *bound;
    return std::clamp<int64_t>(index, forward ? 0 : -1, forward ? length : length - 1);
  };
  range.start = place(from, forward ? 0 : length - 1);
  const int64_t end = place(to, forward ? length : -1);
  const int64_t distance = forward ? end - range.start : range.start - end;
  const int64_t stride = std::abs(range.step);
  range.count = distance <= 0 ? 0 : (distance + stride - 1) / stride;
  return range;
}

absl::StatusOr<Value> SliceString(const std::string& text, const Value& start, const Value& stop, const Value& step,
                                  Heap* heap) {
  RETURN_IF_ERROR(heap->Charge(text.size() / 64));
  ASSIGN_OR_RETURN(const SliceRange range, MakeRange(start, stop, step, CountCodePoints(text)));
  if (range.step == 1) {
    const size_t begin = ByteOfCodePoint(text, 0, range.start);
    return heap->String(text.substr(begin, ByteOfCodePoint(text, begin, range.count) - begin));
  }
  RETURN_IF_ERROR(heap->Charge(text.size()));
  std::vector<std::string_view> characters;
  for (size_t at = 0; at < text.size();) {
    const size_t length = std::max(1, DecodeUtf8(text, at).num_bytes);
    characters.push_back(std::string_view(text).substr(at, length));
    at += length;
  }
  std::string out;
  for (int64_t i = 0; i < range.count; ++i) out += characters[range.start + i * range.step];
  return heap->String(std::move(out));
}

}  // namespace

absl::Status CheckDefined(const Value& value) {
  const Undefined* undefined = value.As<Undefined>();
  return undefined == nullptr ? absl::OkStatus() : absl::InvalidArgumentError(*undefined->why);
}

std::string EscapeHtml(std::string_view text) {
  return absl::StrReplaceAll(std::string(text),
                             {{"&", "&amp;"}, {"<", "&lt;"}, {">", "&gt;"}, {"'", "&#39;"}, {"\"", "&#34;"}});
}

absl::StatusOr<Value> ApplyBinary(Binary::Op op, const Value& left, const Value& right, Heap* heap) {
  RETURN_IF_ERROR(CheckDefined(left));
  const bool formats = op == Binary::Op::kModulo && left.AsString() != nullptr;
  if (formats) return FormatPercent(left, right, heap);
  RETURN_IF_ERROR(CheckDefined(right));
  if (left.IsInteger() && right.IsInteger()) return ApplyToIntegers(op, left.ToInteger(), right.ToInteger());
  if (left.IsNumber() && right.IsNumber()) return ApplyToDoubles(op, left.ToDouble(), right.ToDouble());
  if (op == Binary::Op::kAdd) return Concatenate(left, right, heap);
  if (op == Binary::Op::kMultiply) {
    const auto repeats = [](const Value& v) { return v.AsString() != nullptr || v.AsSequence() != nullptr; };
    if (repeats(left) && right.IsInteger()) return Repeat(left, right.ToInteger(), heap);
    if (repeats(right) && left.IsInteger()) return Repeat(right, left.ToInteger(), heap);
  }
  return Unsupported(op, left, right);
}

absl::StatusOr<Value> ApplyUnary(Unary::Op op, const Value& operand) {
  if (op == Unary::Op::kNot) return Value(!IsTrue(operand));
  RETURN_IF_ERROR(CheckDefined(operand));
  if (!operand.IsNumber()) {
    return TypeError(absl::StrCat("bad operand type for unary ", op == Unary::Op::kMinus ? "-" : "+", ": ",
                                  Quoted(TypeName(operand))));
  }
  if (const double* number = operand.As<double>()) return Value(op == Unary::Op::kMinus ? -*number : *number);
  return op == Unary::Op::kMinus ? ApplyToIntegers(Binary::Op::kSubtract, 0, operand.ToInteger())
                                 : absl::StatusOr<Value>(Value(operand.ToInteger()));
}

absl::StatusOr<bool> Contains(const Value& container, const Value& item, Heap* heap) {
  if (const std::string* text = container.AsString()) {
    if (item.AsString() == nullptr) {
      return TypeError(
          absl::StrCat("'in <string>' requires string as left operand, not ", std::string(TypeName(item))));
    }
    RETURN_IF_ERROR(heap->ChargeSearch(*text, *item.AsString()));
    return text->find(*item.AsString()) != text->npos;
  }
  if (const auto* dict = container.As<Value::Dict>()) {
    RETURN_IF_ERROR(heap->ChargeWalk(item));
    RETURN_IF_ERROR(HashKey(item).status());
    return FindKey(**dict, item) != nullptr;
  }
  absl::StatusOr<Values> items = Iterate(container, heap);
  if (!items.ok()) return items.status();
  for (const Value& candidate : *items) {
    ASSIGN_OR_RETURN(const bool equal, EqualValues(candidate, item, heap));
    if (equal) return true;
  }
  return false;
}

absl::StatusOr<bool> ApplyComparison(Comparison::Op op, const Value& left, const Value& right, Heap* heap) {
  if (op == Comparison::Op::kIn) return Contains(right, left, heap);
  if (op == Comparison::Op::kEqual) return EqualValues(left, right, heap);
  if (op == Comparison::Op::kNotIn || op == Comparison::Op::kNotEqual) {
    ASSIGN_OR_RETURN(const bool is,
                     op == Comparison::Op::kNotIn ? Contains(right, left, heap) : EqualValues(left, right, heap));
    return !is;
  }
  RETURN_IF_ERROR(CheckDefined(left));
  RETURN_IF_ERROR(CheckDefined(right));
  RETURN_IF_ERROR(heap->Charge(std::min(ExtentOf(left).weight, ExtentOf(right).weight)));
  ASSIGN_OR_RETURN(const int order, Compare(left, right));
  if (op == Comparison::Op::kLess) return order < 0;
  if (op == Comparison::Op::kLessEqual) return order <= 0;
  return op == Comparison::Op::kGreater ? order > 0 : order >= 0;
}

absl::StatusOr<Value> ApplySlice(const Value& object, const Value& start, const Value& stop, const Value& step,
                                 Heap* heap) {
  RETURN_IF_ERROR(CheckDefined(object));
  if (const std::string* text = object.AsString()) return SliceString(*text, start, stop, step, heap);
  const Values* items = object.AsSequence();
  if (items == nullptr) return TypeError(absl::StrCat(Quoted(TypeName(object)), " object is not subscriptable"));
  ASSIGN_OR_RETURN(const SliceRange range, MakeRange(start, stop, step, items->size()));
  Values slice;
  slice.reserve(range.count);
  for (int64_t i = 0; i < range.count; ++i) slice.push_back((*items)[range.start + i * range.step]);
  return object.Is<Value::List>() ? heap->List(std::move(slice)) : heap->Tuple(std::move(slice));
}

}  // namespace tandem::jinja
