#include "grammar/schema_merge.h"

#include <algorithm>
#include <cstdint>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "base/status.h"
#include "grammar/schema_names.h"

namespace tandem::grammar {
namespace {

constexpr int kMaxFlattenDepth = 32;
constexpr size_t kMaxMerged = 2000;  // values of two lists that are compared each with each

absl::StatusOr<SchemaJson> FlattenTo(const SchemaJson& root, const SchemaJson& schema, std::string_view path, int depth,
                                     int* work_left) {
  if (schema.is_boolean()) return schema.get<bool>() ? SchemaJson::object() : SchemaJson{{"enum", SchemaJson::array()}};
  if (!schema.is_object()) return SchemaError(path, "want a schema: an object, true or false");
  if (depth > kMaxFlattenDepth) return SchemaError(path, "$ref and allOf lead back to themselves, or too deep");
  // References to references in allOf would else be followed exponentially often.
  if (--*work_left < 0) return SchemaError(path, "too many schemas that hold at once");
  SchemaJson flat = SchemaJson::object();
  for (const auto& [key, value] : schema.items()) {
    if (key != "$ref" && key != "allOf" && !IsAnnotation(key)) flat[key] = value;
  }
  if (const auto reference = schema.find("$ref"); reference != schema.end()) {
    ASSIGN_OR_RETURN(const SchemaJson* target, FindReference(root, *reference, path));
    ASSIGN_OR_RETURN(const SchemaJson other, FlattenTo(root, *target, path, depth + 1, work_left));
    ASSIGN_OR_RETURN(flat, MergeSchemas(other, flat, path));
  }
  if (const auto all = schema.find("allOf"); all != schema.end()) {
    if (!all->is_array()) return SchemaError(path, "allOf: want an array of schemas");
    for (const SchemaJson& branch : *all) {
      ASSIGN_OR_RETURN(const SchemaJson other, FlattenTo(root, branch, path, depth + 1, work_left));
      ASSIGN_OR_RETURN(flat, MergeSchemas(flat, other, path));
    }
  }
  return flat;
}

SchemaJson AsArray(const SchemaJson& value) {
  return value.is_array() ? value : SchemaJson::array({value});
}

bool Contains(const SchemaJson& array, const SchemaJson& value) {
  return std::find(array.begin(), array.end(), value) != array.end();
}

SchemaJson CommonTypes(const SchemaJson& a, const SchemaJson& b) {
  SchemaJson common = SchemaJson::array();
  for (const SchemaJson& type : AsArray(a)) {
    const bool integer = type == "integer" && Contains(AsArray(b), "number");
    if (integer || Contains(AsArray(b), type)) common.push_back(type);
    if (type == "number" && !Contains(AsArray(b), type) && Contains(AsArray(b), "integer")) common.push_back("integer");
  }
  return common;
}

bool MergeKeyword(const std::string& key, SchemaJson& into, const SchemaJson& value) {
  const auto is_one_of = [&](std::initializer_list<std::string_view> names) {
    return std::find(names.begin(), names.end(), key) != names.end();
  };
  if (into == value) return true;
  if (into.size() > kMaxMerged || value.size() > kMaxMerged) return false;
  if (is_one_of({"minLength", "minItems", "minimum", "exclusiveMinimum"}) && into.is_number() && value.is_number()) {
    into = std::max(into, value);
    return true;
  }
  if (is_one_of({"maxLength", "maxItems", "maximum", "exclusiveMaximum"}) && into.is_number() && value.is_number()) {
    into = std::min(into, value);
    return true;
  }
  if (key == "type") {
    into = CommonTypes(into, value);
    return true;
  }
  if (key == "required" && into.is_array() && value.is_array()) {
    for (const SchemaJson& name : value) {
      if (!Contains(into, name)) into.push_back(name);
    }
    return true;
  }
  if (key == "enum" && into.is_array() && value.is_array()) {
    SchemaJson common = SchemaJson::array();
    for (const SchemaJson& choice : into) {
      if (Contains(value, choice)) common.push_back(choice);
    }
    into = std::move(common);
    return true;
  }
  if (key == "properties" && into.is_object() && value.is_object()) {
    for (const auto& [name, schema] : value.items()) {
      const auto found = into.find(name);
      if (found == into.end()) {
        into[name] = schema;
      } else if (*found != schema) {
        *found = SchemaJson{{"allOf", SchemaJson::array({*found, schema})}};
      }
    }
    return true;
  }
  return false;
}

// additionalProperties speaks of the properties beside it: it means something else beside more of them.
bool NamesOthers(const SchemaJson& a, const SchemaJson& b) {
  if (!a.contains("additionalProperties") || a["additionalProperties"] == true) return false;
  const SchemaJson none = SchemaJson::object();
  const SchemaJson& known = a.contains("properties") ? a["properties"] : none;
  const SchemaJson& others = b.contains("properties") ? b["properties"] : none;
  return others.is_object() && std::any_of(others.items().begin(), others.items().end(),
                                           [&](const auto& item) { return !known.contains(item.key()); });
}

}  // namespace

absl::Status SchemaError(std::string_view path, std::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat("at ", std::string(path), ": ", std::string(what)));
}

absl::StatusOr<const SchemaJson*> FindReference(const SchemaJson& root, const SchemaJson& reference,
                                                std::string_view path) {
  const auto refuse = [&](std::string_view why) {
    return SchemaError(path, absl::StrCat("$ref ", reference.dump(), " ", std::string(why)));
  };
  if (!reference.is_string()) return refuse("is no string");
  const std::string text = reference.get<std::string>();
  if (text.empty() || text[0] != '#' || (text.size() > 1 && text[1] != '/') || text.find('%') != text.npos) {
    return refuse("is not supported, want '#' or a path within the schema: '#/$defs/name'");
  }
  const SchemaJson* at = &root;
  if (text.size() == 1) return at;
  for (const std::string& escaped : std::vector<std::string>(absl::StrSplit(text.substr(2), '/'))) {
    const std::string step = absl::StrReplaceAll(escaped, {{"~1", "/"}, {"~0", "~"}});
    size_t index = 0;
    if (at->is_object() && at->contains(step)) {
      at = &(*at)[step];
    } else if (at->is_array() && absl::SimpleAtoi(step, &index) && index < at->size()) {
      at = &(*at)[index];
    } else {
      return refuse("leads nowhere");
    }
  }
  return at;
}

absl::StatusOr<SchemaJson> Flatten(const SchemaJson& root, const SchemaJson& schema, std::string_view path,
                                   int* work_left) {
  return FlattenTo(root, schema, path, 0, work_left);
}

absl::StatusOr<SchemaJson> MergeSchemas(const SchemaJson& a, const SchemaJson& b, std::string_view path) {
  if (NamesOthers(a, b) || NamesOthers(b, a)) {
    return SchemaError(path, "additionalProperties beside schemas that name other properties is not supported");
  }
  SchemaJson merged = a;
  for (const auto& [key, value] : b.items()) {
    const auto found = merged.find(key);
    if (found == merged.end()) {
      merged[key] = value;
    } else if (!MergeKeyword(key, *found, value)) {
      return SchemaError(path, absl::StrCat("two different '", key, "' that hold at once are not supported"));
    }
  }
  return merged;
}

}  // namespace tandem::grammar
