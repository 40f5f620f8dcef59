// What structured output and prompt lookup cost or bring: tokens per second of the whole engine, without the wire.
//
//   generation_benchmark MODEL [--threads 2] [--rounds 5] [--streams 1,8] [--tokens 96] [--only schema,lookup-greedy]
//
// Each case runs beside its baseline in every round, so that a slow minute of the machine falls on both; figures are
// medians, and a ratio is the median of the rounds' ratios. A case whose tokens have to be its baseline's is checked.
#include <algorithm>
#include <chrono>
#include <functional>
#include <iostream>
#include <memory>
#include <string>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/synchronization/notification.h"
#include "engine/engine.h"
#include "serve/core/generation.h"

namespace tandem::generationbench {
namespace {

// Endless, so that every text takes all of its tokens.
constexpr std::string_view kSchema = R"({"type":"array","minItems":1000,"items":{"type":"object","properties":{
    "name":{"type":"string","maxLength":20},"age":{"type":"integer","minimum":1,"maximum":120},
    "kind":{"enum":["fox","owl","hare"]},"tags":{"type":"array","items":{"type":"string","maxLength":8},"maxItems":4}},
    "required":["name","age","kind","tags"],"additionalProperties":false}})";
constexpr std::string_view kRegex = R"(([A-Z][a-z]{1,9} [0-9]{2,4}(\.[0-9]+)?\n){500})";
constexpr std::string_view kPrompt = "Once upon a time there was a little fox who lived in a forest.";

struct Case {
  std::string name;
  std::function<void(GenerationInput&)> base, change;  // of every request; change comes on top of base
  bool same_tokens = false;                            // with the change as without
};

std::vector<Case> AllCases() {
  const auto sampled = [](GenerationInput& input) { input.temperature = 1.0f; };
  const auto greedy = [](GenerationInput& input) { input.temperature = 0.0f; };
  // Few different tokens at random: what follows a pair of them occurred before, and says nothing.
  const auto few = [](GenerationInput& input) {
    input.temperature = 50.0f;
    for (int id = 10; id < 16; ++id) input.allowed_token_ids.push_back(id);
  };
  // One token again and again: every guess is right.
  const auto one = [](GenerationInput& input) {
    input.temperature = 0.0f;
    input.allowed_token_ids.push_back(10);
  };
  const auto lookup = [](GenerationInput& input) { input.prompt_lookup_tokens = 8; };
  const auto structure = [](StructureKind kind, std::string_view text) {
    return [kind, text](GenerationInput& input) {
      input.ignore_eos = false;
      input.structure = StructureInput{kind, std::string(text)};
    };
  };
  return {{"schema", sampled, structure(StructureKind::kJsonSchema, kSchema)},
          {"regex", sampled, structure(StructureKind::kRegex, kRegex)},
          {"json_object", sampled, structure(StructureKind::kJsonObject, "")},
          {"lookup-greedy", greedy, lookup, true},
          {"lookup-sampled", sampled, lookup, true},
          {"lookup-repeating", one, lookup, true},
          {"lookup-misled", few, lookup, true}};
}

class Sink final : public GenerationSink {
 public:
  void OnUpdate(GenerationUpdate update) override {
    tokens.insert(tokens.end(), update.token_ids.begin(), update.token_ids.end());
  }
  void OnEnd(GenerationEnd last) override {
    end = std::move(last);
    done.Notify();
  }
  std::vector<int32_t> tokens;
  GenerationEnd end;
  absl::Notification done;
};

struct Run {
  double tokens_per_second = 0;
  std::vector<std::vector<int32_t>> tokens;
  Usage usage;
};

class Bench {
 public:
  static absl::StatusOr<std::unique_ptr<Bench>> Load(const std::string& directory, int threads) {
    auto bench = std::unique_ptr<Bench>(new Bench());
    EngineOptions options;
    options.model_path = directory;
    options.threads = threads;
    options.kv_capacity_tokens = 16384;
    options.profile_limit = absl::Milliseconds(2500);  // as with speculation configured
    auto engine = Engine::Create(options);
    if (!engine.ok()) return engine.status();
    bench->engine_ = *std::move(engine);
    bench->engine_->Start();
    ModelFrontEnd model{.tokenizer = &bench->engine_->tokenizer(),
                        .max_context = bench->engine_->max_context(),
                        .vocab = bench->engine_->desc().vocab};
    const auto defaults = LoadGenerationDefaults(directory);
    if (!defaults.ok()) return defaults.status();
    model.defaults.eos_token_ids = defaults->eos_token_ids;
    bench->handler_ =
        std::make_unique<GenerationHandler>(std::move(model), bench->engine_.get(), [] { return uint64_t{1}; });
    return bench;
  }

  int vocab() const { return engine_->desc().vocab; }
  std::string backend() const { return engine_->GetStatus().backend; }

