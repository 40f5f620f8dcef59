#include "tokenizer/jinja/lexer.h"

#include <array>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "tokenizer/jinja/string_literal.h"
#include "tokenizer/unicode.h"
#include "tokenizer/utf8.h"

namespace tandem::jinja {
namespace {

constexpr std::array<std::string_view, 26> kOperators = {"//", "**", "==", "!=", ">=", "<=", "+", "-", "/",
                                                         "*",  "%",  "~",  "[",  "]",  "(",  ")", "{", "}",
                                                         ">",  "<",  "=",  ".",  ":",  "|",  ",", ";"};

bool IsDigitByte(char c) {
  return c >= '0' && c <= '9';
}
bool IsNameByte(char c) {
  return IsDigitByte(c) || c == '_' || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c & 0x80) != 0;
}

// CRLF and CR become LF, and one newline at the end goes.
std::string NormalizeNewlines(std::string_view source) {
  std::string out;
  out.reserve(source.size());
  for (size_t i = 0; i < source.size(); ++i) {
    if (source[i] == '\r') {
      out.push_back('\n');
      if (source.substr(i + 1, 1) == "\n") ++i;
    } else {
      out.push_back(source[i]);
    }
  }
  if (out.ends_with('\n')) out.pop_back();
  return out;
}

std::string_view WithoutTrailingSpace(std::string_view text) {
  while (!text.empty()) {
    const size_t last = LastCharacter(text);
    if (!IsPythonSpace(DecodeUtf8(text, last).code_point)) break;
    text = text.substr(0, last);
  }
  return text;
}

class Lexer {
 public:
  explicit Lexer(std::string source) : source_(std::move(source)) {}

  absl::StatusOr<std::vector<Token>> Run() {
    while (at_ < source_.size()) RETURN_IF_ERROR(Root());
    Add(Token::Type::kEnd, "");
    return std::move(tokens_);
  }

 private:
  bool Sees(std::string_view text) const { return source_.compare(at_, text.size(), text) == 0; }

  void Skip(size_t bytes) {
    for (size_t i = 0; i < bytes; ++i) {
      if (source_[at_] == '\n') {
        ++position_.line;
        position_.column = 1;
      } else if ((source_[at_] & 0xC0) != 0x80) {
        ++position_.column;
      }
      ++at_;
    }
  }

  // The length of the white space at `from`.
  size_t SpaceAt(size_t from) const {
    size_t end = from;
    while (end < source_.size()) {
      const Utf8Char c = DecodeUtf8(source_, end);
      if (!IsPythonSpace(c.code_point)) break;
      end += c.num_bytes;
    }
    return end - from;
  }

  void Add(Token::Type type, std::string text) { tokens_.push_back({type, std::move(text), position_}); }

  // Data up to the next tag, then the tag.
  absl::Status Root() {
    const size_t tag = FindTag();
    const bool is_variable = tag < source_.size() && source_[tag + 1] == '{';
    const char sign = tag + 2 < source_.size() ? source_[tag + 2] : ' ';
    std::string_view data = std::string_view(source_).substr(at_, tag - at_);
    if (tag < source_.size() && sign == '-') {
      data = WithoutTrailingSpace(data);
    } else if (tag < source_.size() && sign != '+' && !is_variable) {
      data = WithoutIndent(data);
    }
    if (!data.empty()) Add(Token::Type::kData, std::string(data));
    Skip(tag - at_);
    if (tag == source_.size()) return absl::OkStatus();
    const char kind = source_[tag + 1];
    const Position begin = position_;
    absl::Status status;
    if (kind == '#') {
      status = Comment();
    } else {
      Skip(2);
      if (sign == '-' || sign == '+') Skip(1);
      status = kind == '{' ? Variable(begin) : Block(begin);
    }
    line_starting_ = at_ > 0 && source_[at_ - 1] == '\n';
    return status;
  }

  size_t FindTag() const {
    for (size_t tag = source_.find('{', at_); tag != source_.npos; tag = source_.find('{', tag + 1)) {
      const char next = tag + 1 < source_.size() ? source_[tag + 1] : ' ';
      if (next == '{' || next == '%' || next == '#') return tag;
    }
    return source_.size();
  }

  // lstrip_blocks: white space between the start of the line and a block goes.
  std::string_view WithoutIndent(std::string_view data) const {
    const size_t newline = data.rfind('\n');
    if (newline == data.npos && !line_starting_) return data;
    const size_t line = newline == data.npos ? 0 : newline + 1;
    const size_t begin = data.data() + line - source_.data();
    return SpaceAt(begin) >= data.size() - line ? data.substr(0, line) : data;
  }

