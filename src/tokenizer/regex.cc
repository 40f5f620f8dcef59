#define PCRE2_CODE_UNIT_WIDTH 8
#include "tokenizer/regex.h"

#include <pcre2.h>

#include <algorithm>
#include <cstdint>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "tokenizer/utf8.h"

namespace tandem {
namespace {

// Oniguruma's classes by their Unicode definition. PCRE2's own \s also matches U+180E and its \w knows no marks.
constexpr char kSpace[] = "\\p{White_Space}", kNotSpace[] = "\\P{White_Space}";
constexpr char kWordInClass[] = "\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}";
constexpr char kHexInClass[] = "0-9a-fA-F";

constexpr uint32_t kHeapLimitKib = 64 * 1024;  // of one match's backtracking

// Rewrites an Oniguruma expression (Ruby syntax) as PCRE2's.
class Translator {
 public:
  explicit Translator(std::string_view pattern) : pattern_(pattern) {}

  absl::StatusOr<std::string> Run() {
    while (at_ < pattern_.size()) {
      const char c = pattern_[at_];
      if (c == '\\') {
        RETURN_IF_ERROR(Escape());
      } else if (c == '[') {
        RETURN_IF_ERROR(OpenClass());
      } else if (c == ']' && depth_ > 0) {
        CloseClass();
      } else if (depth_ > 0 && c == '&' && pattern_.substr(at_, 2) == "&&") {
        return Refuse("an intersection of character classes (&&)");
      } else {
        out_.push_back(c);
        ++at_;
      }
    }
    return std::move(out_);
  }

 private:
  absl::Status Refuse(std::string_view what) const {
    return absl::InvalidArgumentError(
        absl::StrCat("'", std::string(pattern_), "': ", std::string(what), " at offset ", at_, " is not supported"));
  }

  absl::Status Escape() {
    if (at_ + 1 == pattern_.size()) return Refuse("a lone \\");
    const char c = pattern_[at_ + 1];
    const bool in_class = depth_ > 0;
    if (in_class && (c == 'W' || c == 'H')) return Refuse(absl::StrCat("\\", std::string(1, c), " in a class"));
    if (c == 's') {
      out_.append(kSpace);
    } else if (c == 'S') {
      out_.append(kNotSpace);
    } else if (c == 'w' || c == 'W') {
      AppendClass(kWordInClass, c == 'W');
    } else if (c == 'h' || c == 'H') {
      AppendClass(kHexInClass, c == 'H');
    } else {
      out_.append(pattern_.substr(at_, 2));
    }
    at_ += 2;
    return absl::OkStatus();
  }

  void AppendClass(const char* members, bool negated) {
    if (depth_ > 0) {
      out_.append(members);
    } else {
      absl::StrAppend(&out_, negated ? "[^" : "[", members, "]");
    }
  }

  // A class inside a class is a union: its members are written into the outer one.
  absl::Status OpenClass() {
    const std::string_view next = pattern_.substr(at_ + 1, 1);
    if (depth_ > 0 && next == ":") return Refuse("a POSIX bracket");
    if (depth_ > 0 && next == "^") return Refuse("a negated class inside a class");
    if (depth_ == 0) out_.push_back('[');
    ++depth_;
    ++at_;
    if (next == "^") {
      out_.push_back('^');
      ++at_;
    }
    if (pattern_.substr(at_, 1) == "]") {  // first in a class: the character itself
      out_.append("\\]");
      ++at_;
    }
    return absl::OkStatus();
  }

  void CloseClass() {
    if (--depth_ == 0) out_.push_back(']');
    ++at_;
  }

