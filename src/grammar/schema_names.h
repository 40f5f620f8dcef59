// The words of JSON schema.
#pragma once

#include <string_view>

#include "grammar/schema_merge.h"

namespace tandem::grammar {

// Says nothing about what fits: title, description, $defs ...
bool IsAnnotation(std::string_view keyword);

// type, enum, const, anyOf, oneOf, allOf, $ref.
bool IsStructural(std::string_view keyword);

// "object", "string" ...
bool IsType(std::string_view name);

// Which type a supported keyword speaks of, for schemas that name none: "string" for minLength. "" for others.
std::string_view TypeOf(std::string_view keyword);

bool FitsType(const SchemaJson& value, std::string_view type);

// A regular expression of strings that have the format, though not of all of them (no 29th of February, say); "" for
// formats that are not supported.
std::string_view ExpressionOfFormat(const SchemaJson& format);

}  // namespace tandem::grammar