  absl::Status Comment() {
    const bool has_sign = source_.compare(at_ + 2, 1, "-") == 0 || source_.compare(at_ + 2, 1, "+") == 0;
    const size_t begin = at_ + 2 + has_sign;
    const size_t end = source_.find("#}", begin);
    if (end == source_.npos) return ErrorAt(position_, "the comment is not closed, want '#}'");
    const char sign = end > begin ? source_[end - 1] : ' ';
    Skip(end + 2 - at_);
    TrimAfter(sign);
    return absl::OkStatus();
  }

  // What follows the end of a block or comment: all white space behind "-", nothing behind "+", else one newline.
  void TrimAfter(char sign) {
    if (sign == '-') {
      Skip(SpaceAt(at_));
    } else if (sign != '+' && Sees("\n")) {
      Skip(1);
    }
  }

  absl::Status Variable(const Position& begin) {
    tokens_.push_back({Token::Type::kVariableBegin, "", begin});
    while (true) {
      Skip(SpaceAt(at_));
      if (at_ >= source_.size()) return ErrorAt(begin, "the expression is not closed, want '}}'");
      const bool trims = Sees("-}}");
      if (brackets_.empty() && (trims || Sees("}}"))) {
        Add(Token::Type::kVariableEnd, "");
        Skip(trims ? 3 : 2);
        if (trims) Skip(SpaceAt(at_));
        return absl::OkStatus();
      }
      RETURN_IF_ERROR(Lexeme());
    }
  }

  absl::Status Block(const Position& begin) {
    const size_t name = at_ + SpaceAt(at_);
    if (source_.compare(name, 3, "raw") == 0 && !(name + 3 < source_.size() && IsNameByte(source_[name + 3]))) {
      return Raw(begin, name + 3);
    }
    tokens_.push_back({Token::Type::kBlockBegin, "", begin});
    while (true) {
      Skip(SpaceAt(at_));
      if (at_ >= source_.size()) return ErrorAt(begin, "the block is not closed, want '%}'");
      const bool has_sign = Sees("-%}") || Sees("+%}");
      if (brackets_.empty() && (has_sign || Sees("%}"))) {
        const char sign = source_[at_];
        Add(Token::Type::kBlockEnd, "");
        Skip(has_sign ? 3 : 2);
        TrimAfter(sign);
        return absl::OkStatus();
      }
      RETURN_IF_ERROR(Lexeme());
    }
  }

  // {% raw %} text {% endraw %}; `after` is behind the word raw.
  absl::Status Raw(const Position& begin, size_t after) {
    size_t open = after + SpaceAt(after);
    const bool trims = source_.compare(open, 3, "-%}") == 0;
    if (!trims && source_.compare(open, 2, "%}") != 0) return ErrorAt(begin, "raw takes no arguments");
    open += trims ? 3 : 2;
    Skip(open - at_);
    if (trims) Skip(SpaceAt(at_));
    line_starting_ = source_[at_ - 1] == '\n';
    for (size_t tag = source_.find("{%", at_); tag != source_.npos; tag = source_.find("{%", tag + 1)) {
      const char sign = tag + 2 < source_.size() ? source_[tag + 2] : ' ';
      size_t end = tag + 2 + (sign == '-' || sign == '+');
      end += SpaceAt(end);
      if (source_.compare(end, 6, "endraw") != 0) continue;
      end += 6;
      end += SpaceAt(end);
      const bool has_sign = source_.compare(end, 3, "-%}") == 0 || source_.compare(end, 3, "+%}") == 0;
      if (!has_sign && source_.compare(end, 2, "%}") != 0) continue;
      std::string_view data = std::string_view(source_).substr(at_, tag - at_);
      if (sign == '-') {
        data = WithoutTrailingSpace(data);
      } else if (sign != '+') {
        data = WithoutIndent(data);
      }
      if (!data.empty()) Add(Token::Type::kData, std::string(data));
      const char close = source_[end];
      Skip(end + (has_sign ? 3 : 2) - at_);
      TrimAfter(close);
      return absl::OkStatus();
    }
    return ErrorAt(begin, "raw is not closed, want '{% endraw %}'");
  }

