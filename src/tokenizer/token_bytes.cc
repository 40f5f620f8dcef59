#include "tokenizer/token_bytes.h"

#include "absl/strings/escaping.h"
#include "absl/strings/str_replace.h"
#include "tokenizer/byte_level.h"

namespace tandem {
namespace {

constexpr std::string_view kMetaspace = "\u2581";

bool IsByteToken(std::string_view token) {
  const auto is_hex = [](char c) { return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'F'); };
  return token.size() == 6 && token.starts_with("<0x") && token.ends_with('>') && is_hex(token[3]) && is_hex(token[4]);
}

}  // namespace

ByteSpelling FindByteSpelling(const Json* decoder) {
  ByteSpelling spelling;
  if (decoder == nullptr || !decoder->is_object()) return spelling;
  const std::string type = decoder->value("type", "");
  spelling.byte_level = type == "ByteLevel";
  spelling.byte_fallback = type == "ByteFallback";
  if (type == "Metaspace") spelling.metaspace = true;
  if (type == "Replace" && decoder->contains("pattern")) {
    const Json& pattern = (*decoder)["pattern"];
    spelling.metaspace = pattern.is_object() && pattern.contains("String") && pattern["String"] == kMetaspace;
  }
  if (type == "Sequence" && decoder->contains("decoders") && (*decoder)["decoders"].is_array()) {
    for (const Json& step : (*decoder)["decoders"]) {
      const ByteSpelling found = FindByteSpelling(&step);
      spelling.byte_level |= found.byte_level;
      spelling.byte_fallback |= found.byte_fallback;
      spelling.metaspace |= found.metaspace;
    }
  }
  return spelling;
}

std::string BytesOfToken(std::string_view token, const ByteSpelling& spelling) {
  if (spelling.byte_level) return BytesOfByteLevel(token);
  if (spelling.byte_fallback && IsByteToken(token)) return absl::HexStringToBytes(std::string(token.substr(3, 2)));
  if (!spelling.metaspace) return std::string(token);
  return absl::StrReplaceAll(std::string(token), {{std::string(kMetaspace), " "}});
}

}  // namespace tandem
