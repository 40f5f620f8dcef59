#include "serve/core/validate.h"

#include <algorithm>
#include <string>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "tokenizer/utf8.h"

namespace tandem {
namespace {

constexpr size_t kMaxAdapterName = 64;

}  // namespace

absl::Status CheckAbove(std::string_view field, double value, double low, double high) {
  if (value > low && value <= high) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(std::string(field), " is ", value, ", want more than ", low, " and at most ", high));
}

absl::Status CheckTemperature(double value) {
  return CheckRange("temperature", value, 0.0, 100.0);
}

absl::Status CheckTopP(double value) {
  return CheckAbove("top_p", value, 0, 1);
}

absl::Status CheckMinP(double value) {
  return CheckRange("min_p", value, 0.0, 1.0);
}

absl::Status CheckTypicalP(double value) {
  return CheckAbove("typical_p", value, 0, 1);
}

absl::Status CheckRepetitionPenalty(double value) {
  return CheckRange("repetition_penalty", value, 0.01, 100.0);
}

absl::Status CheckUtf8(std::string_view field, std::string_view text) {
  const size_t at = FindInvalidUtf8(text);
  if (at == text.npos) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(std::string(field), " is not UTF-8: byte 0x",
                                                 absl::Hex(static_cast<unsigned char>(text[at]), absl::kZeroPad2),
                                                 " at offset ", at));
}

absl::Status CheckAdapterName(std::string_view field, std::string_view name) {
  const auto allowed = [](char c) { return absl::ascii_isalnum(c) || c == '.' || c == '_' || c == '-'; };
  const bool good = !name.empty() && name.size() <= kMaxAdapterName && name[0] != '.' && name[0] != '-' &&
                    std::all_of(name.begin(), name.end(), allowed);
  if (good) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(std::string(field), " is '", absl::CHexEscape(std::string(name.substr(0, 80))), "', want 1 to ",
                   kMaxAdapterName, " of letters, digits, '.', '_', '-', not starting with '.' or '-'"));
}

}  // namespace tandem
