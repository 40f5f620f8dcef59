#include "tokenizer/jinja/heap.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "tokenizer/utf8.h"

namespace tandem::jinja {
namespace {

constexpr int kBytesPerStep = 64;

absl::Status OverLimit(std::string_view what, int64_t limit) {
  return absl::ResourceExhaustedError(
      absl::StrCat("the chat template needs more than ", limit, " ", std::string(what)));
}

}  // namespace

Heap::~Heap() {
  for (const Value::Namespace& object : namespaces_) object->attributes.clear();
}

absl::Status Heap::Charge(int64_t steps) {
  steps_ += steps;
  return steps_ > limits_.max_steps ? OverLimit("steps", limits_.max_steps) : absl::OkStatus();
}

absl::Status Heap::CheckBytes(int64_t bytes) const {
  const bool fits = bytes <= limits_.max_live_bytes - meter_->live_bytes;
  return fits ? absl::OkStatus() : OverLimit("bytes of memory", limits_.max_live_bytes);
}

absl::Status Heap::CheckExtent(const Extent& extent) const {
  if (extent.depth > limits_.max_depth) return OverLimit("nested values", limits_.max_depth);
  return extent.weight > limits_.max_steps ? OverLimit("steps", limits_.max_steps) : absl::OkStatus();
}

absl::StatusOr<Value> Heap::String(std::string text, bool is_markup) {
  const int64_t bytes = StringBytes(text.size());
  RETURN_IF_ERROR(CheckBytes(bytes));
  RETURN_IF_ERROR(Charge(1 + text.size() / kBytesPerStep));
  meter_->live_bytes += bytes;
  auto object = std::make_shared<StringObject>();
  object->text = std::move(text);
  object->is_markup = is_markup;
  object->meter = meter_;
  return Value(Value::String(std::move(object)));
}

absl::StatusOr<std::shared_ptr<const SequenceObject>> Heap::Sequence(Values items) {
  const int64_t bytes = SequenceBytes(items.size());
  RETURN_IF_ERROR(CheckBytes(bytes));
  RETURN_IF_ERROR(Charge(1 + items.size()));
  auto object = std::make_shared<SequenceObject>();
  for (const Value& item : items) Include(ExtentOf(item), &object->extent);
  RETURN_IF_ERROR(CheckExtent(object->extent));
  object->items = std::move(items);
  object->meter = meter_;
  meter_->live_bytes += bytes;
  return object;
}

absl::StatusOr<Value> Heap::List(Values items) {
  ASSIGN_OR_RETURN(auto object, Sequence(std::move(items)));
  return Value(Value::List{std::move(object)});
}

absl::StatusOr<Value> Heap::Tuple(Values items) {
  ASSIGN_OR_RETURN(auto object, Sequence(std::move(items)));
  return Value(Value::Tuple{std::move(object)});
}

absl::StatusOr<Value> Heap::Dict(std::vector<std::pair<Value, Value>> entries) {
  auto object = std::make_shared<DictObject>();
  for (auto& [key, value] : entries) {
    Include(ExtentOf(key), &object->extent);
    Include(ExtentOf(value), &object->extent);
    ASSIGN_OR_RETURN(std::string hash, HashKey(key));
    const auto [position, is_new] = object->positions.emplace(std::move(hash), object->entries.size());
    if (is_new) {
      object->entries.emplace_back(std::move(key), std::move(value));
    } else {
      object->entries[position->second].second = std::move(value);
    }
  }
  const int64_t bytes = DictBytes(object->entries.size());
  RETURN_IF_ERROR(CheckBytes(bytes));
  RETURN_IF_ERROR(Charge(1 + entries.size()));
  RETURN_IF_ERROR(CheckExtent(object->extent));
  object->meter = meter_;
  meter_->live_bytes += bytes;
  return Value(Value::Dict(std::move(object)));
}

Value Heap::Namespace(std::map<std::string, Value> attributes) {
  namespaces_.push_back(std::make_shared<NamespaceObject>(NamespaceObject{std::move(attributes)}));
  return Value(namespaces_.back());
}

absl::StatusOr<Value> Heap::Generator(Values items) {
  ASSIGN_OR_RETURN(Value list, List(std::move(items)));
  return Value(std::make_shared<GeneratorObject>(GeneratorObject{std::move(list), 0}));
}

absl::StatusOr<Values> Iterate(const Value& value, Heap* heap) {
  Values items;
  if (value.Is<Undefined>()) return items;
  if (const Values* sequence = value.AsSequence()) {
    items = *sequence;
  } else if (const auto* dict = value.As<Value::Dict>()) {
    for (const auto& [key, unused] : (*dict)->entries) items.push_back(key);
  } else if (const auto* generator = value.As<Value::Generator>()) {
    const Values& all = *(*generator)->list.AsSequence();
    items.assign(all.begin() + (*generator)->next, all.end());
    (*generator)->next = all.size();
  } else if (const std::string* text = value.AsString()) {
    for (size_t at = 0; at < text->size();) {
      const int length = std::max(1, DecodeUtf8(*text, at).num_bytes);
      ASSIGN_OR_RETURN(items.emplace_back(), heap->String(text->substr(at, length)));
      at += length;
    }
  } else {
    return TypeError(absl::StrCat(Quoted(TypeName(value)), " object is not iterable"));
  }
  RETURN_IF_ERROR(heap->Charge(items.size()));
  return items;
}

absl::StatusOr<bool> EqualValues(const Value& a, const Value& b, Heap* heap) {
  RETURN_IF_ERROR(heap->Charge(std::min(ExtentOf(a).weight, ExtentOf(b).weight)));
  return Equal(a, b);
}

absl::StatusOr<int64_t> Length(const Value& value) {
  if (value.Is<Undefined>()) return 0;
  if (const Values* items = value.AsSequence()) return items->size();
  if (const auto* dict = value.As<Value::Dict>()) return (*dict)->entries.size();
  if (const std::string* text = value.AsString()) return CountCodePoints(*text);
  return TypeError(absl::StrCat("object of type ", Quoted(TypeName(value)), " has no len()"));
}

}  // namespace tandem::jinja
