#include "tokenizer/jinja/parser.h"

#include <initializer_list>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/names.h"
#include "base/status.h"
#include "tokenizer/jinja/expression_parser.h"

namespace tandem::jinja {
namespace {

constexpr int kMaxNesting = 100;  // of blocks

class StatementParser {
 public:
  explicit StatementParser(std::vector<Token> tokens) : tokens_(std::move(tokens)) {}

  absl::StatusOr<ParsedTemplate> Run() {
    ParsedTemplate parsed;
    ASSIGN_OR_RETURN(parsed.body, Body({}));
    if (tokens_.Current().type != Token::Type::kEnd) return tokens_.Unexpected("the end of the template");
    parsed.has_generation = has_generation_;
    return parsed;
  }

 private:
  // Statements up to a block named in `until`, whose name is left to the caller to take; {} reads to the end.
  absl::StatusOr<Block> Body(std::initializer_list<std::string_view> until) {
    if (++depth_ > kMaxNesting) {
      return ErrorAt(tokens_.Current().at, absl::StrCat("blocks nested deeper than ", kMaxNesting, " levels"));
    }
    Block body;
    while (tokens_.Current().type != Token::Type::kEnd) {
      const Token token = tokens_.Take();
      if (token.type == Token::Type::kData) {
        body.push_back({token.at, Text{token.text}});
      } else if (token.type == Token::Type::kVariableBegin) {
        ASSIGN_OR_RETURN(ExpressionPtr value, Expressions().TupleOrExpression(/*with_conditional=*/true));
        if (tokens_.Current().type != Token::Type::kVariableEnd) return tokens_.Unexpected("'}}'");
        tokens_.Take();
        body.push_back({token.at, Output{std::move(value)}});
      } else {
        for (const std::string_view name : until) {
          if (!tokens_.Current().IsName(name)) continue;
          --depth_;
          return body;
        }
        RETURN_IF_ERROR(Tag(token.at, &body));
      }
    }
    if (until.size() > 0) return tokens_.Unexpected(absl::StrCat("'", std::string(*(until.end() - 1)), "'"));
    --depth_;
    return body;
  }

  ExpressionParser Expressions() { return ExpressionParser(&tokens_); }

  absl::Status EndTag() {
    if (tokens_.Current().type != Token::Type::kBlockEnd) return tokens_.Unexpected("'%}'");
    tokens_.Take();
    return absl::OkStatus();
  }

  // The body of a block and its end tag, both taken.
  absl::StatusOr<Block> BodyUntil(std::string_view end) {
    RETURN_IF_ERROR(EndTag());
    ASSIGN_OR_RETURN(Block body, Body({end}));
    tokens_.Take();
    RETURN_IF_ERROR(EndTag());
    return body;
  }

  absl::Status Tag(const Position& at, Block* body) {
    static constexpr struct {
      std::string_view name;
      absl::StatusOr<Statement> (StatementParser::*parse)();
    } kTags[] = {
        {"if", &StatementParser::ParseIf},       {"for", &StatementParser::ParseFor},
        {"set", &StatementParser::ParseSet},     {"macro", &StatementParser::ParseMacro},
        {"call", &StatementParser::ParseCall},   {"filter", &StatementParser::ParseFilter},
        {"with", &StatementParser::ParseWith},   {"generation", &StatementParser::ParseGeneration},
        {"break", &StatementParser::ParseBreak}, {"continue", &StatementParser::ParseContinue},
        {"print", &StatementParser::ParsePrint},
    };
    ASSIGN_OR_RETURN(const std::string name, tokens_.ExpectIdentifier());
    for (const auto& tag : kTags) {
      if (tag.name != name) continue;
      ASSIGN_OR_RETURN(Statement statement, (this->*tag.parse)());
      statement.at = at;
      body->push_back(std::move(statement));
      return absl::OkStatus();
    }
    std::vector<std::string> known;
    for (const auto& tag : kTags) known.emplace_back(tag.name);
    return ErrorAt(at, absl::StrCat("unknown tag '", name, "'", SuggestNames(name, known)));
  }

