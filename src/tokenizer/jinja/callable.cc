#include "tokenizer/jinja/callable.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "base/names.h"

namespace tandem::jinja {

const Value* Arguments::Named(std::string_view name) const {
  for (const auto& [given, value] : named) {
    if (given == name) return &value;
  }
  return nullptr;
}

const Value* Arguments::Get(size_t index, std::string_view name) const {
  return index < positional.size() ? &positional[index] : Named(name);
}

absl::Status Arguments::Expect(std::string_view function, const std::vector<std::string>& names,
                               size_t required) const {
  if (positional.size() > names.size()) {
    return TypeError(
        absl::StrCat(std::string(function), " got ", positional.size(), " arguments, takes at most ", names.size()));
  }
  for (const auto& [name, value] : named) {
    const size_t index = std::find(names.begin(), names.end(), name) - names.begin();
    if (index == names.size()) {
      return TypeError(
          absl::StrCat(std::string(function), " got an unexpected argument '", name, "'", SuggestNames(name, names)));
    }
    if (index < positional.size()) {
      return TypeError(absl::StrCat(std::string(function), " got '", name, "' twice"));
    }
  }
  for (size_t i = 0; i < required; ++i) {
    if (Get(i, names[i]) == nullptr) return TypeError(absl::StrCat(std::string(function), " misses '", names[i], "'"));
  }
  return absl::OkStatus();
}

}  // namespace tandem::jinja