  absl::Status Lexeme() {
    const char c = source_[at_];
    if (c == '"' || c == '\'') return String();
    if (IsDigitByte(c)) return Number();
    if (IsNameByte(c)) {
      size_t end = at_;
      while (end < source_.size() && IsNameByte(source_[end])) ++end;
      return Emit(Token::Type::kName, end - at_);
    }
    for (const std::string_view op : kOperators) {
      if (!Sees(op)) continue;
      RETURN_IF_ERROR(Balance(op[0]));
      return Emit(Token::Type::kOperator, op.size());
    }
    const int length = std::max(1, DecodeUtf8(source_, at_).num_bytes);
    return ErrorAt(position_, absl::StrCat("unexpected character '", source_.substr(at_, length), "'"));
  }

  absl::Status Emit(Token::Type type, size_t bytes) {
    Add(type, source_.substr(at_, bytes));
    Skip(bytes);
    return absl::OkStatus();
  }

  absl::Status Balance(char c) {
    if (c == '(' || c == '[' || c == '{') {
      brackets_.push_back(c == '(' ? ')' : c == '[' ? ']' : '}');
    } else if (c == ')' || c == ']' || c == '}') {
      if (brackets_.empty() || brackets_.back() != c) {
        const std::string want =
            brackets_.empty() ? "" : absl::StrCat(", want '", std::string(1, brackets_.back()), "'");
        return ErrorAt(position_, absl::StrCat("unexpected '", std::string(1, c), "'", want));
      }
      brackets_.pop_back();
    }
    return absl::OkStatus();
  }

  absl::Status String() {
    const char quote = source_[at_];
    size_t end = at_ + 1;
    while (end < source_.size() && source_[end] != quote) end += source_[end] == '\\' ? 2 : 1;
    if (end >= source_.size()) return ErrorAt(position_, "the string is not closed");
    absl::StatusOr<std::string> text = DecodeStringLiteral(std::string_view(source_).substr(at_ + 1, end - at_ - 1));
    if (!text.ok()) return ErrorAt(position_, std::string(text.status().message()));
    Add(Token::Type::kString, *std::move(text));
    Skip(end + 1 - at_);
    return absl::OkStatus();
  }

  size_t DigitsAt(size_t from) const {
    size_t end = from;
    while (end < source_.size() && (IsDigitByte(source_[end]) || (source_[end] == '_' && end > from))) ++end;
    return end - from;
  }

  absl::Status Number() {
    size_t end = at_ + DigitsAt(at_);
    bool is_float = false;
    const bool after_dot = at_ > 0 && source_[at_ - 1] == '.';  // x.0.1: attributes
    if (!after_dot && end < source_.size() && source_[end] == '.' && DigitsAt(end + 1) > 0) {
      is_float = true;
      end += 1 + DigitsAt(end + 1);
    }
    if (!after_dot && end < source_.size() && (source_[end] == 'e' || source_[end] == 'E')) {
      const size_t sign = end + 1 < source_.size() && (source_[end + 1] == '+' || source_[end + 1] == '-');
      if (const size_t digits = DigitsAt(end + 1 + sign); digits > 0) {
        is_float = true;
        end += 1 + sign + digits;
      }
    }
    std::string digits;
    for (size_t i = at_; i < end; ++i) {
      if (source_[i] != '_') digits.push_back(source_[i]);
    }
    Add(is_float ? Token::Type::kFloat : Token::Type::kInteger, std::move(digits));
    Skip(end - at_);
    return absl::OkStatus();
  }

  std::string source_;
  std::vector<Token> tokens_;
  std::string brackets_;  // closing ones that are still wanted
  size_t at_ = 0;
  Position position_;          // of at_
  bool line_starting_ = true;  // does the data begin a line
};

}  // namespace

absl::StatusOr<std::vector<Token>> Tokenize(std::string_view source) {
  return Lexer(NormalizeNewlines(source)).Run();
}

std::string Describe(const Token& token) {
  switch (token.type) {
    case Token::Type::kData:
      return "text";
    case Token::Type::kVariableBegin:
      return "'{{'";
    case Token::Type::kVariableEnd:
      return "'}}'";
    case Token::Type::kBlockBegin:
      return "'{%'";
    case Token::Type::kBlockEnd:
      return "'%}'";
    case Token::Type::kEnd:
      return "the end of the template";
    case Token::Type::kString:
      return "a string";
    default:
      return absl::StrCat("'", token.text, "'");
  }
}

absl::Status ErrorAt(const Position& at, std::string_view message) {
  return absl::InvalidArgumentError(absl::StrCat("line ", at.line, ", column ", at.column, ": ", std::string(message)));
}

}  // namespace tandem::jinja
