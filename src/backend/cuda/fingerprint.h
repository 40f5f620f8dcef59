// A hash of what an operation gives the device to do: two launches with the same fingerprint are the same launch.
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>
#include <type_traits>

namespace tandem::cuda {

class Fingerprint {
 public:
  template <typename T>
  void Add(T value) {
    static_assert(std::is_trivially_copyable_v<T>);
#if __has_builtin(__builtin_clear_padding)
    if constexpr (std::is_class_v<T>) __builtin_clear_padding(&value);
#endif
    constexpr size_t kWord = sizeof(uint64_t);
    char bytes[(sizeof(T) + kWord - 1) / kWord * kWord] = {};
    std::memcpy(bytes, &value, sizeof value);
    for (size_t i = 0; i < sizeof bytes; i += kWord) {
      uint64_t word;
      std::memcpy(&word, bytes + i, kWord);
      // One round of wyhash's kind: every bit of the word reaches every bit of the hash.
      const unsigned __int128 product =
          static_cast<unsigned __int128>(value_ ^ word) * 0xa0761d6478bd642fu + 0xe7037ed1a0b428dbu;
      value_ = std::rotl(static_cast<uint64_t>(product) ^ static_cast<uint64_t>(product >> 64), 23);
    }
  }
  uint64_t value() const {
    return value_;
  }

 private:
  uint64_t value_ = 0x8ebc6af09c88c6e3u;
};

}  // namespace tandem::cuda
