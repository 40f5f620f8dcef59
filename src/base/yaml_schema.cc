#include "base/yaml_schema.h"

#include <algorithm>
#include <limits>
#include <map>
#include <sstream>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/names.h"
#include "base/status.h"
#include "yaml-cpp/eventhandler.h"
#include "yaml-cpp/yaml.h"

namespace tandem {

struct YamlSchema::Source {
  std::string name;
  bool has_lines = true;

  // "tandem.yaml:12: ..."
  absl::Status Error(const YAML::Node& at, std::string_view message) const {
    const std::string line = has_lines && !at.Mark().is_null() ? absl::StrCat(":", at.Mark().line + 1) : "";
    return absl::InvalidArgumentError(absl::StrCat(name, line, ": ", std::string(message)));
  }
  absl::Status Want(const YAML::Node& at, std::string_view key, std::string_view want) const;
};

namespace {

std::string Describe(const YAML::Node& node) {
  if (node.IsScalar()) return absl::StrCat("'", node.Scalar().substr(0, 80), "'");
  if (node.IsMap()) return "a map";
  if (node.IsSequence()) return "a list";
  return "empty";
}

// Plain scalars only: a quoted "8080" is text.
bool IsPlain(const YAML::Node& node) {
  return node.IsScalar() && node.Tag() != "!";
}

// Counts documents: YAML::LoadAll never ends where yaml-cpp finds one after the other without moving on, as at a comma
// in front of a block's key.
class DocumentCounter final : public YAML::EventHandler {
 public:
  static constexpr int kMany = 2;

  // Up to kMany of them.
  int Count(const std::string& text) {
    std::istringstream stream(text);
    YAML::Parser parser(stream);
    while (count_ < kMany && parser.HandleNextDocument(*this)) {
    }
    return count_;
  }
  int last_line() const { return line_; }  // from 1, where the last of them begins

  void OnDocumentStart(const YAML::Mark& mark) override {
    ++count_;
    line_ = mark.line + 1;
  }
  void OnDocumentEnd() override {}
  void OnNull(const YAML::Mark&, YAML::anchor_t) override {}
  void OnAlias(const YAML::Mark&, YAML::anchor_t) override {}
  void OnScalar(const YAML::Mark&, const std::string&, YAML::anchor_t, const std::string&) override {}
  void OnSequenceStart(const YAML::Mark&, const std::string&, YAML::anchor_t, YAML::EmitterStyle::value) override {}
  void OnSequenceEnd() override {}
  void OnMapStart(const YAML::Mark&, const std::string&, YAML::anchor_t, YAML::EmitterStyle::value) override {}
  void OnMapEnd() override {}

