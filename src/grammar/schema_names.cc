#include "grammar/schema_names.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <map>

namespace tandem::grammar {

bool IsAnnotation(std::string_view keyword) {
  constexpr std::array<std::string_view, 15> kAnnotations = {
      "title",       "description", "default",  "examples",  "$schema", "$id",         "$comment", "$defs",
      "definitions", "deprecated",  "readOnly", "writeOnly", "$anchor", "$vocabulary", "example"};
  return std::find(kAnnotations.begin(), kAnnotations.end(), keyword) != kAnnotations.end();
}

bool IsType(std::string_view name) {
  constexpr std::array<std::string_view, 7> kTypes = {"object", "array",   "string", "integer",
                                                      "number", "boolean", "null"};
  return std::find(kTypes.begin(), kTypes.end(), name) != kTypes.end();
}

std::string_view TypeOf(std::string_view keyword) {
  static const auto* const types = new std::map<std::string_view, std::string_view>{{"properties", "object"},
                                                                                    {"required", "object"},
                                                                                    {"additionalProperties", "object"},
                                                                                    {"items", "array"},
                                                                                    {"prefixItems", "array"},
                                                                                    {"minItems", "array"},
                                                                                    {"maxItems", "array"},
                                                                                    {"uniqueItems", "array"},
                                                                                    {"minLength", "string"},
                                                                                    {"maxLength", "string"},
                                                                                    {"pattern", "string"},
                                                                                    {"format", "string"},
                                                                                    {"minimum", "number"},
                                                                                    {"maximum", "number"},
                                                                                    {"exclusiveMinimum", "number"},
                                                                                    {"exclusiveMaximum", "number"}};
  const auto found = types->find(keyword);
  return found == types->end() ? "" : found->second;
}

bool IsStructural(std::string_view keyword) {
  constexpr std::array<std::string_view, 7> kNames = {"type", "enum", "const", "anyOf", "oneOf", "allOf", "$ref"};
  return std::find(kNames.begin(), kNames.end(), keyword) != kNames.end();
}

std::string_view ExpressionOfFormat(const SchemaJson& format) {
#define TANDEM_DATE \
  "[0-9]{4}-((0[13578]|1[02])-(0[1-9]|[12][0-9]|3[01])|(0[469]|11)-(0[1-9]|[12][0-9]|30)|02-(0[1-9]|1[0-9]|2[0-8]))"
#define TANDEM_TIME "([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\\.[0-9]{1,9})?(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])"
  if (format == "date") return "^" TANDEM_DATE "$";
  if (format == "time") return "^" TANDEM_TIME "$";
  if (format == "date-time") return "^" TANDEM_DATE "T" TANDEM_TIME "$";
  if (format == "uuid") return "^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$";
#undef TANDEM_DATE
#undef TANDEM_TIME
  return "";
}

bool FitsType(const SchemaJson& value, std::string_view type) {
  if (type == "object") return value.is_object();
  if (type == "array") return value.is_array();
  if (type == "string") return value.is_string();
  if (type == "boolean") return value.is_boolean();
  if (type == "null") return value.is_null();
  const double number = value.is_number() ? value.get<double>() : 0.5;
  const bool whole = value.is_number_integer() || number == std::floor(number);
  return type == "number" ? value.is_number() : whole;
}

}  // namespace tandem::grammar
