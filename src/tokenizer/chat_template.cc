#include "tokenizer/chat_template.h"

#include <array>
#include <optional>
#include <string_view>

#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "base/status.h"
#include "tokenizer/config_reader.h"
#include "tokenizer/jinja/interpreter.h"
#include "tokenizer/jinja/json_text.h"
#include "tokenizer/jinja/parser.h"
#include "tokenizer/utf8.h"

namespace tandem {
namespace {

constexpr std::array<std::string_view, 7> kSpecialTokens = {"bos_token", "eos_token", "unk_token", "sep_token",
                                                            "pad_token", "cls_token", "mask_token"};

// tokenizer_config.json; an empty object where there is none.
absl::StatusOr<Json> ReadConfig(const std::string& path) {
  absl::StatusOr<std::string> text = ReadFile(path);
  if (absl::IsNotFound(text.status())) return Json::object();
  RETURN_IF_ERROR(text.status());
  absl::StatusOr<Json> config = ParseJson(*text);
  if (!config.ok()) return Annotate(config.status(), path);
  if (!config->is_object()) return WrongType(path, *config, "an object");
  return config;
}

// The special tokens of a config: strings, or objects with content.
absl::StatusOr<Json> ReadSpecialTokens(const Json& config) {
  Json tokens = Json::object();
  for (const std::string_view name : kSpecialTokens) {
    const Json* token = FindField(config, name);
    if (token == nullptr) continue;
    if (token->is_object()) {
      ASSIGN_OR_RETURN(tokens[std::string(name)], ReadField<std::string>(*token, std::string(name), "content"));
    } else if (token->is_string()) {
      tokens[std::string(name)] = *token;
    } else {
      return WrongType(std::string(name), *token, "a string or an object with content");
    }
  }
  return tokens;
}

// The source in a config's chat_template: a string, or the entry named "default"; nullopt where there is none.
absl::StatusOr<std::optional<std::string>> ReadSource(const Json& config) {
  const Json* source = FindField(config, "chat_template");
  if (source == nullptr) return std::nullopt;
  if (source->is_string()) return source->get<std::string>();
  if (!source->is_array()) return WrongType("chat_template", *source, "a string or an array of named templates");
  for (size_t i = 0; i < source->size(); ++i) {
    const std::string path = absl::StrCat("chat_template[", i, "]");
    ASSIGN_OR_RETURN(const std::string name, ReadField<std::string>((*source)[i], path, "name"));
    ASSIGN_OR_RETURN(std::string text, ReadField<std::string>((*source)[i], path, "template"));
    if (name == "default") return text;
  }
  return absl::InvalidArgumentError("chat_template has no entry named 'default'");
}

// The names that a message's reasoning goes by; transformers fills the first two from whichever is given.
constexpr std::array<const char*, 3> kReasoning = {"reasoning_content", "thinking", "reasoning"};

// As apply_chat_template and render_jinja_template prepare a message: no key whose value is null (templates tell a
// missing key from none), and its reasoning under both names that templates read.
OrderedJson PrepareMessage(const OrderedJson& message) {
  if (!message.is_object()) return message;
  const OrderedJson* reasoning = nullptr;
  for (const char* const name : kReasoning) {
    const auto found = message.find(name);
    if (reasoning == nullptr && found != message.end() && !found->is_null()) reasoning = &*found;
  }
  OrderedJson prepared = OrderedJson::object();
  if (reasoning != nullptr) prepared["thinking"] = *reasoning;
  for (const auto& [key, value] : message.items()) {
    if (!value.is_null()) prepared[key] = value;
  }
  if (reasoning != nullptr) prepared["reasoning_content"] = *reasoning;
  return prepared;
}

OrderedJson PrepareMessages(const OrderedJson& messages) {
  if (!messages.is_array()) return messages;
  OrderedJson prepared = OrderedJson::array();
  for (const OrderedJson& message : messages) prepared.push_back(PrepareMessage(message));
  return prepared;
}

}  // namespace

class ChatTemplate::Impl {
 public:
  Impl(jinja::ParsedTemplate parsed, Json special_tokens)
      : parsed_(std::move(parsed)), special_tokens_(std::move(special_tokens)) {}

