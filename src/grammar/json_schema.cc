#include "grammar/json_schema.h"

#include <algorithm>
#include <deque>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/json.h"
#include "base/status.h"
#include "grammar/json_text.h"
#include "grammar/schema_merge.h"
#include "grammar/schema_names.h"
#include "grammar/text_reader.h"

namespace tandem::grammar {
namespace {

constexpr size_t kMaxBytes = 128 << 10;
constexpr int kMaxDepth = 64;
constexpr size_t kMaxNames = 2000;   // of one object; what states allow ends before
constexpr int kMaxSchemas = 20'000;  // schemas within the schema; what is merged counts as often as it is used

class Compiler {
 public:
  explicit Compiler(SchemaJson root) : root_(std::move(root)) {}
  absl::StatusOr<Rules> Compile();

 private:
  struct Place {
    std::string path;
    int depth = 0;
    Place At(std::string_view step) const { return {absl::StrCat(path, "/", std::string(step)), depth + 1}; }
    absl::Status Error(std::string_view what) const { return SchemaError(path, what); }
  };
  using Types = std::vector<std::string>;

  absl::StatusOr<ExprId> Schema(const SchemaJson& schema, const Place& place);
  absl::StatusOr<ExprId> SchemaRule(const SchemaJson& schema, const Place& place);
  absl::StatusOr<ExprId> Reference(const SchemaJson& reference, const Place& place);
  absl::StatusOr<ExprId> AnyOf(const SchemaJson& schema, const std::string& keyword, const Place& place);
  absl::StatusOr<ExprId> Constants(const SchemaJson& schema, const Place& place);
  absl::StatusOr<ExprId> OfType(const SchemaJson& schema, const std::string& type, const Place& place);
  absl::StatusOr<ExprId> String(const SchemaJson& schema, const Place& place);
  absl::StatusOr<ExprId> Number(const SchemaJson& schema, const std::string& type, const Place& place);
  absl::StatusOr<ExprId> Object(const SchemaJson& schema, const Place& place);
  absl::StatusOr<ExprId> Array(const SchemaJson& schema, const Place& place);

  absl::Status CheckKeywords(const SchemaJson& schema, const Place& place) const;
  absl::StatusOr<Types> TypesOf(const SchemaJson& schema, const Place& place) const;
  absl::StatusOr<int> Count(const SchemaJson& schema, const char* keyword, int fallback, const Place& place) const;
  absl::StatusOr<std::optional<int64_t>> Bound(const SchemaJson& schema, const char* keyword, const Place& place) const;
  absl::StatusOr<std::vector<std::string>> Required(const SchemaJson& schema, const Place& place) const;
  ExprId Rest(ExprId others, bool first);
  ExprId Nothing() { return rules_.Choice({}); }
  ExprId Named(ExprId expr) { return rules_.Ref(rules_.AddRule("schema", expr)); }

