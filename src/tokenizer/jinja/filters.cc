#include "tokenizer/jinja/builtins.h"

namespace tandem::jinja {
namespace {

FilterFunction FindIn(std::span<const NamedFilter> filters, std::string_view name) {
  for (const NamedFilter& filter : filters) {
    if (filter.name == name) return filter.function;
  }
  return nullptr;
}

}  // namespace

FilterFunction FindFilter(std::string_view name) {
  const FilterFunction found = FindIn(TextFilters(), name);
  return found != nullptr ? found : FindIn(SequenceFilters(), name);
}

std::vector<std::string> FilterNames() {
  std::vector<std::string> names;
  for (const auto& filters : {TextFilters(), SequenceFilters()}) {
    for (const NamedFilter& filter : filters) names.emplace_back(filter.name);
  }
  return names;
}

}  // namespace tandem::jinja
