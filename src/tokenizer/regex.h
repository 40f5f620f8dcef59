// Regular expressions of tokenizer.json, written for Oniguruma, run by PCRE2 (UTF, Unicode properties, JIT).
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace tandem {

// Immutable after Compile; thread-safe.
class Regex {
 public:
  struct Match {
    size_t begin = 0, end = 0;  // bytes
  };

  // INVALID_ARGUMENT with offset and reason. What the two engines read differently is translated (\s, \w, \h, nested
  // classes) or refused (intersections of classes, POSIX brackets).
  static absl::StatusOr<Regex> Compile(std::string_view pattern);
  // Matches exactly `text`.
  static absl::StatusOr<Regex> Literal(std::string_view text);

  Regex(Regex&&) noexcept;
  Regex& operator=(Regex&&) noexcept;
  ~Regex();

  // Walks over the matches in one text after the other. Not thread-safe; texts and regex must outlive it.
  class Scanner {
   public:
    explicit Scanner(const Regex& regex);
    ~Scanner();
    void Start(std::string_view text);  // valid UTF-8
    // The next match of that text; false at the end. RESOURCE_EXHAUSTED where the expression backtracks without bound.
    absl::StatusOr<bool> Next(Match* match);

   private:
    struct State;
    std::unique_ptr<State> state_;
  };

 private:
  struct Compiled;
  explicit Regex(std::unique_ptr<Compiled> compiled);
  static absl::StatusOr<Regex> CompileForPcre(const std::string& pattern, std::string_view original);
  std::unique_ptr<Compiled> compiled_;
};

}  // namespace tandem
