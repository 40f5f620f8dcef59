#include "tokenizer/jinja/value.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/status.h"
#include "tokenizer/jinja/callable.h"
#include "tokenizer/unicode.h"
#include "tokenizer/utf8.h"

namespace tandem::jinja {
namespace {

std::string ReprItems(const Values& items, std::string_view open, std::string_view close) {
  std::string out(open);
  for (size_t i = 0; i < items.size(); ++i) {
    if (i > 0) out += ", ";
    out += Repr(items[i]);
  }
  return out.append(close);
}

std::string ReprDict(const DictObject& dict) {
  std::string out = "{";
  for (const auto& [key, value] : dict.entries) {
    if (out.size() > 1) out += ", ";
    absl::StrAppend(&out, Repr(key), ": ", Repr(value));
  }
  return out + "}";
}

absl::Status NotOrdered(const Value& a, const Value& b) {
  return TypeError(
      absl::StrCat("'<' not supported between instances of ", Quoted(TypeName(a)), " and ", Quoted(TypeName(b))));
}

template <typename T>
int Sign(const T& a, const T& b) {
  return a < b ? -1 : b < a ? 1 : 0;
}

}  // namespace

StringObject::~StringObject() {
  if (meter != nullptr) meter->live_bytes -= StringBytes(text.size());
}
SequenceObject::~SequenceObject() {
  if (meter != nullptr) meter->live_bytes -= SequenceBytes(items.size());
}
DictObject::~DictObject() {
  if (meter != nullptr) meter->live_bytes -= DictBytes(entries.size());
}

Value Value::MakeUndefined(std::string why) {
  return Value(Undefined{std::make_shared<const std::string>(std::move(why))});
}

const Values* Value::AsSequence() const {
  if (const auto* list = As<List>()) return &list->object->items;
  if (const auto* tuple = As<Tuple>()) return &tuple->object->items;
  return nullptr;
}

int64_t Value::ToInteger() const {
  return Is<bool>() ? *As<bool>() : *As<int64_t>();
}
double Value::ToDouble() const {
  return Is<double>() ? *As<double>() : static_cast<double>(ToInteger());
}

std::string_view TypeName(const Value& value) {
  if (value.Is<Undefined>()) return "Undefined";
  if (value.Is<None>()) return "NoneType";
  if (value.Is<bool>()) return "bool";
  if (value.Is<int64_t>()) return "int";
  if (value.Is<double>()) return "float";
  if (value.Is<Value::String>()) return "str";
  if (value.Is<Value::List>()) return "list";
  if (value.Is<Value::Tuple>()) return "tuple";
  if (value.Is<Value::Dict>()) return "dict";
  if (value.Is<Value::Namespace>()) return "Namespace";
  if (value.Is<Value::Generator>()) return "generator";
  if (value.Is<Value::Loop>()) return "LoopContext";
  return "function";
}

bool IsTrue(const Value& value) {
  if (value.Is<Undefined>() || value.Is<None>()) return false;
  if (value.IsInteger()) return value.ToInteger() != 0;
  if (const double* number = value.As<double>()) return *number != 0;
  if (const std::string* text = value.AsString()) return !text->empty();
  if (const Values* items = value.AsSequence()) return !items->empty();
  if (const auto* dict = value.As<Value::Dict>()) return !(*dict)->entries.empty();
  return true;
}

std::string ReprFloat(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value < 0 ? "-inf" : "inf";
  char buffer[64];
  const auto end = std::to_chars(buffer, buffer + sizeof(buffer), value, std::chars_format::scientific).ptr;
  const std::string_view scientific(buffer, end - buffer);
  const size_t e = scientific.find('e');
  int exponent = 0;
  const size_t digits = e + 1 + (scientific[e + 1] == '+');
  std::from_chars(scientific.data() + digits, end, exponent);
  if (exponent < -4 || exponent >= 16) return std::string(scientific);
  const auto fixed_end = std::to_chars(buffer, buffer + sizeof(buffer), value, std::chars_format::fixed).ptr;
  std::string fixed(buffer, fixed_end);
  return fixed.find('.') == fixed.npos ? fixed + ".0" : fixed;
}

std::string ReprString(std::string_view text) {
  const bool has_single = text.find('\'') != text.npos, has_double = text.find('"') != text.npos;
  const char quote = has_single && !has_double ? '"' : '\'';
  std::string out(1, quote);
  for (size_t at = 0; at < text.size();) {
    const Utf8Char c = DecodeUtf8(text, at);
    const std::string_view bytes = text.substr(at, c.num_bytes);
    at += c.num_bytes;
    if (c.code_point == static_cast<char32_t>(quote) || c.code_point == '\\') {
      out.append("\\").append(bytes);
    } else if (c.code_point == '\n') {
      out += "\\n";
    } else if (c.code_point == '\r') {
      out += "\\r";
    } else if (c.code_point == '\t') {
      out += "\\t";
    } else if (IsPrintable(c.code_point)) {
      out.append(bytes);
    } else if (c.code_point < 0x100) {
      absl::StrAppendFormat(&out, "\\x%02x", static_cast<uint32_t>(c.code_point));
    } else if (c.code_point < 0x10000) {
      absl::StrAppendFormat(&out, "\\u%04x", static_cast<uint32_t>(c.code_point));
    } else {
      absl::StrAppendFormat(&out, "\\U%08x", static_cast<uint32_t>(c.code_point));
    }
  }
  return out + quote;
}

std::string Str(const Value& value) {
  if (value.Is<Undefined>()) return "";
  if (const std::string* text = value.AsString()) return *text;
  return Repr(value);
}

std::string Repr(const Value& value) {
  if (value.Is<Undefined>()) return "Undefined";
  if (value.Is<None>()) return "None";
  if (const bool* truth = value.As<bool>()) return *truth ? "True" : "False";
  if (const int64_t* number = value.As<int64_t>()) return absl::StrCat(*number);
  if (const double* number = value.As<double>()) return ReprFloat(*number);
  if (const std::string* text = value.AsString()) {
    const std::string quoted = ReprString(*text);
    return (*value.As<Value::String>())->is_markup ? absl::StrCat("Markup(", quoted, ")") : quoted;
  }
  if (const auto* list = value.As<Value::List>()) return ReprItems(list->object->items, "[", "]");
  if (const auto* tuple = value.As<Value::Tuple>()) {
    return ReprItems(tuple->object->items, "(", tuple->object->items.size() == 1 ? ",)" : ")");
  }
  if (const auto* dict = value.As<Value::Dict>()) return ReprDict(**dict);
  if (const auto* function = value.As<Value::Function>()) return absl::StrCat("<", (*function)->name(), ">");
  return absl::StrCat("<", std::string(TypeName(value)), ">");
}

bool Equal(const Value& a, const Value& b) {
  if (a.IsNumber() && b.IsNumber()) {
    return a.IsInteger() && b.IsInteger() ? a.ToInteger() == b.ToInteger() : a.ToDouble() == b.ToDouble();
  }
  if (a.AsString() != nullptr && b.AsString() != nullptr) return *a.AsString() == *b.AsString();
  if (a.Is<Undefined>() || a.Is<None>()) return a.Is<Undefined>() ? b.Is<Undefined>() : b.Is<None>();
  const bool same_sequence =
      (a.Is<Value::List>() && b.Is<Value::List>()) || (a.Is<Value::Tuple>() && b.Is<Value::Tuple>());
  if (same_sequence) {
    const Values &x = *a.AsSequence(), &y = *b.AsSequence();
    return x.size() == y.size() && std::equal(x.begin(), x.end(), y.begin(), Equal);
  }
  if (a.Is<Value::Dict>() && b.Is<Value::Dict>()) {
    const DictObject &x = **a.As<Value::Dict>(), &y = **b.As<Value::Dict>();
    if (x.entries.size() != y.entries.size()) return false;
    for (const auto& [key, value] : x.entries) {
      const Value* other = FindKey(y, key);
      if (other == nullptr || !Equal(value, *other)) return false;
    }
    return true;
  }
  if (a.Is<Value::Namespace>() && b.Is<Value::Namespace>())
    return *a.As<Value::Namespace>() == *b.As<Value::Namespace>();
  if (a.Is<Value::Function>() && b.Is<Value::Function>()) return *a.As<Value::Function>() == *b.As<Value::Function>();
  return false;
}

absl::StatusOr<int> Compare(const Value& a, const Value& b) {
  if (a.IsNumber() && b.IsNumber()) {
    return a.IsInteger() && b.IsInteger() ? Sign(a.ToInteger(), b.ToInteger()) : Sign(a.ToDouble(), b.ToDouble());
  }
  // UTF-8 sorts as its code points do.
  if (a.AsString() != nullptr && b.AsString() != nullptr) return a.AsString()->compare(*b.AsString());
  const bool same_sequence =
      (a.Is<Value::List>() && b.Is<Value::List>()) || (a.Is<Value::Tuple>() && b.Is<Value::Tuple>());
  if (!same_sequence) return NotOrdered(a, b);
  const Values &x = *a.AsSequence(), &y = *b.AsSequence();
  for (size_t i = 0; i < std::min(x.size(), y.size()); ++i) {
    if (!Equal(x[i], y[i])) return Compare(x[i], y[i]);
  }
  return Sign(x.size(), y.size());
}

Extent ExtentOf(const Value& value) {
  if (const auto* list = value.As<Value::List>()) return list->object->extent;
  if (const auto* tuple = value.As<Value::Tuple>()) return tuple->object->extent;
  if (const auto* dict = value.As<Value::Dict>()) return (*dict)->extent;
  const std::string* text = value.AsString();
  return {.weight = text == nullptr ? 1 : 1 + static_cast<int64_t>(text->size() / 64)};
}

void Include(const Extent& part, Extent* whole) {
  constexpr int64_t kMaxWeight = int64_t{1} << 60;
  whole->depth = std::max(whole->depth, part.depth + 1);
  whole->weight = std::min(kMaxWeight, whole->weight + part.weight);
}

absl::StatusOr<std::string> HashKey(const Value& key) {
  if (const std::string* text = key.AsString()) return "s" + *text;
  if (key.IsInteger()) return absl::StrCat("i", key.ToInteger());
  if (const double* number = key.As<double>()) {
    const bool integral = *number == std::floor(*number) && std::abs(*number) < 9e18;
    return integral ? absl::StrCat("i", static_cast<int64_t>(*number)) : "f" + ReprFloat(*number);
  }
  if (key.Is<None>() || key.Is<Undefined>()) return std::string(key.Is<None>() ? "n" : "u");
  if (const auto* tuple = key.As<Value::Tuple>()) {
    std::string joined = "t";
    for (const Value& item : tuple->object->items) {
      ASSIGN_OR_RETURN(const std::string part, HashKey(item));
      absl::StrAppend(&joined, part.size(), ":", part);
    }
    return joined;
  }
  return TypeError(absl::StrCat("unhashable type: ", Quoted(TypeName(key))));
}

const Value* FindKey(const DictObject& dict, const Value& key) {
  const absl::StatusOr<std::string> hash = HashKey(key);
  if (!hash.ok()) return nullptr;
  const auto found = dict.positions.find(*hash);
  return found == dict.positions.end() ? nullptr : &dict.entries[found->second].second;
}

const Value* FindKey(const DictObject& dict, std::string_view key) {
  const auto found = dict.positions.find(absl::StrCat("s", std::string(key)));
  return found == dict.positions.end() ? nullptr : &dict.entries[found->second].second;
}

absl::Status TypeError(std::string message) {
  return absl::InvalidArgumentError(message);
}

std::string Quoted(std::string_view name) {
  return absl::StrCat("'", std::string(name), "'");
}

}  // namespace tandem::jinja
