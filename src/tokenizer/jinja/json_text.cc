#include "tokenizer/jinja/json_text.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/status.h"
#include "tokenizer/utf8.h"

namespace tandem::jinja {
namespace {

std::string DumpFloat(double value) {
  if (std::isnan(value)) return "NaN";
  if (std::isinf(value)) return value < 0 ? "-Infinity" : "Infinity";
  return ReprFloat(value);
}

class Dumper {
 public:
  Dumper(const DumpOptions& options, Heap* heap) : options_(options), heap_(heap) {}

  absl::StatusOr<std::string> Run(const Value& value) {
    RETURN_IF_ERROR(Dump(value, 0));
    return std::move(out_);
  }

 private:
  absl::Status Dump(const Value& value, int level) {
    if (value.Is<None>()) {
      out_ += "null";
    } else if (const bool* truth = value.As<bool>()) {
      out_ += *truth ? "true" : "false";
    } else if (const int64_t* integer = value.As<int64_t>()) {
      absl::StrAppend(&out_, *integer);
    } else if (const double* number = value.As<double>()) {
      out_ += DumpFloat(*number);
    } else if (const std::string* text = value.AsString()) {
      String(*text);
    } else if (const Values* items = value.AsSequence()) {
      RETURN_IF_ERROR(Array(*items, level));
    } else if (const auto* dict = value.As<Value::Dict>()) {
      RETURN_IF_ERROR(Object(**dict, level));
    } else {
      return TypeError(absl::StrCat("Object of type ", std::string(TypeName(value)), " is not JSON serializable"));
    }
    return heap_->CheckBytes(out_.size());
  }

  void Break(int level) {
    if (!options_.indent.has_value()) return;
    out_.push_back('\n');
    for (int i = 0; i < level; ++i) out_ += *options_.indent;
  }

  absl::Status Array(const Values& items, int level) {
    out_.push_back('[');
    for (size_t i = 0; i < items.size(); ++i) {
      if (i > 0) out_ += options_.item_separator;
      Break(level + 1);
      RETURN_IF_ERROR(Dump(items[i], level + 1));
    }
    if (!items.empty()) Break(level);
    out_.push_back(']');
    return absl::OkStatus();
  }

  // What json.dumps makes of a key.
  static absl::StatusOr<std::string> Key(const Value& key) {
    if (const std::string* text = key.AsString()) return *text;
    if (key.Is<None>()) return std::string("null");
    if (const bool* truth = key.As<bool>()) return std::string(*truth ? "true" : "false");
    if (const int64_t* integer = key.As<int64_t>()) return absl::StrCat(*integer);
    if (const double* number = key.As<double>()) return DumpFloat(*number);
    return TypeError(absl::StrCat("keys must be str, int, float, bool or None, not ", std::string(TypeName(key))));
  }

  absl::Status Object(const DictObject& dict, int level) {
    std::vector<const std::pair<Value, Value>*> entries;
    for (const auto& entry : dict.entries) entries.push_back(&entry);
    if (options_.sort_keys) {
      absl::Status status;
      std::stable_sort(entries.begin(), entries.end(), [&status](const auto* a, const auto* b) {
        const absl::StatusOr<int> order = Compare(a->first, b->first);
        if (!order.ok()) status = order.status();
        return order.ok() && *order < 0;
      });
      RETURN_IF_ERROR(status);
    }
    out_.push_back('{');
    for (size_t i = 0; i < entries.size(); ++i) {
      if (i > 0) out_ += options_.item_separator;
      Break(level + 1);
      ASSIGN_OR_RETURN(const std::string key, Key(entries[i]->first));
      String(key);
      out_ += options_.key_separator;
      RETURN_IF_ERROR(Dump(entries[i]->second, level + 1));
    }
    if (!entries.empty()) Break(level);
    out_.push_back('}');
    return absl::OkStatus();
  }

  void String(const std::string& text) {
    out_.push_back('"');
    for (size_t at = 0; at < text.size();) {
      const Utf8Char c = DecodeUtf8(text, at);
      const size_t length = std::max(1, c.num_bytes);
      static constexpr std::string_view kEscaped = "\"\\\n\r\t\b\f", kLetters = "\"\\nrtbf";
      const size_t simple = c.code_point < 0x80 ? kEscaped.find(static_cast<char>(c.code_point)) : kEscaped.npos;
      if (simple != kEscaped.npos) {
        out_.append({'\\', kLetters[simple]});
      } else if (c.code_point < 0x20 || (options_.ensure_ascii && c.code_point >= 0x7F && c.code_point < 0x10000)) {
        Escape(c.code_point);
      } else if (options_.ensure_ascii && c.code_point >= 0x10000) {
        Escape(0xD800 + ((c.code_point - 0x10000) >> 10));
        Escape(0xDC00 + ((c.code_point - 0x10000) & 0x3FF));
      } else {
        out_.append(text, at, length);
      }
      at += length;
    }
    out_.push_back('"');
  }

  void Escape(char32_t unit) { absl::StrAppendFormat(&out_, "\\u%04x", static_cast<uint32_t>(unit)); }

  const DumpOptions& options_;
  Heap* heap_;
  std::string out_;
};

}  // namespace

absl::StatusOr<Value> ValueFromJson(const nlohmann::ordered_json& json, Heap* heap) {
  if (json.is_null()) return Value();
  if (json.is_boolean()) return Value(json.get<bool>());
  if (json.is_number_unsigned() && json.get<uint64_t>() > static_cast<uint64_t>(INT64_MAX)) {
    return absl::InvalidArgumentError(absl::StrCat("the integer ", json.dump(), " does not fit 64 bits"));
  }
  if (json.is_number_integer()) return Value(json.get<int64_t>());
  if (json.is_number_float()) return Value(json.get<double>());
  if (json.is_string()) {
    const std::string& text = json.get_ref<const std::string&>();
    if (const size_t invalid = FindInvalidUtf8(text); invalid != text.npos) {
      return absl::InvalidArgumentError(absl::StrCat("a string is not UTF-8 at byte ", invalid));
    }
    return heap->String(text);
  }
  if (json.is_array()) {
    Values items;
    items.reserve(json.size());
    for (const auto& item : json) {
      ASSIGN_OR_RETURN(items.emplace_back(), ValueFromJson(item, heap));
    }
    return heap->List(std::move(items));
  }
  std::vector<std::pair<Value, Value>> entries;
  entries.reserve(json.size());
  for (const auto& [name, item] : json.items()) {
    ASSIGN_OR_RETURN(Value key, heap->String(name));
    ASSIGN_OR_RETURN(Value value, ValueFromJson(item, heap));
    entries.emplace_back(std::move(key), std::move(value));
  }
  return heap->Dict(std::move(entries));
}

absl::StatusOr<std::string> DumpJson(const Value& value, const DumpOptions& options, Heap* heap) {
  RETURN_IF_ERROR(heap->ChargeWalk(value));
  return Dumper(options, heap).Run(value);
}

}  // namespace tandem::jinja