  const SchemaJson root_;
  Rules rules_;
  JsonText text_{&rules_};
  int schemas_ = 0, flatten_left_ = kMaxSchemas;
  struct Pending {
    RuleId rule = 0;
    const SchemaJson* schema = nullptr;  // in root_
    std::string path;
  };
  std::map<const SchemaJson*, RuleId> references_;
  std::deque<Pending> pending_;
};

absl::StatusOr<Rules> Compiler::Compile() {
  rules_.root = rules_.AddRule("#");
  references_[&root_] = rules_.root;
  pending_.push_back({rules_.root, &root_, "#"});
  for (; !pending_.empty(); pending_.pop_front()) {
    const Pending next = pending_.front();
    ASSIGN_OR_RETURN(const ExprId expr, Schema(*next.schema, {next.path, 0}));
    rules_.Define(next.rule, expr);
  }
  return std::move(rules_);
}

absl::Status Compiler::CheckKeywords(const SchemaJson& schema, const Place& place) const {
  for (const auto& [key, value] : schema.items()) {
    if (key == "uniqueItems" && value != false) return place.Error("'uniqueItems' is not supported");
    if (IsAnnotation(key) || IsStructural(key) || !TypeOf(key).empty()) continue;
    return place.Error(absl::StrCat("'", key, "' is not supported"));
  }
  return absl::OkStatus();
}

absl::StatusOr<ExprId> Compiler::Schema(const SchemaJson& schema, const Place& place) {
  if (place.depth > kMaxDepth) return place.Error(absl::StrCat("nested deeper than ", kMaxDepth));
  if (++schemas_ > kMaxSchemas) return place.Error(absl::StrCat("more than ", kMaxSchemas, " schemas"));
  if (schema.is_boolean()) return schema.get<bool>() ? text_.Value() : Nothing();
  if (!schema.is_object()) return place.Error("want a schema: an object, true or false");
  RETURN_IF_ERROR(CheckKeywords(schema, place));
  const bool alone = std::all_of(schema.items().begin(), schema.items().end(),
                                 [](const auto& item) { return item.key() == "$ref" || IsAnnotation(item.key()); });
  if (alone && schema.contains("$ref")) return Reference(schema["$ref"], place);
  if (schema.contains("$ref") || schema.contains("allOf")) {
    ASSIGN_OR_RETURN(const SchemaJson flat, Flatten(root_, schema, place.path, &flatten_left_));
    return Schema(flat, {place.path, place.depth + 1});
  }
  if (schema.contains("anyOf")) return AnyOf(schema, "anyOf", place);
  if (schema.contains("oneOf")) return AnyOf(schema, "oneOf", place);
  if (schema.contains("enum") || schema.contains("const")) return Constants(schema, place);
  ASSIGN_OR_RETURN(const Types types, TypesOf(schema, place));
  if (types.empty() && !schema.contains("type")) return text_.Value();
  std::vector<ExprId> choices;
  for (const std::string& type : types) {
    ASSIGN_OR_RETURN(const ExprId choice, OfType(schema, type, place));
    choices.push_back(choice);
  }
  return rules_.Choice(std::move(choices));
}

// What stands in two places of an expression is a rule, else nesting would double it again and again.
absl::StatusOr<ExprId> Compiler::SchemaRule(const SchemaJson& schema, const Place& place) {
  ASSIGN_OR_RETURN(const ExprId expr, Schema(schema, place));
  return rules_.expr(expr).kind == ExprKind::kRule ? expr : Named(expr);
}

absl::StatusOr<ExprId> Compiler::Reference(const SchemaJson& reference, const Place& place) {
  ASSIGN_OR_RETURN(const SchemaJson* target, FindReference(root_, reference, place.path));
  const auto [at, added] = references_.try_emplace(target, rules_.num_rules());
  if (added) {
    const std::string path = reference.get<std::string>();
    pending_.push_back({rules_.AddRule(path), target, path});
  }
  return rules_.Ref(at->second);
}

absl::StatusOr<ExprId> Compiler::AnyOf(const SchemaJson& schema, const std::string& keyword, const Place& place) {
  const SchemaJson& branches = schema[keyword];
  if (!branches.is_array() || branches.empty()) {
    return place.Error(absl::StrCat(keyword, ": want an array of at least one schema"));
  }
  SchemaJson rest = SchemaJson::object();
  for (const auto& [key, value] : schema.items()) {
    if (key != keyword && !IsAnnotation(key)) rest[key] = value;
  }
  std::vector<ExprId> choices;
  for (size_t i = 0; i < branches.size(); ++i) {
    const Place at = place.At(absl::StrCat(keyword, "/", i));
    const SchemaJson both = rest.empty() ? branches[i] : SchemaJson{{"allOf", SchemaJson::array({rest, branches[i]})}};
    ASSIGN_OR_RETURN(const ExprId choice, Schema(both, at));
    choices.push_back(choice);
  }
  return rules_.Choice(std::move(choices));
}

absl::StatusOr<ExprId> Compiler::Constants(const SchemaJson& schema, const Place& place) {
  for (const auto& [key, value] : schema.items()) {
    if (key == "enum" || key == "const" || key == "type" || IsAnnotation(key)) continue;
    return place.Error(absl::StrCat("'", key, "' beside enum or const is not supported"));
  }
  SchemaJson values = SchemaJson::array();
  if (schema.contains("enum")) values = schema["enum"];
  if (!values.is_array()) return place.Error("enum: want an array");
  if (schema.contains("const")) {
    const SchemaJson& only = schema["const"];
    const bool possible = !schema.contains("enum") || std::find(values.begin(), values.end(), only) != values.end();
    values = possible ? SchemaJson::array({only}) : SchemaJson::array();
  }
  ASSIGN_OR_RETURN(const Types types, TypesOf(schema, place));
  std::vector<ExprId> choices;
  for (const SchemaJson& value : values) {
    const bool fits = !schema.contains("type") || std::any_of(types.begin(), types.end(), [&](const std::string& type) {
      return FitsType(value, type);
    });
    if (fits) choices.push_back(rules_.Bytes(value.dump()));
  }
  return rules_.Choice(std::move(choices));
}

absl::StatusOr<Compiler::Types> Compiler::TypesOf(const SchemaJson& schema, const Place& place) const {
  Types types;
  const auto named = schema.find("type");
  if (named == schema.end()) {
    for (const auto& item : schema.items()) {
      const std::string type(TypeOf(item.key()));
      if (!type.empty() && std::find(types.begin(), types.end(), type) == types.end()) types.push_back(type);
    }
    return types;
  }
  for (const SchemaJson& type : named->is_array() ? *named : SchemaJson::array({*named})) {
    if (!type.is_string() || !IsType(type.get<std::string>())) {
      return place.Error(absl::StrCat("type: unknown ", type.dump()));
    }
    types.push_back(type.get<std::string>());
  }
  return types;
}

absl::StatusOr<ExprId> Compiler::OfType(const SchemaJson& schema, const std::string& type, const Place& place) {
  if (type == "object") return Object(schema, place);
  if (type == "array") return Array(schema, place);
  if (type == "string") return String(schema, place);
  if (type == "boolean") return text_.Boolean();
  if (type == "null") return text_.Null();
  return Number(schema, type, place);
}

absl::StatusOr<int> Compiler::Count(const SchemaJson& schema, const char* keyword, int fallback,
                                    const Place& place) const {
  const auto found = schema.find(keyword);
  if (found == schema.end()) return fallback;
  if (found->is_number_unsigned() && *found <= TextReader::kMaxCount) return found->get<int>();
  return place.Error(
      absl::StrCat(keyword, " is ", found->dump(), ", want a whole number of 0 to ", TextReader::kMaxCount));
}

absl::StatusOr<ExprId> Compiler::String(const SchemaJson& schema, const Place& place) {
  ASSIGN_OR_RETURN(const int low, Count(schema, "minLength", 0, place));
  ASSIGN_OR_RETURN(const int high, Count(schema, "maxLength", kUnbounded, place));
  const bool counted = schema.contains("minLength") || schema.contains("maxLength");
  const int forms = static_cast<int>(counted) + schema.contains("pattern") + schema.contains("format");
  if (forms > 1) return place.Error("more than one of pattern, format and minLength or maxLength is not supported");
  if (forms == 0 || counted) return high != kUnbounded && high < low ? Nothing() : text_.String(low, high);
  const char* const keyword = schema.contains("pattern") ? "pattern" : "format";
  const SchemaJson& value = schema[keyword];
  if (!value.is_string()) return place.Error(absl::StrCat(keyword, ": want a string"));
  const std::string expression =
      schema.contains("pattern") ? value.get<std::string>() : std::string(ExpressionOfFormat(value));
  if (expression.empty() && schema.contains("format")) {
    return place.Error(absl::StrCat("format ", value.dump(), " is not supported, want date, time, date-time or uuid"));
  }
  absl::StatusOr<ExprId> string = text_.StringLike(expression);
  if (!string.ok()) return place.Error(absl::StrCat(keyword, ": ", string.status().message()));
  return string;
}

absl::StatusOr<std::optional<int64_t>> Compiler::Bound(const SchemaJson& schema, const char* keyword,
                                                       const Place& place) const {
  constexpr int64_t kMost = 1'000'000'000'000'000'000;
  const auto found = schema.find(keyword);
  if (found == schema.end()) return std::nullopt;
  const bool whole = found->is_number() && std::abs(found->get<double>()) <= 1e18 && FitsType(*found, "integer");
  if (!whole) return place.Error(absl::StrCat(keyword, " ", found->dump(), " is not supported, want a whole number"));
  return std::clamp(found->get<int64_t>(), -kMost, kMost);
}

absl::StatusOr<ExprId> Compiler::Number(const SchemaJson& schema, const std::string& type, const Place& place) {
  ASSIGN_OR_RETURN(std::optional<int64_t> low, Bound(schema, "minimum", place));
  ASSIGN_OR_RETURN(std::optional<int64_t> high, Bound(schema, "maximum", place));
  ASSIGN_OR_RETURN(const std::optional<int64_t> above, Bound(schema, "exclusiveMinimum", place));
  ASSIGN_OR_RETURN(const std::optional<int64_t> below, Bound(schema, "exclusiveMaximum", place));
  if (type == "number" && (above.has_value() || below.has_value())) {
    return place.Error("exclusiveMinimum and exclusiveMaximum are supported for integers only");
  }
  if (above.has_value()) low = std::max(low.value_or(*above + 1), *above + 1);
  if (below.has_value()) high = std::min(high.value_or(*below - 1), *below - 1);
  const bool bounded = low.has_value() || high.has_value();
  if (type == "integer") return bounded ? text_.IntegerBetween(low, high) : text_.Integer();
  return bounded ? text_.NumberBetween(low, high) : text_.Number();
}

absl::StatusOr<std::vector<std::string>> Compiler::Required(const SchemaJson& schema, const Place& place) const {
  std::vector<std::string> names;
  const auto found = schema.find("required");
  if (found == schema.end()) return names;
  if (!found->is_array()) return place.Error("required: want an array of names");
  for (const SchemaJson& name : *found) {
    if (!name.is_string()) return place.Error("required: want an array of names");
    names.push_back(name.get<std::string>());
  }
  return names;
}

// Members that the schema does not name, behind those that it does.
ExprId Compiler::Rest(ExprId others, bool first) {
  const ExprId more = rules_.Repeat(rules_.Sequence({text_.Comma(), others}), 0, kUnbounded);
  return first ? text_.List(others, 0, kUnbounded) : more;
}

// Members in the order of the schema. Of the properties from the i-th on there are two rules: where none has been
// written yet, and where one has, so that the next is behind a comma.
absl::StatusOr<ExprId> Compiler::Object(const SchemaJson& schema, const Place& place) {
  const SchemaJson none = SchemaJson::object(), open(true), closed(false);
  const SchemaJson& properties = schema.contains("properties") ? schema["properties"] : none;
  if (!properties.is_object()) return place.Error("properties: want an object");
  ASSIGN_OR_RETURN(const std::vector<std::string> required, Required(schema, place));
  if (properties.size() > kMaxNames || required.size() > kMaxNames) {
    return place.Error(absl::StrCat("more than ", kMaxNames, " names in properties or required"));
  }
  const bool says = schema.contains("additionalProperties");
  const SchemaJson& others = says ? schema["additionalProperties"] : properties.empty() ? open : closed;
  std::vector<std::pair<std::string, ExprId>> members;
  std::vector<std::string> names;
  for (const auto& [name, property] : properties.items()) {
    ASSIGN_OR_RETURN(const ExprId value, SchemaRule(property, place.At(absl::StrCat("properties/", name))));
    members.emplace_back(name, value);
    names.push_back(name);
  }
  for (const std::string& name : required) {
    if (std::find(names.begin(), names.end(), name) != names.end()) continue;
    ASSIGN_OR_RETURN(const ExprId value, SchemaRule(says ? others : open, place.At("additionalProperties")));
    members.emplace_back(name, value);
    names.push_back(name);
  }
  ExprId first = rules_.Sequence({}), more = rules_.Sequence({});
  if (others != false) {
    ASSIGN_OR_RETURN(const ExprId value, SchemaRule(others, place.At("additionalProperties")));
    const ExprId member =
        Named(text_.Member(names.empty() ? text_.String(0, kUnbounded) : text_.KeyOtherThan(names), value));
    first = Rest(member, true);
    more = Rest(member, false);
  }
  for (size_t i = members.size(); i-- > 0;) {
    const ExprId key = rules_.Bytes(SchemaJson(members[i].first).dump());
    const ExprId member = Named(text_.Member(key, members[i].second));
    const ExprId rest = Named(more), begun = rules_.Sequence({text_.Comma(), member});
    const bool needed = std::find(required.begin(), required.end(), members[i].first) != required.end();
    first = needed ? rules_.Sequence({member, rest}) : rules_.Choice({rules_.Sequence({member, rest}), Named(first)});
    more = rules_.Sequence({needed ? begun : rules_.Optional(begun), rest});
  }
  return text_.Braced(first);
}

absl::StatusOr<ExprId> Compiler::Array(const SchemaJson& schema, const Place& place) {
  ASSIGN_OR_RETURN(const int low, Count(schema, "minItems", 0, place));
  ASSIGN_OR_RETURN(const int high, Count(schema, "maxItems", kUnbounded, place));
  if (high != kUnbounded && high < low) return Nothing();
  const SchemaJson none = SchemaJson::array(), open(true), closed(false);
  const SchemaJson& prefix = schema.contains("prefixItems") ? schema["prefixItems"] : none;
  if (!prefix.is_array()) return place.Error("prefixItems: want an array of schemas");
  int count = static_cast<int>(prefix.size());
  if (high != kUnbounded) count = std::min(count, high);
  const bool needs_more = prefix.empty() || low > count;
  const SchemaJson& items = schema.contains("items") ? schema["items"] : needs_more ? open : closed;
  const int most = high == kUnbounded ? kUnbounded : high - count, least = std::max(0, low - count);
  if (items == false && least > 0) return Nothing();
  ExprId tail = rules_.Sequence({});
  if (items != false && most != 0) {
    ASSIGN_OR_RETURN(const ExprId item, SchemaRule(items, place.At("items")));
    if (count == 0) return text_.Bracketed(text_.List(item, least, most));
    tail = rules_.Repeat(rules_.Sequence({text_.Comma(), item}), least, most);
  }
  for (int i = count; i-- > 0;) {
    ASSIGN_OR_RETURN(const ExprId item, Schema(prefix[i], place.At(absl::StrCat("prefixItems/", i))));
    tail = i == 0 ? rules_.Sequence({item, tail}) : rules_.Sequence({text_.Comma(), item, tail});
    if (i >= low) tail = rules_.Optional(tail);
  }
  return text_.Bracketed(tail);
}

}  // namespace

absl::StatusOr<Rules> ParseJsonSchema(std::string_view text) {
  if (text.size() > kMaxBytes) {
    return absl::InvalidArgumentError(absl::StrCat("has ", text.size(), " bytes, want at most ", kMaxBytes));
  }
  RETURN_IF_ERROR(ParseJson(text).status());  // says where; bounds the depth
  return Compiler(SchemaJson::parse(text, nullptr, /*allow_exceptions=*/false)).Compile();
}

Rules AnyJsonObject() {
  Rules rules;
  rules.root = rules.AddRule("root");
  rules.Define(rules.root, JsonText(&rules).Object());
  return rules;
}

}  // namespace tandem::grammar
