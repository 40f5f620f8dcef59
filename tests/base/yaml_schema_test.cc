#include "base/yaml_schema.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace tandem {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

struct Item {
  std::string name;
  int size = 0;
};

class YamlSchemaTest : public testing::Test {
 protected:
  YamlSchemaTest() {
    schema_.Add("model.path", &path_);
    schema_.Add("server.port", &port_, {0, 65535});
    schema_.Add("server.secure", &secure_);
    schema_.Add("server.grace", &grace_);
    schema_.Add("kv.tokens", &tokens_, {1, int64_t{1} << 40});
    schema_.Add("level", &level_, {"info", "debug"});
    schema_.AddList(
        "items", &items_, +[](Item& item, YamlSchema& schema) {
          schema.Add("name", &item.name);
          schema.Add("size", &item.size, {1, 9});
        });
  }

  std::string Error(const std::string& text) {
    const absl::Status status = schema_.Load("a.yaml", text);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << text;
    return std::string(status.message());
  }
  std::string OverrideError(const std::string& assignment) {
    const absl::Status status = schema_.Override(assignment);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << assignment;
    return std::string(status.message());
  }

  std::string path_ = "default", level_ = "info";
  int port_ = 1;
  bool secure_ = false;
  int64_t tokens_ = 1;
  absl::Duration grace_;
  std::vector<Item> items_;
  YamlSchema schema_;
};