  // All streams at once; times all but the prompts' prefill, which is short and the same for all.
  absl::StatusOr<Run> Measure(int streams, int tokens, const std::function<void(GenerationInput&)>& fill) {
    std::vector<GenerateRequest> requests;
    for (int i = 0; i < streams; ++i) {
      GenerationInput input;
      input.prompt = std::string(kPrompt);
      input.seed = 1000 + i;
      input.max_tokens = tokens;
      input.ignore_eos = true;
      input.prompt_lookup_tokens = 0;
      fill(input);
      auto request = handler_->Resolve(input);
      if (!request.ok()) return request.status();
      requests.push_back(*std::move(request));
    }
    std::vector<std::shared_ptr<Sink>> sinks;
    const auto start = std::chrono::steady_clock::now();
    for (GenerateRequest& request : requests) {
      sinks.push_back(std::make_shared<Sink>());
      if (auto status = handler_->Start(std::move(request), sinks.back()); !status.ok()) return status;
    }
    Run run;
    size_t total = 0;
    for (const auto& sink : sinks) sink->done.WaitForNotification();
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    for (const auto& sink : sinks) {
      if (!sink->end.status.ok()) return sink->end.status;
      total += sink->tokens.size();
      run.tokens.push_back(sink->tokens);
      run.usage.drafted_tokens += sink->end.usage.drafted_tokens;
      run.usage.accepted_tokens += sink->end.usage.accepted_tokens;
    }
    run.tokens_per_second = static_cast<double>(total) / seconds;
    return run;
  }

 private:
  Bench() = default;
  std::unique_ptr<Engine> engine_;
  std::unique_ptr<GenerationHandler> handler_;
};

double Median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const size_t half = values.size() / 2;
  return values.size() % 2 == 1 ? values[half] : (values[half - 1] + values[half]) / 2;
}

absl::Status Compare(Bench& bench, const Case& c, int streams, int tokens, int rounds) {
  std::vector<double> base, changed, ratios;
  Usage usage;
  for (int round = -1; round < rounds; ++round) {  // the first warms up: compiled grammars, caches
    const auto without = bench.Measure(streams, tokens, c.base);
    if (!without.ok()) return without.status();
    const auto with = bench.Measure(streams, tokens, [&](GenerationInput& input) {
      c.base(input);
      c.change(input);
    });
    if (!with.ok()) return with.status();
    if (c.same_tokens && with->tokens != without->tokens) return absl::InternalError(c.name + " changed tokens");
    if (round < 0) continue;
    base.push_back(without->tokens_per_second);
    changed.push_back(with->tokens_per_second);
    ratios.push_back(with->tokens_per_second / without->tokens_per_second);
    usage.drafted_tokens += with->usage.drafted_tokens;
    usage.accepted_tokens += with->usage.accepted_tokens;
  }
  std::cout << absl::StrFormat("%-17s %2d streams  %8.1f tok/s, without %8.1f: %.3f [%.3f - %.3f]", c.name, streams,
                               Median(changed), Median(base), Median(ratios),
                               *std::min_element(ratios.begin(), ratios.end()),
                               *std::max_element(ratios.begin(), ratios.end()));
  if (usage.drafted_tokens > 0) {
    std::cout << absl::StrFormat("  %d of %d guesses right", usage.accepted_tokens, usage.drafted_tokens);
  }
  std::cout << std::endl;
  return absl::OkStatus();
}

int Main(int argc, char** argv) {
  CLI::App app{"What structured output and prompt lookup cost or bring.", "generation_benchmark"};
  std::string directory;
  int threads = 2, rounds = 5, tokens = 96;
  std::vector<int> streams = {1, 8};
  std::vector<std::string> only;
  app.add_option("MODEL", directory, "A Hugging Face directory")->required();
  app.add_option("--threads", threads)->check(CLI::Range(1, 1024))->capture_default_str();
  app.add_option("--rounds", rounds)->check(CLI::Range(1, 1000))->capture_default_str();
  app.add_option("--tokens", tokens, "of each text")->check(CLI::Range(1, 100000))->capture_default_str();
  app.add_option("--streams", streams, "at once")->delimiter(',')->capture_default_str();
  app.add_option("--only", only, "beginnings of cases' names")->delimiter(',');
  CLI11_PARSE(app, argc, argv);
  const auto bench = Bench::Load(directory, threads);
  if (!bench.ok()) {
    std::cerr << "generation_benchmark: " << bench.status().message() << "\n";
    return 1;
  }
  std::cout << absl::StrJoin(std::vector<std::string>(argv, argv + argc), " ") << "\n"
            << absl::StrFormat("%s, vocabulary of %d, %d tokens a text, medians of %d rounds\n", (*bench)->backend(),
                               (*bench)->vocab(), tokens, rounds);
  for (const Case& c : AllCases()) {
    const bool wanted = only.empty() || std::any_of(only.begin(), only.end(),
                                                    [&](const std::string& name) { return c.name.starts_with(name); });
    for (const int count : wanted ? streams : std::vector<int>()) {
      const absl::Status status = Compare(**bench, c, count, tokens, rounds);
      if (status.ok()) continue;
      std::cerr << "generation_benchmark: " << c.name << ": " << status.message() << "\n";
      return 1;
    }
  }
  return 0;
}

}  // namespace
}  // namespace tandem::generationbench

int main(int argc, char** argv) {
  return tandem::generationbench::Main(argc, argv);
}
