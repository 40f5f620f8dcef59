// The committed configurations against the schema, and what no single key can tell.
#include "daemon/config.h"

#include "base/file.h"
#include "base/yaml_schema.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace tandem {
namespace {

using ::testing::HasSubstr;

const std::string kConfigs = std::string(TANDEM_SOURCE_DIR) + "/configs";

std::string WriteConfig(const std::string& text) {
  const std::string path = testing::TempDir() + "/tandem.yaml";
  EXPECT_TRUE(WriteFileAtomically(path, text).ok());
  return path;
}

std::string Error(const std::string& text, const std::vector<std::string>& overrides = {}) {
  const absl::StatusOr<Config> config = LoadConfig(WriteConfig(text), overrides);
  EXPECT_FALSE(config.ok());
  return std::string(config.status().message());
}

TEST(ReferenceTest, NamesEveryKey) {
  Config config;
  YamlSchema schema;
  DescribeConfig(config, schema);
  const absl::StatusOr<std::string> text = ReadFile(kConfigs + "/reference.yaml");
  ASSERT_TRUE(text.ok()) << text.status();
  ASSERT_TRUE(schema.Load("reference.yaml", *text).ok()) << schema.Load("reference.yaml", *text);
  for (const std::string& key : schema.keys()) EXPECT_TRUE(schema.given().contains(key)) << key << " is not documented";
}

TEST(ReferenceTest, HoldsTheDefaults) {
  const absl::StatusOr<Config> reference = LoadConfig(kConfigs + "/reference.yaml", {});
  const absl::StatusOr<Config> defaults = LoadConfig(WriteConfig("model: {path: models/demo}"), {});
  ASSERT_TRUE(reference.ok()) << reference.status();
  ASSERT_TRUE(defaults.ok()) << defaults.status();
  EXPECT_EQ(reference->model.path, defaults->model.path);
  EXPECT_EQ(reference->backend, defaults->backend);
  EXPECT_EQ(reference->deterministic, defaults->deterministic);
  EXPECT_EQ(reference->server.address, defaults->server.address);
  EXPECT_EQ(reference->server.port, defaults->server.port);
  EXPECT_EQ(reference->server.max_message_bytes, defaults->server.max_message_bytes);
  EXPECT_EQ(reference->server.threads, defaults->server.threads);
  EXPECT_EQ(reference->server.allow_unauthenticated, defaults->server.allow_unauthenticated);
  EXPECT_EQ(reference->tls.certificate, defaults->tls.certificate);
  EXPECT_EQ(reference->tls.key, defaults->tls.key);
  EXPECT_EQ(reference->tls.client_ca, defaults->tls.client_ca);
  EXPECT_EQ(reference->auth.api_keys, defaults->auth.api_keys);
  EXPECT_EQ(reference->auth.api_keys_file, defaults->auth.api_keys_file);
  EXPECT_EQ(reference->engine.threads, defaults->engine.threads);
  EXPECT_EQ(reference->engine.max_batch_rows, defaults->engine.max_batch_rows);
  EXPECT_EQ(reference->engine.max_running_requests, defaults->engine.max_running_requests);
  EXPECT_EQ(reference->engine.max_waiting_requests, defaults->engine.max_waiting_requests);
  EXPECT_EQ(reference->engine.max_context, defaults->engine.max_context);
  EXPECT_EQ(reference->kv.block_size, defaults->kv.block_size);
  EXPECT_EQ(reference->kv.capacity_tokens, defaults->kv.capacity_tokens);
  EXPECT_EQ(reference->kv.prefix_cache, defaults->kv.prefix_cache);
  EXPECT_EQ(reference->scheduler.training_rows_beside_inference, defaults->scheduler.training_rows_beside_inference);
  EXPECT_EQ(reference->scheduler.max_prefill_rows, defaults->scheduler.max_prefill_rows);
  EXPECT_EQ(reference->scheduler.tenants, defaults->scheduler.tenants);
  EXPECT_EQ(reference->scheduler.policy, defaults->scheduler.policy);
  EXPECT_EQ(reference->scheduler.temporal_every, defaults->scheduler.temporal_every);
  EXPECT_EQ(reference->scheduler.static_training_percent, defaults->scheduler.static_training_percent);
  EXPECT_EQ(reference->scheduler.training_floor_rows, defaults->scheduler.training_floor_rows);
  EXPECT_EQ(reference->scheduler.profile_limit, defaults->scheduler.profile_limit);
  EXPECT_EQ(reference->speculation.prompt_lookup.max_tokens, defaults->speculation.prompt_lookup.max_tokens);
  EXPECT_EQ(reference->speculation.prompt_lookup.min_ngram, defaults->speculation.prompt_lookup.min_ngram);
  EXPECT_EQ(reference->speculation.prompt_lookup.max_ngram, defaults->speculation.prompt_lookup.max_ngram);
  EXPECT_EQ(reference->slo.ttft, defaults->slo.ttft);
  EXPECT_EQ(reference->slo.tpot, defaults->slo.tpot);
  EXPECT_EQ(reference->slo.max_iteration, defaults->slo.max_iteration);
  EXPECT_EQ(reference->slo.unmeetable, defaults->slo.unmeetable);
  EXPECT_EQ(reference->slo.classes, defaults->slo.classes);
  EXPECT_EQ(reference->training.max_running_jobs, defaults->training.max_running_jobs);
  EXPECT_EQ(reference->training.max_queued_jobs, defaults->training.max_queued_jobs);
  EXPECT_EQ(reference->training.forward_window, defaults->training.forward_window);
  EXPECT_EQ(reference->training.backward_window, defaults->training.backward_window);
  EXPECT_EQ(reference->adapters.directory, defaults->adapters.directory);
  EXPECT_EQ(reference->adapters.load, defaults->adapters.load);
  EXPECT_EQ(reference->state_dir, defaults->state_dir);
  EXPECT_EQ(reference->log.level, defaults->log.level);
  EXPECT_EQ(reference->shutdown.grace, defaults->shutdown.grace);
  EXPECT_EQ(reference->supervisor.restart, defaults->supervisor.restart);
  EXPECT_EQ(reference->supervisor.max_delay, defaults->supervisor.max_delay);
}

TEST(QuickstartTest, Loads) {
  const absl::StatusOr<Config> config = LoadConfig(kConfigs + "/quickstart.yaml", {});
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->model.path, "models/demo");
  EXPECT_EQ(config->server.address, "127.0.0.1");
}