  std::string_view pattern_;
  std::string out_;
  size_t at_ = 0;
  int depth_ = 0;  // of character classes
};

struct FreeContext {
  void operator()(pcre2_compile_context* context) const { pcre2_compile_context_free(context); }
  void operator()(pcre2_match_data* data) const { pcre2_match_data_free(data); }
  void operator()(pcre2_match_context* context) const { pcre2_match_context_free(context); }
};

std::string ErrorText(int code) {
  PCRE2_UCHAR buffer[256];
  pcre2_get_error_message(code, buffer, sizeof(buffer));
  return reinterpret_cast<const char*>(buffer);
}

}  // namespace

struct Regex::Compiled {
  ~Compiled() { pcre2_code_free(code); }
  pcre2_code* code = nullptr;
};

Regex::Regex(std::unique_ptr<Compiled> compiled) : compiled_(std::move(compiled)) {}
Regex::Regex(Regex&&) noexcept = default;
Regex& Regex::operator=(Regex&&) noexcept = default;
Regex::~Regex() = default;

absl::StatusOr<Regex> Regex::Compile(std::string_view pattern) {
  ASSIGN_OR_RETURN(const std::string translated, Translator(pattern).Run());
  return CompileForPcre(translated, pattern);
}

absl::StatusOr<Regex> Regex::Literal(std::string_view text) {
  std::string pattern = "\\Q";  // up to \E; a \E in the text itself is written outside of the quotation
  for (size_t at = 0; at < text.size();) {
    const bool ends_quote = text.substr(at, 2) == "\\E";
    pattern.append(ends_quote ? "\\E\\\\E\\Q" : text.substr(at, 1));
    at += ends_quote ? 2 : 1;
  }
  return CompileForPcre(pattern + "\\E", text);
}

absl::StatusOr<Regex> Regex::CompileForPcre(const std::string& pattern, std::string_view original) {
  const std::unique_ptr<pcre2_compile_context, FreeContext> context(pcre2_compile_context_create(nullptr));
  pcre2_set_newline(context.get(), PCRE2_NEWLINE_LF);
  pcre2_set_parens_nest_limit(context.get(), 100);
  auto compiled = std::make_unique<Compiled>();
  int code = 0;
  PCRE2_SIZE offset = 0;
  // Ruby's ^ and $ are those of lines.
  const uint32_t options = PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C;
  compiled->code = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(), options, &code, &offset,
                                 context.get());
  if (compiled->code == nullptr) {
    return absl::InvalidArgumentError(absl::StrCat(
        "'", std::string(original), "' is no regular expression: ", ErrorText(code), " (offset ", offset, ")"));
  }
  pcre2_jit_compile(compiled->code, PCRE2_JIT_COMPLETE);  // where there is no JIT, pcre2_match interprets
  return Regex(std::move(compiled));
}

struct Regex::Scanner::State {
  const pcre2_code* code = nullptr;
  std::string_view text;
  std::unique_ptr<pcre2_match_data, FreeContext> data;
  std::unique_ptr<pcre2_match_context, FreeContext> context;
  size_t at = 0;
  size_t last_end = std::string_view::npos;  // an empty match right behind the previous one does not count
};

Regex::Scanner::Scanner(const Regex& regex) : state_(std::make_unique<State>()) {
  state_->code = regex.compiled_->code;
  state_->data.reset(pcre2_match_data_create(1, nullptr));
  state_->context.reset(pcre2_match_context_create(nullptr));
  pcre2_set_heap_limit(state_->context.get(), kHeapLimitKib);
}

Regex::Scanner::~Scanner() = default;

void Regex::Scanner::Start(std::string_view text) {
  state_->text = text;
  state_->at = 0;
  state_->last_end = text.npos;
  // Backtracking positions per match: proportional to the text, so that only super-linear expressions run into it.
  const size_t limit = std::min<size_t>(1000000 + 8 * text.size(), size_t{1} << 31);
  pcre2_set_match_limit(state_->context.get(), static_cast<uint32_t>(limit));
}

absl::StatusOr<bool> Regex::Scanner::Next(Match* match) {
  State& s = *state_;
  while (s.at <= s.text.size()) {
    const auto subject = reinterpret_cast<PCRE2_SPTR>(s.text.data());
    int rc = pcre2_match(s.code, subject, s.text.size(), s.at, PCRE2_NO_UTF_CHECK, s.data.get(), s.context.get());
    if (rc == PCRE2_ERROR_JIT_STACKLIMIT) {  // the interpreter's backtracking lies on the heap
      rc = pcre2_match(s.code, subject, s.text.size(), s.at, PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT, s.data.get(),
                       s.context.get());
    }
    if (rc == PCRE2_ERROR_NOMATCH) break;
    if (rc < 0) return absl::ResourceExhaustedError(absl::StrCat("matching at byte ", s.at, ": ", ErrorText(rc)));
    const PCRE2_SIZE* range = pcre2_get_ovector_pointer(s.data.get());
    *match = {range[0], std::max(range[0], range[1])};
    const bool empty = match->begin == match->end;
    s.at = match->end;
    if (empty) s.at += s.at < s.text.size() ? std::max(1, DecodeUtf8(s.text, s.at).num_bytes) : 1;
    if (empty && match->begin == s.last_end) continue;
    s.last_end = match->end;
    return true;
  }
  s.at = s.text.size() + 1;
  return false;
}

}  // namespace tandem
