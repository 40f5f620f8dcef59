// The daemon's configuration: one YAML file, every key documented in configs/reference.yaml with the default that
// stands here. Paths are relative to the working directory.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "serve/core/access.h"

namespace tandem {

class YamlSchema;

struct Config {
  struct Model {
    std::string path;  // a Hugging Face directory; "": none is loaded at the start
  };
  struct Server {
    std::string address = "127.0.0.1";
    int port = 50151;                    // 0: any free one
    int max_message_bytes = 64 << 20;    // of one request
    int threads = 2;                     // that tokenize prompts and answer calls
    bool allow_unauthenticated = false;  // on an address that others reach, without asking them who they are
  };
  struct Tls {  // PEM files; "": none
    std::string certificate, key;
    std::string client_ca;  // callers must show a certificate that it has signed
  };
  struct Auth {
    std::vector<ApiKey> api_keys;
    std::string api_keys_file;  // "NAME KEY" lines, beside those above
  };
  struct Engine {
    int threads = 0;  // of the step loop's arithmetic; 0: all cores
    int max_batch_rows = 512;
    int max_running_requests = 64;
    int max_waiting_requests = 1024;
    int max_context = 0;  // tokens; 0: the model's
  };
  struct Tenant {
    std::string name;
    int weight = 1;
    bool operator==(const Tenant&) const = default;
  };
  struct Kv {
    int block_size = 16;          // tokens
    int capacity_tokens = 16384;  // a multiple of block_size
    bool prefix_cache = true;
  };
  struct Scheduler {
    int training_rows_beside_inference = 64;
    int max_prefill_rows = 64;
    std::vector<Tenant> tenants;
    std::string policy = "coserving";
    int temporal_every = 4;
    int static_training_percent = 50;
    int training_floor_rows = 0;
    absl::Duration profile_limit = absl::Seconds(10);
  };
  struct SloClass {
    int priority = 0;  // of the requests that it is for
    absl::Duration ttft = absl::ZeroDuration(), tpot = absl::ZeroDuration();
    bool operator==(const SloClass&) const = default;
  };
  struct PromptLookup {
    int max_tokens = 0;  // guessed ahead at once; 0: off
    int min_ngram = 2, max_ngram = 4;
  };
  struct Speculation {
    PromptLookup prompt_lookup;
  };
  struct Slo {
    absl::Duration ttft = absl::ZeroDuration();  // 0: none
    absl::Duration tpot = absl::ZeroDuration();
    absl::Duration max_iteration = absl::Milliseconds(250);
    std::string unmeetable = "serve";  // or "refuse"
    std::vector<SloClass> classes;
  };
  struct Training {
    int max_running_jobs = 2;
    int max_queued_jobs = 64;
    int forward_window = 128;   // rows
    int backward_window = 128;  // rows
  };
  struct AdapterFile {
    std::string name;
    std::string path;  // a PEFT directory
    bool operator==(const AdapterFile&) const = default;
  };
  struct Adapters {
    std::string directory;  // of published adapters; "" in the file: <state_dir>/adapters, and LoadConfig fills it in
    std::vector<AdapterFile> load;
  };
  struct Log {
    std::string level = "info";
  };
  struct Shutdown {
    absl::Duration grace = absl::Seconds(30);
  };
  struct Supervisor {
    std::string restart = "auto";  // or "always", "never"
    absl::Duration max_delay = absl::Minutes(1);
  };

  Model model;
  std::string backend = "auto";  // or "cpu", "cuda"
  bool deterministic = false;    // on CUDA: a row's result does not depend on its batch
  Server server;
  Tls tls;
  Auth auth;
  Engine engine;
  Kv kv;
  Scheduler scheduler;
  Speculation speculation;
  Slo slo;
  Training training;
  Adapters adapters;
  std::string state_dir = "state";
  Log log;
  Shutdown shutdown;
  Supervisor supervisor;
};

// Every key of the file, bound to its place in `config`, which is borrowed.
void DescribeConfig(Config& config, YamlSchema& schema);

// Reads `path`, applies `overrides` ("a.b=c") in order and checks the whole. Errors name file and line, or the
// override.
absl::StatusOr<Config> LoadConfig(const std::string& path, const std::vector<std::string>& overrides);

}  // namespace tandem