TEST_F(YamlSchemaTest, ReadsEveryType) {
  const absl::Status status = schema_.Load("a.yaml", R"(
model:
  path: some/where
server: {port: 8080, secure: true, grace: 1m30s}
kv:
  tokens: 8000000000
level: debug
items:
  - {name: a, size: 3}
  - name: "b"
    size: 4
)");
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_EQ(path_, "some/where");
  EXPECT_EQ(port_, 8080);
  EXPECT_TRUE(secure_);
  EXPECT_EQ(grace_, absl::Seconds(90));
  EXPECT_EQ(tokens_, 8'000'000'000);
  EXPECT_EQ(level_, "debug");
  ASSERT_EQ(items_.size(), 2u);
  EXPECT_EQ(items_[1].name, "b");
  EXPECT_EQ(items_[1].size, 4);
}

TEST_F(YamlSchemaTest, WhatTheFileLeavesOutKeepsItsDefault) {
  ASSERT_TRUE(schema_.Load("a.yaml", "server:\n  # port: 5\nlevel: debug\n").ok());
  EXPECT_EQ(port_, 1);
  EXPECT_EQ(path_, "default");
  EXPECT_THAT(schema_.given(), ElementsAre("level"));
}

TEST_F(YamlSchemaTest, AnEmptyFileIsGood) {
  EXPECT_TRUE(schema_.Load("a.yaml", "# nothing\n").ok());
}

TEST_F(YamlSchemaTest, UnknownKeysAreRefusedWithLineAndNearestName) {
  EXPECT_EQ(Error("level: info\nserver:\n  prot: 1\n"),
            "a.yaml:3: unknown key 'server.prot'; did you mean 'server.port'?");
  EXPECT_EQ(Error("servr:\n  port: 1\n"), "a.yaml:1: unknown key 'servr'; did you mean 'server'?");
}

TEST_F(YamlSchemaTest, AKeyInTheWrongPlaceIsFoundInTheRightOne) {
  EXPECT_EQ(Error("port: 1\n"), "a.yaml:1: unknown key 'port'; did you mean 'server.port'?");
}

TEST_F(YamlSchemaTest, WrongTypesAreRefusedWithLineGotAndWant) {
  EXPECT_EQ(Error("server:\n  port: http\n"), "a.yaml:2: server.port is 'http', want an integer from 0 to 65535");
  EXPECT_EQ(Error("server: {port: 65536}"), "a.yaml:1: server.port is '65536', want an integer from 0 to 65535");
  EXPECT_EQ(Error("server: {port: \"80\"}"), "a.yaml:1: server.port is '80', want an integer from 0 to 65535");
  EXPECT_EQ(Error("server: {port: 1.5}"), "a.yaml:1: server.port is '1.5', want an integer from 0 to 65535");
  EXPECT_EQ(Error("server: {secure: yes}"), "a.yaml:1: server.secure is 'yes', want true or false");
  EXPECT_EQ(Error("server: {grace: 30}"), "a.yaml:1: server.grace is '30', want a duration such as 30s or 1m30s");
  EXPECT_EQ(Error("server: {grace: -1s}"), "a.yaml:1: server.grace is '-1s', want a duration such as 30s or 1m30s");
  EXPECT_EQ(Error("level: loud"), "a.yaml:1: level is 'loud', want one of info, debug");
  EXPECT_EQ(Error("model:\n  path: [a]\n"), "a.yaml:2: model.path is a list, want a string");
  EXPECT_EQ(Error("model:\n  path:\n"), "a.yaml:2: model.path is empty, want a value");
  EXPECT_EQ(Error("server: 5"), "a.yaml:1: server is '5', want a map of keys");
  EXPECT_EQ(Error("items: x"), "a.yaml:1: items is 'x', want a list");
  EXPECT_EQ(Error("- a\n"), "a.yaml:1: the file is a list, want a map of keys");
}

TEST_F(YamlSchemaTest, ListItemsNeedAllTheirKeysAndNoOthers) {
  EXPECT_EQ(Error("items:\n  - {name: a, size: 1}\n  - {name: b}\n"), "a.yaml:3: items[1] lacks 'size'");
  EXPECT_EQ(Error("items:\n  - {nam: a, size: 1}\n"), "a.yaml:2: unknown key 'nam'; did you mean 'name'?");
  EXPECT_EQ(Error("items: [1]"), "a.yaml:1: items[0] is '1', want a map");
}

TEST_F(YamlSchemaTest, AKeyGivenTwiceIsRefused) {
  EXPECT_EQ(Error("level: info\nlevel: debug\n"), "a.yaml:2: level is given twice, first in line 1");
}

TEST_F(YamlSchemaTest, TextThatIsNotYamlIsRefusedWithItsLine) {
  EXPECT_THAT(Error("level: info\nserver: {port: 1\n"), HasSubstr("a.yaml:3: not YAML: "));
  EXPECT_THAT(Error("level: info\n---\nlevel: info\n"), HasSubstr("a.yaml:2: a second YAML document, want one"));
}

// Found by the fuzzer: yaml-cpp takes it for documents without end.
TEST_F(YamlSchemaTest, ACommaBeforeAKeyIsRefused) {
  EXPECT_THAT(Error("# text\n\n, from the root\nlevel: info\n"), HasSubstr("a.yaml:"));
}

TEST_F(YamlSchemaTest, OverridesReplaceWhatTheFileSays) {
  ASSERT_TRUE(schema_.Load("a.yaml", "server: {port: 1}\nitems: [{name: a, size: 1}]").ok());
  ASSERT_TRUE(schema_.Override("server.port=2").ok());
  ASSERT_TRUE(schema_.Override("model.path=a=b: [c").ok());
  ASSERT_TRUE(schema_.Override("items=[{name: z, size: 9}]").ok());
  EXPECT_EQ(port_, 2);
  EXPECT_EQ(path_, "a=b: [c");
  ASSERT_EQ(items_.size(), 1u);
  EXPECT_EQ(items_[0].name, "z");
}

TEST_F(YamlSchemaTest, BadOverridesAreRefusedByTheirText) {
  EXPECT_EQ(OverrideError("server.port=x"), "--set server.port=x: server.port is 'x', want an integer from 0 to 65535");
  EXPECT_EQ(OverrideError("server.prot=1"),
            "--set server.prot=1: unknown key 'server.prot'; did you mean 'server.port'?");
  EXPECT_EQ(OverrideError("server=1"), "--set server=1: server is a section, want a key such as server.*");
  EXPECT_EQ(OverrideError("server.port"), "--set server.port: want key=value");
  EXPECT_EQ(OverrideError("server.port="), "--set server.port=: server.port is empty, want a value");
}

}  // namespace
}  // namespace tandem
