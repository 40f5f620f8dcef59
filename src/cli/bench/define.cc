// The command line of tandem bench.
#include <map>
#include <memory>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "cli/bench/commands.h"
#include "cli/command.h"

namespace tandem::bench {
namespace {

constexpr double kLeast = 1e-6, kMost = 1e9;  // seconds and milliseconds that anybody waits

void AddMs(CLI::App* app, const std::string& flag, std::optional<absl::Duration>& limit, const std::string& help) {
  app->add_option_function<double>(
         flag, [&limit](const double& ms) { limit = absl::Milliseconds(ms); }, help)
      ->type_name("MS")
      ->check(CLI::Range(kLeast, kMost));
}

void AddLoadOptions(CLI::App* app, ServeOptions& options) {
  CLI::Option* const concurrency =
      app->add_option("--concurrency", options.load.concurrency, "Requests under way at any time")
          ->check(CLI::Range(1, 100'000))
          ->capture_default_str();
  CLI::Option* const rate = app->add_option_function<double>(
                                   "--rate",
                                   [&options](const double& rate) {
                                     options.load.rate = rate;
                                     options.load.arrival = Arrival::kOpen;
                                   },
                                   "Requests a second that arrive on their own, instead of --concurrency")
                                ->check(CLI::Range(1e-3, 1e6))
                                ->excludes(concurrency);
  app->add_option("--cv", options.load.cv,
                  "With --rate: variation of the gaps; 1: Poisson, more: bursts (gamma), 0: even")
      ->check(CLI::Range(0.0, 100.0))
      ->capture_default_str()
      ->needs(rate);
  app->add_option("--requests", options.num_requests, "How many at most")
      ->check(CLI::Range(1, 10'000'000))
      ->capture_default_str();
  app->add_option_function<double>(
         "--duration", [&options](const double& s) { options.load.send_for = absl::Seconds(s); },
         "Stop sending after so long")
      ->type_name("SECONDS")
      ->check(CLI::Range(kLeast, kMost));
  app->add_option_function<double>(
         "--timeout", [&options](const double& s) { options.load.request_timeout = absl::Seconds(s); },
         "Each request's deadline; default 300")
      ->type_name("SECONDS")
      ->check(CLI::Range(kLeast, kMost));
  app->add_option("--connections", options.load.connections, "TCP connections that the requests share")
      ->check(CLI::Range(1, 1024))
      ->capture_default_str();
  app->add_option("--seed", options.load.seed, "Of arrivals, lengths and prompts")->capture_default_str();
}

void DefineServe(CLI::App& bench, Command& command) {
  CLI::App* const serve = bench.add_subcommand("serve", "Load on a running daemon, and how it bears it")->fallthrough();
  const auto options = std::make_shared<ServeOptions>();
  AddLoadOptions(serve, *options);
  serve
      ->add_option("--prompt-tokens", options->prompt_tokens,
                   "Of random tokens: 128, uniform:16-256, normal:128,32, lognormal:128,0.8")
      ->capture_default_str();
  serve->add_option("--output-tokens", options->output_tokens, "Tokens to generate, as --prompt-tokens")
      ->capture_default_str();
  serve->add_option("--shared-prefix", options->shared_prefix, "Tokens that all prompts begin with, beside their own")
      ->check(CLI::Range(0, 1 << 20));
  serve->add_option("--file", options->file, R"(JSONL of {"prompt"} or {"messages"}, with "max_tokens", instead)")
      ->type_name("FILE");
  serve
      ->add_option(
          "--trace", options->trace,
          "Arrivals and lengths instead: CSV of arrival_seconds,prompt_tokens,output_tokens[,adapter], or JSONL")
      ->type_name("FILE");
  serve->add_option("--requests-out", options->requests_out, "Write a JSON line for each request")->type_name("FILE");
  serve
      ->add_option_function<double>(
          "--warm-up", [options](const double& s) { options->warm_up = absl::Seconds(s); },
          "Requests of so long at the beginning do not count")
      ->type_name("SECONDS")
      ->check(CLI::Range(kLeast, kMost));
  serve->add_option("--adapter", options->adapter, "A loaded adapter's name; none: the base model");
  serve->add_option("--temperature", options->temperature, "0: greedy")->capture_default_str();
  AddMs(serve, "--slo-ttft", options->slo.ttft, "Goodput: time to the first token at most");
  AddMs(serve, "--slo-tpot", options->slo.tpot, "Goodput: mean time of a token after it at most");
  serve->callback(
      [&command, options] { command = [options](const Session& session) { return RunServe(session, *options); }; });
}

// Programs of their own, which RunBeside has started where nothing stands before "bench". Here for the help's sake.
void DefineBeside(CLI::App& bench, Command& command) {
  const auto define = [&](const std::string& name, const std::string& help) {
    CLI::App* const sub = bench.add_subcommand(name, help)->allow_extras()->fallthrough(false);
    sub->callback([&command, name] {
      command = [name](const Session&) {
        return absl::InvalidArgumentError(
            absl::StrCat("options stand before 'bench', want them behind it: tandem bench ", name, " [OPTIONS]"));
      };
    });
  };
  define("simulate", "Replay a trace under every policy on a cost model");
  define("coserve", "Co-serving against its baselines, daemons and load included");
}

}  // namespace

void DefineBench(CLI::App& app, Command& command) {
  CLI::App* const bench = app.add_subcommand("bench", "Measure a daemon, or the scheduler alone")->fallthrough();
  bench->require_subcommand(1);
  DefineServe(*bench, command);
  DefineBeside(*bench, command);
}

}  // namespace tandem::bench
