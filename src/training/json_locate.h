// Where a value stands in a JSON text: lets a refusal point at the key that is wrong, not only at the line.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace tandem {

// A step into an object (key) or an array (index).
using JsonPath = std::vector<std::variant<std::string, size_t>>;

// Byte offset of what `path` names in `text`: of the key for an object's member, of the value for an array's element.
// Of a key written twice the last one counts, as for the parser. `text` must be valid JSON; a path that leads nowhere
// gives the offset of the deepest part of it that exists.
size_t LocateJson(std::string_view text, const JsonPath& path);

}  // namespace tandem
