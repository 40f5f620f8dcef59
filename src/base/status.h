// Helpers for absl::Status, the way every expected failure travels in Tandem: no exception crosses a folder.
#pragma once

#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"

namespace tandem {

// The same code, with `context` in front of the message: "models/demo/config.json: hidden_size is -3, want > 0".
inline absl::Status Annotate(const absl::Status& status, std::string_view context) {
  if (status.ok()) return status;
  return absl::Status(status.code(), absl::StrCat(std::string(context), ": ", status.message()));
}

}  // namespace tandem

#define TANDEM_STATUS_CONCAT_INNER(a, b) a##b
#define TANDEM_STATUS_CONCAT(a, b) TANDEM_STATUS_CONCAT_INNER(a, b)

// Returns from the enclosing function when `expression` is not OK.
#define RETURN_IF_ERROR(expression)                                       \
  do {                                                                    \
    if (absl::Status tandem_status = (expression); !tandem_status.ok()) { \
      return tandem_status;                                               \
    }                                                                     \
  } while (0)

// ASSIGN_OR_RETURN(auto file, OpenFile(path)): declares or assigns, or returns the error.
#define ASSIGN_OR_RETURN(lhs, expression) \
  ASSIGN_OR_RETURN_IMPL(TANDEM_STATUS_CONCAT(tandem_statusor_, __LINE__), lhs, expression)
#define ASSIGN_OR_RETURN_IMPL(statusor, lhs, expression) \
  auto statusor = (expression);                          \
  if (!statusor.ok()) return statusor.status();          \
  lhs = std::move(statusor).value()
