// Python's printf-style formatting: "%s has %d" % (a, b).
#pragma once

#include "absl/status/statusor.h"
#include "tokenizer/jinja/heap.h"
#include "tokenizer/jinja/value.h"

namespace tandem::jinja {

// `format` is a string; `arguments` a tuple of values, a dict for %(name)s, or one value.
absl::StatusOr<Value> FormatPercent(const Value& format, const Value& arguments, Heap* heap);

}  // namespace tandem::jinja
