#include "daemon/config.h"

#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "base/status.h"
#include "base/yaml_schema.h"
#include "inference/prompt_lookup.h"
#include "serve/core/validate.h"

namespace tandem {
namespace {

constexpr size_t kMaxConfigBytes = size_t{1} << 20;

void DescribeAdapterFile(Config::AdapterFile& file, YamlSchema& schema) {
  schema.Add("name", &file.name);
  schema.Add("path", &file.path);
}

void DescribeTenant(Config::Tenant& tenant, YamlSchema& schema) {
  schema.Add("name", &tenant.name);
  schema.Add("weight", &tenant.weight, {1, 1000});
}

absl::Status CheckTenants(const std::vector<Config::Tenant>& tenants) {
  for (size_t i = 0; i < tenants.size(); ++i) {
    for (size_t j = 0; j < i; ++j) {
      if (tenants[j].name != tenants[i].name) continue;
      return absl::InvalidArgumentError(absl::StrCat("scheduler.tenants has '", tenants[i].name, "' twice"));
    }
  }
  return absl::OkStatus();
}

void DescribeSloClass(Config::SloClass& item, YamlSchema& schema) {
  schema.Add("priority", &item.priority, {-1000, 1000});
  schema.Add("ttft", &item.ttft);
  schema.Add("tpot", &item.tpot);
}

absl::Status CheckSlo(const Config::Slo& slo) {
  if (slo.max_iteration < absl::Milliseconds(1)) {
    return absl::InvalidArgumentError(
        absl::StrCat("slo.max_iteration is ", absl::FormatDuration(slo.max_iteration), ", want at least 1ms"));
  }
  for (size_t i = 0; i < slo.classes.size(); ++i) {
    for (size_t j = 0; j < i; ++j) {
      if (slo.classes[j].priority != slo.classes[i].priority) continue;
      return absl::InvalidArgumentError(absl::StrCat("slo.classes has priority ", slo.classes[i].priority, " twice"));
    }
  }
  return absl::OkStatus();
}

void DescribeApiKey(ApiKey& key, YamlSchema& schema) {
  schema.Add("name", &key.name);
  schema.Add("key", &key.key);
}

bool IsLoopback(const std::string& address) {
  return address.starts_with("127.") || address == "localhost" || address == "::1" || address == "[::1]";
}

// Who is not asked who they are gets no further than this machine.
absl::Status CheckAccess(const Config& config) {
  const Config::Tls& tls = config.tls;
  if (tls.certificate.empty() != tls.key.empty()) {
    return absl::InvalidArgumentError("tls.certificate and tls.key go together, want both or neither");
  }
  if (!tls.client_ca.empty() && tls.certificate.empty()) {
    return absl::InvalidArgumentError("tls.client_ca is set, want tls.certificate and tls.key too");
  }
  RETURN_IF_ERROR(CheckApiKeys("auth.api_keys", config.auth.api_keys));
  const bool authenticated =
      !config.auth.api_keys.empty() || !config.auth.api_keys_file.empty() || !tls.client_ca.empty();
  if (authenticated || config.server.allow_unauthenticated || IsLoopback(config.server.address)) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(
      absl::StrCat("server.address is ", config.server.address,
                   ", where anyone who reaches it could use the daemon: want auth.api_keys, auth.api_keys_file or "
                   "tls.client_ca, or 127.0.0.1, or server.allow_unauthenticated: true"));
}

// What no single key can tell.
absl::Status CheckConfig(const Config& config) {
  if (config.server.address.empty()) return absl::InvalidArgumentError("server.address is empty, want an address");
  RETURN_IF_ERROR(CheckAccess(config));
  if (config.state_dir.empty()) return absl::InvalidArgumentError("state_dir is empty, want a directory");
  if (config.kv.capacity_tokens % config.kv.block_size != 0) {
    return absl::InvalidArgumentError(absl::StrCat("kv.capacity_tokens is ", config.kv.capacity_tokens,
                                                   ", want a multiple of kv.block_size, ", config.kv.block_size));
  }
  RETURN_IF_ERROR(CheckTenants(config.scheduler.tenants));
  const Config::PromptLookup& prompt_lookup = config.speculation.prompt_lookup;
  if (prompt_lookup.min_ngram > prompt_lookup.max_ngram) {
    return absl::InvalidArgumentError(absl::StrCat("speculation.prompt_lookup.min_ngram is ", prompt_lookup.min_ngram,
                                                   ", want at most max_ngram, ", prompt_lookup.max_ngram));
  }
  RETURN_IF_ERROR(CheckSlo(config.slo));
  for (size_t i = 0; i < config.adapters.load.size(); ++i) {
    const Config::AdapterFile& file = config.adapters.load[i];
    RETURN_IF_ERROR(CheckAdapterName(absl::StrCat("adapters.load[", i, "].name"), file.name));
    for (size_t j = 0; j < i; ++j) {
      if (config.adapters.load[j].name != file.name) continue;
      return absl::InvalidArgumentError(absl::StrCat("adapters.load has '", file.name, "' twice"));
    }
  }
  return absl::OkStatus();
}

}  // namespace

void DescribeConfig(Config& config, YamlSchema& schema) {
  constexpr YamlSchema::Range kCount{1, 1 << 20};
  constexpr YamlSchema::Range kThreads{1, 1024};
  schema.Add("model.path", &config.model.path);
  schema.Add("backend", &config.backend, {"auto", "cpu", "cuda"});
  schema.Add("deterministic", &config.deterministic);
  schema.Add("server.address", &config.server.address);
  schema.Add("server.port", &config.server.port, {0, 65535});
  schema.Add("server.max_message_bytes", &config.server.max_message_bytes, {1 << 10, std::numeric_limits<int>::max()});
  schema.Add("server.threads", &config.server.threads, kThreads);
  schema.Add("server.allow_unauthenticated", &config.server.allow_unauthenticated);
  schema.Add("tls.certificate", &config.tls.certificate);
  schema.Add("tls.key", &config.tls.key);
  schema.Add("tls.client_ca", &config.tls.client_ca);
  schema.AddList("auth.api_keys", &config.auth.api_keys, DescribeApiKey);
  schema.Add("auth.api_keys_file", &config.auth.api_keys_file);
  schema.Add("engine.threads", &config.engine.threads, {0, kThreads.high});
  schema.Add("engine.max_batch_rows", &config.engine.max_batch_rows, kCount);
  schema.Add("engine.max_running_requests", &config.engine.max_running_requests, kCount);
  schema.Add("engine.max_waiting_requests", &config.engine.max_waiting_requests, kCount);
  schema.Add("engine.max_context", &config.engine.max_context, {0, 1 << 24});
  schema.Add("kv.block_size", &config.kv.block_size, {1, 1024});
  schema.Add("kv.capacity_tokens", &config.kv.capacity_tokens, {1, 1 << 30});
  schema.Add("kv.prefix_cache", &config.kv.prefix_cache);
  schema.Add("scheduler.training_rows_beside_inference", &config.scheduler.training_rows_beside_inference,
             {0, kCount.high});
  schema.Add("scheduler.max_prefill_rows", &config.scheduler.max_prefill_rows, kCount);
  schema.AddList("scheduler.tenants", &config.scheduler.tenants, DescribeTenant);
  schema.Add("scheduler.policy", &config.scheduler.policy,
             {"coserving", "inference_only", "training_only", "temporal", "dynamic_temporal", "static_split"});
  schema.Add("scheduler.temporal_every", &config.scheduler.temporal_every, kCount);
  schema.Add("scheduler.static_training_percent", &config.scheduler.static_training_percent, {0, 100});
  schema.Add("scheduler.training_floor_rows", &config.scheduler.training_floor_rows, {0, kCount.high});
  schema.Add("scheduler.profile_limit", &config.scheduler.profile_limit);
  Config::PromptLookup& prompt_lookup = config.speculation.prompt_lookup;
  schema.Add("speculation.prompt_lookup.max_tokens", &prompt_lookup.max_tokens, {0, kMaxDrafts});
  schema.Add("speculation.prompt_lookup.min_ngram", &prompt_lookup.min_ngram, {1, kMaxNgram});
  schema.Add("speculation.prompt_lookup.max_ngram", &prompt_lookup.max_ngram, {1, kMaxNgram});
  schema.Add("slo.ttft", &config.slo.ttft);
  schema.Add("slo.tpot", &config.slo.tpot);
  schema.Add("slo.max_iteration", &config.slo.max_iteration);
  schema.Add("slo.unmeetable", &config.slo.unmeetable, {"serve", "refuse"});
  schema.AddList("slo.classes", &config.slo.classes, DescribeSloClass);
  schema.Add("training.max_running_jobs", &config.training.max_running_jobs, kCount);
  schema.Add("training.max_queued_jobs", &config.training.max_queued_jobs, kCount);
  schema.Add("training.forward_window", &config.training.forward_window, kCount);
  schema.Add("training.backward_window", &config.training.backward_window, kCount);
  schema.Add("adapters.directory", &config.adapters.directory);
  schema.AddList("adapters.load", &config.adapters.load, DescribeAdapterFile);
  schema.Add("state_dir", &config.state_dir);
  schema.Add("log.level", &config.log.level, {"trace", "debug", "info", "warn", "error", "off"});
  schema.Add("shutdown.grace", &config.shutdown.grace);
  schema.Add("supervisor.restart", &config.supervisor.restart, {"auto", "always", "never"});
  schema.Add("supervisor.max_delay", &config.supervisor.max_delay);
}

absl::StatusOr<Config> LoadConfig(const std::string& path, const std::vector<std::string>& overrides) {
  ASSIGN_OR_RETURN(const std::string text, ReadFile(path, kMaxConfigBytes));
  Config config;
  YamlSchema schema;
  DescribeConfig(config, schema);
  RETURN_IF_ERROR(schema.Load(path, text));
  for (const std::string& assignment : overrides) RETURN_IF_ERROR(schema.Override(assignment));
  if (config.adapters.directory.empty()) config.adapters.directory = absl::StrCat(config.state_dir, "/adapters");
  RETURN_IF_ERROR(Annotate(CheckConfig(config), path));
  return config;
}

}  // namespace tandem