TEST(ConfigTest, AdaptersLieUnderTheStateDirectoryUnlessTold) {
  EXPECT_EQ(LoadConfig(WriteConfig("{model: {path: m}, state_dir: /s}"), {})->adapters.directory, "/s/adapters");
  EXPECT_EQ(LoadConfig(WriteConfig("{model: {path: m}, adapters: {directory: /a}}"), {})->adapters.directory, "/a");
}

TEST(ConfigTest, OverridesComeAfterTheFile) {
  const auto config =
      LoadConfig(WriteConfig("{model: {path: m}, server: {port: 1}}"), {"server.port=2", "server.port=3"});
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->server.port, 3);
}

TEST(ConfigTest, RefusesWhatDoesNotFitTogether) {
  EXPECT_THAT(Error("{model: {path: m}, kv: {capacity_tokens: 100}}"),
              HasSubstr("kv.capacity_tokens is 100, want a multiple of kv.block_size, 16"));
  EXPECT_THAT(Error("{model: {path: m}, adapters: {load: [{name: a/b, path: p}]}}"),
              HasSubstr("adapters.load[0].name is 'a/b'"));
  EXPECT_THAT(Error("{model: {path: m}, adapters: {load: [{name: a, path: p}, {name: a, path: q}]}}"),
              HasSubstr("adapters.load has 'a' twice"));
  EXPECT_THAT(Error("{model: {path: m}, speculation: {prompt_lookup: {min_ngram: 5, max_ngram: 3}}}"),
              HasSubstr("speculation.prompt_lookup.min_ngram is 5, want at most max_ngram, 3"));
}

TEST(ConfigTest, AnOpenAddressWantsCallersToShowWhoTheyAre) {
  const std::string open = "model: {path: m}\nserver: {address: 0.0.0.0}\n";
  EXPECT_THAT(
      std::string(LoadConfig(WriteConfig(open), {}).status().message()),
      HasSubstr("server.address is 0.0.0.0, where anyone who reaches it could use the daemon: want auth.api_keys"));
  const std::string key = "auth: {api_keys: [{name: alice, key: alice-0123456789abcdef}]}\n";
  EXPECT_TRUE(LoadConfig(WriteConfig(open + key), {}).ok());
  EXPECT_TRUE(LoadConfig(WriteConfig(open), {"server.allow_unauthenticated=true"}).ok());
  EXPECT_FALSE(LoadConfig(WriteConfig(open + "tls: {certificate: c, key: k}\n"), {}).ok()) << "TLS asks nobody";
  EXPECT_TRUE(LoadConfig(WriteConfig(open + "tls: {certificate: c, key: k, client_ca: a}\n"), {}).ok());
}

TEST(ConfigTest, HalfATlsIsRefused) {
  EXPECT_FALSE(LoadConfig(WriteConfig("{model: {path: m}, tls: {certificate: c}}"), {}).ok());
  EXPECT_FALSE(LoadConfig(WriteConfig("{model: {path: m}, tls: {client_ca: c}}"), {}).ok());
}

TEST(ConfigTest, RefusesAFileThatIsNotThere) {
  EXPECT_THAT(std::string(LoadConfig("/no/such.yaml", {}).status().message()),
              HasSubstr("/no/such.yaml: cannot open: No such file or directory"));
}

}  // namespace
}  // namespace tandem