  absl::StatusOr<Statement> ParseIf() {
    If node;
    while (true) {
      ASSIGN_OR_RETURN(ExpressionPtr condition, Expressions().TupleOrExpression(/*with_conditional=*/false));
      RETURN_IF_ERROR(EndTag());
      ASSIGN_OR_RETURN(Block branch, Body({"elif", "else", "endif"}));
      node.branches.emplace_back(std::move(condition), std::move(branch));
      const std::string next = tokens_.Take().text;
      if (next == "elif") continue;
      if (next == "else") {
        ASSIGN_OR_RETURN(node.otherwise, BodyUntil("endif"));
      } else {
        RETURN_IF_ERROR(EndTag());
      }
      return Statement{{}, std::move(node)};
    }
  }

  absl::StatusOr<Statement> ParseFor() {
    For node;
    ASSIGN_OR_RETURN(node.target, Expressions().AssignmentTarget(/*allows_attribute=*/false));
    RETURN_IF_ERROR(tokens_.ExpectName("in"));
    ASSIGN_OR_RETURN(node.iterable, Expressions().TupleOrExpression(/*with_conditional=*/false));
    if (tokens_.TakeName("if")) {
      ASSIGN_OR_RETURN(node.condition, Expressions().Expression());
    }
    if (tokens_.Current().IsName("recursive"))
      return ErrorAt(tokens_.Current().at, "recursive loops are not supported");
    RETURN_IF_ERROR(EndTag());
    ++loops_;
    ASSIGN_OR_RETURN(node.body, Body({"else", "endfor"}));
    --loops_;
    if (tokens_.Take().text == "else") {
      ASSIGN_OR_RETURN(node.otherwise, BodyUntil("endfor"));
    } else {
      RETURN_IF_ERROR(EndTag());
    }
    return Statement{{}, std::move(node)};
  }

  absl::StatusOr<Statement> ParseSet() {
    ASSIGN_OR_RETURN(Target target, Expressions().AssignmentTarget(/*allows_attribute=*/true));
    if (tokens_.TakeOperator("=")) {
      ASSIGN_OR_RETURN(ExpressionPtr value, Expressions().TupleOrExpression(/*with_conditional=*/true));
      RETURN_IF_ERROR(EndTag());
      return Statement{{}, Set{std::move(target), std::move(value)}};
    }
    SetBlock node;
    node.target = std::move(target);
    if (tokens_.TakeOperator("|")) {
      ASSIGN_OR_RETURN(node.filter, Expressions().FilterChain());
    }
    ASSIGN_OR_RETURN(node.body, InnerBody("endset"));
    return Statement{{}, std::move(node)};
  }

  // break and continue do not reach out of what runs as a function of its own.
  absl::StatusOr<Block> InnerBody(std::string_view end) {
    const int loops = std::exchange(loops_, 0);
    absl::StatusOr<Block> body = BodyUntil(end);
    loops_ = loops;
    return body;
  }

  absl::StatusOr<std::vector<Parameter>> Parameters() {
    std::vector<Parameter> parameters;
    RETURN_IF_ERROR(tokens_.ExpectOperator("("));
    while (!tokens_.TakeOperator(")")) {
      if (!parameters.empty()) RETURN_IF_ERROR(tokens_.ExpectOperator(","));
      if (tokens_.TakeOperator(")")) break;
      Parameter parameter;
      ASSIGN_OR_RETURN(parameter.name, tokens_.ExpectIdentifier());
      if (tokens_.TakeOperator("=")) {
        ASSIGN_OR_RETURN(parameter.fallback, Expressions().Expression());
      } else if (!parameters.empty() && parameters.back().fallback != nullptr) {
        return tokens_.Unexpected("a default: the parameter before has one");
      }
      parameters.push_back(std::move(parameter));
    }
    return parameters;
  }

