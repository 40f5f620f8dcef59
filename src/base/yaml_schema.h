// Strict YAML configuration: a list of keys, each with its type and its place in a struct. Whatever the file holds
// beside them is refused with file, line and the nearest valid name.
//
//   YamlSchema schema;
//   schema.Add("server.port", &config.server.port, {0, 65535});
//   RETURN_IF_ERROR(schema.Load("tandem.yaml", text));
//   RETURN_IF_ERROR(schema.Override("server.port=8080"));
#pragma once

#include <cstdint>
#include <functional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"

namespace YAML {
class Node;
}

namespace tandem {

class YamlSchema {
 public:
  struct Range {
    int64_t low = 0, high = 0;  // both included
  };

  // Keys are dotted paths; values are borrowed and keep what they hold (the default) where the file says nothing.
  void Add(std::string key, std::string* value);
  void Add(std::string key, std::string* value, std::vector<std::string> choices);
  void Add(std::string key, bool* value);
  void Add(std::string key, int* value, Range range);
  void Add(std::string key, int64_t* value, Range range);
  void Add(std::string key, absl::Duration* value);  // "30s", "1m30s"; >= 0

  // A list of maps: `describe(item, schema)` adds an item's keys; each of them is required.
  template <typename T>
  void AddList(std::string key, std::vector<T>* list, void (*describe)(T& item, YamlSchema& schema)) {
    AddItems(
        std::move(key), [list] { list->clear(); },
        [list, describe](YamlSchema& schema) { describe(list->emplace_back(), schema); });
  }

  // Reads one YAML document. INVALID_ARGUMENT: "tandem.yaml:12: server.port is 'http', want an integer from 0 to
  // 65535".
  absl::Status Load(const std::string& file, const std::string& text);

  // "server.port=8080": the value is YAML, but for strings, which are taken as they are.
  absl::Status Override(std::string_view assignment);

  std::vector<std::string> keys() const;                         // in the order they were added
  const std::set<std::string>& given() const { return given_; }  // by any Load or Override so far

 private:
  struct Source;  // a file or a --set: for messages
  struct Key {
    std::string name;
    bool is_text = false;  // a string: an override's value is not parsed
    std::function<absl::Status(const YAML::Node&, const Source&)> read;
  };

  void AddInteger(std::string key, Range range, std::function<void(int64_t)> assign);
  void AddItems(std::string key, std::function<void()> clear, std::function<void(YamlSchema&)> next);
  absl::Status ReadMap(const YAML::Node& map, const std::string& prefix, const Source& source);
  static absl::Status ReadItems(const YAML::Node& list, const std::string& name, const Source& source,
                                const std::function<void(YamlSchema&)>& next);
  std::string UnknownKey(const std::string& name, const std::string& prefix) const;  // the message
  const Key* Find(std::string_view name) const;
  bool IsSection(std::string_view name) const;

  std::vector<Key> keys_;
  std::set<std::string> given_;
};

}  // namespace tandem