 private:
  int count_ = 0, line_ = 0;
};

// The one document of a text; Null where there is none. yaml-cpp reports by exception; none leaves this file.
absl::StatusOr<YAML::Node> Parse(const std::string& name, const std::string& text) {
  try {
    DocumentCounter documents;
    if (documents.Count(text) > 1) {
      return absl::InvalidArgumentError(
          absl::StrCat(name, ":", documents.last_line(), ": a second YAML document, want one"));
    }
    return YAML::Load(text);
  } catch (const YAML::Exception& error) {
    const std::string line = error.mark.is_null() ? "" : absl::StrCat(":", error.mark.line + 1);
    return absl::InvalidArgumentError(absl::StrCat(name, line, ": not YAML: ", error.msg));
  }
}

std::string LastPart(const std::string& name) {
  return name.substr(name.rfind('.') + 1);
}

}  // namespace

absl::Status YamlSchema::Source::Want(const YAML::Node& at, std::string_view key, std::string_view want) const {
  return Error(at, absl::StrCat(std::string(key), " is ", Describe(at), ", want ", std::string(want)));
}

void YamlSchema::Add(std::string key, std::string* value) {
  auto read = [key, value](const YAML::Node& node, const Source& source) {
    if (!node.IsScalar()) return source.Want(node, key, "a string");
    *value = node.Scalar();
    return absl::OkStatus();
  };
  keys_.push_back({std::move(key), true, std::move(read)});
}

void YamlSchema::Add(std::string key, std::string* value, std::vector<std::string> choices) {
  auto read = [key, value, choices = std::move(choices)](const YAML::Node& node, const Source& source) {
    if (!node.IsScalar() || std::find(choices.begin(), choices.end(), node.Scalar()) == choices.end()) {
      return source.Want(node, key, absl::StrCat("one of ", absl::StrJoin(choices, ", ")));
    }
    *value = node.Scalar();
    return absl::OkStatus();
  };
  keys_.push_back({std::move(key), true, std::move(read)});
}

void YamlSchema::Add(std::string key, bool* value) {
  auto read = [key, value](const YAML::Node& node, const Source& source) {
    const bool good = IsPlain(node) && (node.Scalar() == "true" || node.Scalar() == "false");
    if (!good) return source.Want(node, key, "true or false");
    *value = node.Scalar() == "true";
    return absl::OkStatus();
  };
  keys_.push_back({std::move(key), false, std::move(read)});
}

void YamlSchema::Add(std::string key, int64_t* value, Range range) {
  AddInteger(std::move(key), range, [value](int64_t number) { *value = number; });
}

void YamlSchema::Add(std::string key, int* value, Range range) {
  AddInteger(std::move(key), range, [value](int64_t number) { *value = static_cast<int>(number); });
}

void YamlSchema::AddInteger(std::string key, Range range, std::function<void(int64_t)> assign) {
  auto read = [key, range, assign = std::move(assign)](const YAML::Node& node, const Source& source) {
    int64_t number = 0;
    const bool good = IsPlain(node) && absl::SimpleAtoi(node.Scalar(), &number);
    if (!good || number < range.low || number > range.high) {
      return source.Want(node, key, absl::StrCat("an integer from ", range.low, " to ", range.high));
    }
    assign(number);
    return absl::OkStatus();
  };
  keys_.push_back({std::move(key), false, std::move(read)});
}

void YamlSchema::Add(std::string key, absl::Duration* value) {
  auto read = [key, value](const YAML::Node& node, const Source& source) {
    absl::Duration duration;
    const bool good = node.IsScalar() && absl::ParseDuration(node.Scalar(), &duration);
    if (!good || duration < absl::ZeroDuration()) return source.Want(node, key, "a duration such as 30s or 1m30s");
    *value = duration;
    return absl::OkStatus();
  };
  keys_.push_back({std::move(key), false, std::move(read)});
}

void YamlSchema::AddItems(std::string key, std::function<void()> clear, std::function<void(YamlSchema&)> next) {
  auto read = [key, clear = std::move(clear), next = std::move(next)](const YAML::Node& node, const Source& source) {
    if (!node.IsSequence()) return source.Want(node, key, "a list");
    clear();
    return ReadItems(node, key, source, next);
  };
  keys_.push_back({std::move(key), false, std::move(read)});
}

absl::Status YamlSchema::ReadItems(const YAML::Node& list, const std::string& name, const Source& source,
                                   const std::function<void(YamlSchema&)>& next) {
  for (size_t i = 0; i < list.size(); ++i) {
    const std::string item = absl::StrCat(name, "[", i, "]");
    if (!list[i].IsMap()) return source.Want(list[i], item, "a map");
    YamlSchema schema;
    next(schema);
    RETURN_IF_ERROR(schema.ReadMap(list[i], "", source));
    for (const Key& key : schema.keys_) {
      if (!schema.given_.contains(key.name))
        return source.Error(list[i], absl::StrCat(item, " lacks '", key.name, "'"));
    }
  }
  return absl::OkStatus();
}

absl::Status YamlSchema::Load(const std::string& file, const std::string& text) {
  ASSIGN_OR_RETURN(const YAML::Node document, Parse(file, text));
  const Source source{file};
  if (document.IsNull()) return absl::OkStatus();
  if (!document.IsMap()) return source.Want(document, "the file", "a map of keys");
  return ReadMap(document, "", source);
}

absl::Status YamlSchema::ReadMap(const YAML::Node& map, const std::string& prefix, const Source& source) {
  std::map<std::string, int> lines;
  for (const auto& entry : map) {
    if (!entry.first.IsScalar()) return source.Error(entry.first, absl::StrCat("a key is ", Describe(entry.first)));
    const std::string name = prefix + entry.first.Scalar();
    const auto [first, is_new] = lines.emplace(name, entry.first.Mark().line + 1);
    if (!is_new) return source.Error(entry.first, absl::StrCat(name, " is given twice, first in line ", first->second));
    if (const Key* key = Find(name)) {
      // An empty value has no position of its own.
      if (entry.second.IsNull()) return source.Error(entry.first, absl::StrCat(name, " is empty, want a value"));
      RETURN_IF_ERROR(key->read(entry.second, source));
      given_.insert(name);
    } else if (IsSection(name)) {
      if (entry.second.IsNull()) continue;  // all of its keys commented out
      if (!entry.second.IsMap()) return source.Want(entry.second, name, "a map of keys");
      RETURN_IF_ERROR(ReadMap(entry.second, name + ".", source));
    } else {
      return source.Error(entry.first, UnknownKey(name, prefix));
    }
  }
  return absl::OkStatus();
}

absl::Status YamlSchema::Override(std::string_view assignment) {
  const size_t equals = assignment.find('=');
  const Source source{absl::StrCat("--set ", std::string(assignment.substr(0, 200))), false};
  if (equals == std::string_view::npos || equals == 0) return source.Error({}, "want key=value");
  const std::string name(assignment.substr(0, equals)), value(assignment.substr(equals + 1));
  const Key* key = Find(name);
  if (key == nullptr) {
    if (IsSection(name)) return source.Error({}, absl::StrCat(name, " is a section, want a key such as ", name, ".*"));
    const size_t dot = name.rfind('.');
    const std::string prefix = dot == std::string::npos ? "" : name.substr(0, dot + 1);
    return source.Error({}, UnknownKey(name, prefix));
  }
  YAML::Node node(value);
  if (!key->is_text) {
    ASSIGN_OR_RETURN(const YAML::Node parsed, Parse(source.name, value));
    if (parsed.IsNull()) return source.Error({}, absl::StrCat(name, " is empty, want a value"));
    node.reset(parsed);
  }
  RETURN_IF_ERROR(key->read(node, source));
  given_.insert(name);
  return absl::OkStatus();
}

std::string YamlSchema::UnknownKey(const std::string& name, const std::string& prefix) const {
  // What could stand here, then the same last word elsewhere.
  std::set<std::string> here;
  std::vector<std::string> elsewhere;
  for (const Key& key : keys_) {
    if (key.name.starts_with(prefix)) here.insert(key.name.substr(0, key.name.find('.', prefix.size())));
    if (LastPart(key.name) == LastPart(name)) elsewhere.push_back(key.name);
  }
  const std::vector<std::string> siblings(here.begin(), here.end());
  std::string hint = SuggestNames(name, siblings);
  if (siblings.empty()) hint = SuggestNames(name, keys());
  if (NearestNames(name, siblings).empty() && !elsewhere.empty()) hint = SuggestNames(elsewhere[0], elsewhere);
  return absl::StrCat("unknown key '", name.substr(0, 80), "'", hint);
}

const YamlSchema::Key* YamlSchema::Find(std::string_view name) const {
  const auto found = std::find_if(keys_.begin(), keys_.end(), [&](const Key& key) { return key.name == name; });
  return found == keys_.end() ? nullptr : &*found;
}

bool YamlSchema::IsSection(std::string_view name) const {
  const std::string prefix = absl::StrCat(std::string(name), ".");
  return std::any_of(keys_.begin(), keys_.end(), [&](const Key& key) { return key.name.starts_with(prefix); });
}

std::vector<std::string> YamlSchema::keys() const {
  std::vector<std::string> names;
  for (const Key& key : keys_) names.push_back(key.name);
  return names;
}

}  // namespace tandem