  absl::Status MacroBody(std::string_view end, MacroDefinition* macro) {
    const size_t begin = tokens_.position();
    ASSIGN_OR_RETURN(macro->body, InnerBody(end));
    macro->uses_varargs = tokens_.Mentions(begin, "varargs");
    macro->uses_kwargs = tokens_.Mentions(begin, "kwargs");
    macro->uses_caller = tokens_.Mentions(begin, "caller");
    for (const Parameter& parameter : macro->parameters) macro->uses_caller &= parameter.name != "caller";
    return absl::OkStatus();
  }

  absl::StatusOr<Statement> ParseMacro() {
    MacroDefinition node;
    ASSIGN_OR_RETURN(node.name, tokens_.ExpectIdentifier());
    ASSIGN_OR_RETURN(node.parameters, Parameters());
    RETURN_IF_ERROR(MacroBody("endmacro", &node));
    return Statement{{}, std::move(node)};
  }

  absl::StatusOr<Statement> ParseCall() {
    CallBlock node;
    node.caller.name = "caller";
    if (tokens_.Current().IsOperator("(")) {
      ASSIGN_OR_RETURN(node.caller.parameters, Parameters());
    }
    const Position at = tokens_.Current().at;
    ASSIGN_OR_RETURN(node.call, Expressions().Expression());
    if (!std::holds_alternative<Call>(node.call->node)) return ErrorAt(at, "got an expression, want a call");
    RETURN_IF_ERROR(MacroBody("endcall", &node.caller));
    return Statement{{}, std::move(node)};
  }

  absl::StatusOr<Statement> ParseFilter() {
    FilterBlock node;
    ASSIGN_OR_RETURN(node.filter, Expressions().FilterChain());
    ASSIGN_OR_RETURN(node.body, InnerBody("endfilter"));
    return Statement{{}, std::move(node)};
  }

  absl::StatusOr<Statement> ParseWith() {
    With node;
    while (tokens_.Current().type != Token::Type::kBlockEnd) {
      if (!node.variables.empty()) RETURN_IF_ERROR(tokens_.ExpectOperator(","));
      ASSIGN_OR_RETURN(const std::string name, tokens_.ExpectIdentifier());
      RETURN_IF_ERROR(tokens_.ExpectOperator("="));
      ASSIGN_OR_RETURN(ExpressionPtr value, Expressions().Expression());
      Target target;
      target.name = name;
      node.variables.emplace_back(std::move(target), std::move(value));
    }
    ASSIGN_OR_RETURN(node.body, BodyUntil("endwith"));
    return Statement{{}, std::move(node)};
  }

  absl::StatusOr<Statement> ParseGeneration() {
    Generation node;
    ASSIGN_OR_RETURN(node.body, InnerBody("endgeneration"));
    has_generation_ = true;
    return Statement{{}, std::move(node)};
  }

  absl::StatusOr<Statement> ParseBreak() {
    if (loops_ == 0) return tokens_.Unexpected("a loop around break");
    RETURN_IF_ERROR(EndTag());
    return Statement{{}, Break{}};
  }

  absl::StatusOr<Statement> ParseContinue() {
    if (loops_ == 0) return tokens_.Unexpected("a loop around continue");
    RETURN_IF_ERROR(EndTag());
    return Statement{{}, Continue{}};
  }

  absl::StatusOr<Statement> ParsePrint() {
    ASSIGN_OR_RETURN(ExpressionPtr value, Expressions().TupleOrExpression(/*with_conditional=*/true));
    RETURN_IF_ERROR(EndTag());
    return Statement{{}, Output{std::move(value)}};
  }

  TokenStream tokens_;
  int depth_ = 0;
  int loops_ = 0;  // around the current statement, within its function
  bool has_generation_ = false;
};

}  // namespace

absl::StatusOr<ParsedTemplate> Parse(std::string_view source) {
  ASSIGN_OR_RETURN(std::vector<Token> tokens, Tokenize(source));
  return StatementParser(std::move(tokens)).Run();
}

}  // namespace tandem::jinja
