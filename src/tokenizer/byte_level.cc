#include "tokenizer/byte_level.h"

#include <array>
#include <cstdint>

#include "tokenizer/utf8.h"

namespace tandem {
namespace {

constexpr int kFirstShifted = 0x100;
constexpr int kNumShifted = 68;  // 33 controls and space, 34 from DEL to no-break space, soft hyphen

constexpr bool StandsForItself(int byte) {
  return (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
}

struct Alphabet {
  std::array<uint16_t, 256> char_of_byte{};
  std::array<int16_t, kFirstShifted + kNumShifted> byte_of_char{};  // -1: not in the alphabet
};

constexpr Alphabet MakeAlphabet() {
  Alphabet alphabet;
  for (int16_t& byte : alphabet.byte_of_char) byte = -1;
  int next = kFirstShifted;
  for (int byte = 0; byte < 256; ++byte) {
    const int character = StandsForItself(byte) ? byte : next++;
    alphabet.char_of_byte[byte] = static_cast<uint16_t>(character);
    alphabet.byte_of_char[character] = static_cast<int16_t>(byte);
  }
  return alphabet;
}

constexpr Alphabet kAlphabet = MakeAlphabet();

}  // namespace

void AppendByteLevel(std::string_view text, std::string* out) {
  for (const char c : text) AppendUtf8(kAlphabet.char_of_byte[static_cast<uint8_t>(c)], out);
}

std::string BytesOfByteLevel(std::string_view token) {
  std::string bytes;
  for (size_t at = 0; at < token.size();) {
    const Utf8Char c = DecodeUtf8(token, at);
    const bool known = c.num_bytes > 0 && c.code_point < kAlphabet.byte_of_char.size();
    if (!known || kAlphabet.byte_of_char[c.code_point] < 0) return std::string(token);
    bytes.push_back(static_cast<char>(kAlphabet.byte_of_char[c.code_point]));
    at += c.num_bytes;
  }
  return bytes;
}

}  // namespace tandem
