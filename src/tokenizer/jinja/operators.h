// Python's operators on template values. INVALID_ARGUMENT where Python raises.
#pragma once

#include <string_view>

#include "absl/status/statusor.h"
#include "tokenizer/jinja/ast.h"
#include "tokenizer/jinja/heap.h"
#include "tokenizer/jinja/value.h"

namespace tandem::jinja {

absl::StatusOr<Value> ApplyBinary(Binary::Op op, const Value& left, const Value& right, Heap* heap);
absl::StatusOr<Value> ApplyUnary(Unary::Op op, const Value& operand);
absl::StatusOr<bool> ApplyComparison(Comparison::Op op, const Value& left, const Value& right, Heap* heap);
// item in container
absl::StatusOr<bool> Contains(const Value& container, const Value& item, Heap* heap);
// object[start:stop:step]; none stands for a bound that is left out.
absl::StatusOr<Value> ApplySlice(const Value& object, const Value& start, const Value& stop, const Value& step,
                                 Heap* heap);
// The error of using what is undefined; OK for any other value.
absl::Status CheckDefined(const Value& value);
// text as inserted into markup: & < > ' " escaped.
std::string EscapeHtml(std::string_view text);

}  // namespace tandem::jinja