  absl::StatusOr<RenderedChat> Render(const OrderedJson& variables, absl::Time now) const {
    if (!variables.is_object()) {
      return absl::InvalidArgumentError(absl::StrCat(DescribeJson(variables), ", want an object of variables"));
    }
    jinja::Interpreter interpreter(jinja::Limits(), now);
    OrderedJson all = special_tokens_;
    all["tools"] = all["documents"] = nullptr;
    all["add_generation_prompt"] = false;
    for (const auto& [name, value] : variables.items()) all[name] = name == "messages" ? PrepareMessages(value) : value;
    for (const auto& [name, value] : all.items()) {
      absl::StatusOr<jinja::Value> converted = jinja::ValueFromJson(value, &interpreter.heap());
      if (!converted.ok()) return Annotate(converted.status(), name);
      interpreter.SetVariable(name, *std::move(converted));
    }
    absl::StatusOr<jinja::Rendering> rendering = interpreter.Render(parsed_.body);
    if (!rendering.ok()) return Annotate(rendering.status(), "chat template");
    return RenderedChat{std::move(rendering->text), std::move(rendering->generation_ranges)};
  }

  bool has_generation_blocks() const { return parsed_.has_generation; }

 private:
  jinja::ParsedTemplate parsed_;
  OrderedJson special_tokens_;
};

ChatTemplate::ChatTemplate(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
ChatTemplate::~ChatTemplate() = default;

absl::StatusOr<std::unique_ptr<ChatTemplate>> ChatTemplate::Load(const std::string& directory) {
  const std::string config_path = directory + "/tokenizer_config.json";
  const std::string template_path = directory + "/chat_template.jinja";
  ASSIGN_OR_RETURN(const Json config, ReadConfig(config_path));
  absl::StatusOr<Json> special_tokens = ReadSpecialTokens(config);
  if (!special_tokens.ok()) return Annotate(special_tokens.status(), config_path);
  absl::StatusOr<std::string> file = ReadFile(template_path);
  if (file.ok()) {
    auto parsed = Parse(*std::move(file), *std::move(special_tokens));
    return parsed.ok() ? std::move(parsed) : Annotate(parsed.status(), template_path);
  }
  if (!absl::IsNotFound(file.status())) return file.status();
  absl::StatusOr<std::optional<std::string>> source = ReadSource(config);
  if (!source.ok()) return Annotate(source.status(), config_path);
  if (!source->has_value()) {
    return absl::NotFoundError(absl::StrCat(directory,
                                            " has no chat template: neither chat_template.jinja nor "
                                            "chat_template in tokenizer_config.json"));
  }
  auto parsed = Parse(**std::move(source), *std::move(special_tokens));
  return parsed.ok() ? std::move(parsed) : Annotate(parsed.status(), config_path + ": chat_template");
}

absl::StatusOr<std::unique_ptr<ChatTemplate>> ChatTemplate::Parse(std::string source, Json special_tokens) {
  if (const size_t invalid = FindInvalidUtf8(source); invalid != std::string::npos) {
    return absl::InvalidArgumentError(absl::StrCat("the template is not UTF-8 at byte ", invalid));
  }
  if (!special_tokens.is_object()) {
    return absl::InvalidArgumentError(
        absl::StrCat("special tokens are ", DescribeJson(special_tokens), ", want an object"));
  }
  ASSIGN_OR_RETURN(jinja::ParsedTemplate parsed, jinja::Parse(source));
  return std::unique_ptr<ChatTemplate>(
      new ChatTemplate(std::make_unique<Impl>(std::move(parsed), std::move(special_tokens))));
}

absl::StatusOr<RenderedChat> ChatTemplate::Render(const OrderedJson& variables, absl::Time now) const {
  return impl_->Render(variables, now);
}

bool ChatTemplate::has_generation_blocks() const {
  return impl_->has_generation_blocks();
}

}  // namespace tandem
