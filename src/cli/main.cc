// tandem: the command line.
#include <google/protobuf/stubs/logging.h>

#include <iostream>
#include <map>

#include "base/file.h"
#include "base/status.h"
#include "cli/command.h"

namespace tandem {
namespace {

// Options that name a file have put its name where its contents belong.
absl::Status ReadStructure(v1::GenerateRequest& request) {
  constexpr size_t kMaxBytes = 1 << 20;  // more than the daemon takes
  if (request.has_json_schema()) {
    ASSIGN_OR_RETURN(*request.mutable_json_schema(), ReadFile(request.json_schema(), kMaxBytes));
  }
  if (request.has_grammar()) {
    ASSIGN_OR_RETURN(*request.mutable_grammar(), ReadFile(request.grammar(), kMaxBytes));
  }
  return absl::OkStatus();
}

// At most one of them.
void DefineStructured(CLI::App* generate, v1::GenerateRequest& request) {
  CLI::Option_group* const structured = generate->add_option_group("Structured output");
  AddField<std::string>(
      structured, "--json-schema", [&](const std::string& path) { request.set_json_schema(path); },
      "Write JSON that fits the schema in FILE")
      ->type_name("FILE");
  AddField<std::string>(
      structured, "--regex", [&](const std::string& regex) { request.set_regex(regex); },
      "Write text that matches the whole expression");
  AddField<std::string>(
      structured, "--grammar", [&](const std::string& path) { request.set_grammar(path); },
      "Write text of the grammar (EBNF) in FILE")
      ->type_name("FILE");
  structured->add_flag_callback(
      "--json-object", [&] { request.set_json_object(true); }, "Write a JSON object");
  structured->require_option(0, 1);
}

void DefineGenerate(CLI::App& app, v1::GenerateRequest& request, Command& command) {
  CLI::App* const generate = app.add_subcommand("generate", "Generate text")->fallthrough();
  auto prompt = std::make_shared<std::string>();
  auto chat = std::make_shared<bool>(false);
  generate->add_option("PROMPT", *prompt, "The text to continue, or with --chat the question")->required();
  generate->add_flag("--chat", *chat, "Ask by the model's chat template");
  generate->add_option("--adapter", *request.mutable_adapter(), "A loaded adapter's name; none: the base model");
  v1::Sampling& sampling = *request.mutable_sampling();
  v1::Stopping& stopping = *request.mutable_stopping();
  AddField<int>(
      generate, "--max-tokens", [&](int n) { stopping.set_max_tokens(n); }, "Tokens to generate at most");
  AddField<float>(
      generate, "--temperature", [&](float t) { sampling.set_temperature(t); }, "0: greedy");
  AddField<float>(
      generate, "--top-p", [&](float p) { sampling.set_top_p(p); }, "In (0, 1]");
  AddField<int>(
      generate, "--top-k", [&](int k) { sampling.set_top_k(k); }, "0: off");
  AddField<float>(
      generate, "--min-p", [&](float p) { sampling.set_min_p(p); }, "Least share of the largest probability, [0, 1]");
  AddField<float>(
      generate, "--typical-p", [&](float p) { sampling.set_typical_p(p); }, "Locally typical sampling, (0, 1]");
  AddField<float>(
      generate, "--repetition-penalty", [&](float p) { sampling.set_repetition_penalty(p); },
      "Of tokens of prompt and completion; 1: none");
  AddField<float>(
      generate, "--presence-penalty", [&](float p) { sampling.set_presence_penalty(p); }, "In [-2, 2]");
  AddField<float>(
      generate, "--frequency-penalty", [&](float p) { sampling.set_frequency_penalty(p); }, "In [-2, 2]");
  AddField<int>(
      generate, "--min-tokens", [&](int n) { stopping.set_min_tokens(n); }, "Tokens before the text may end");
  AddField<int>(
      generate, "--logprobs", [&](int k) { request.set_logprobs(k); },
      "Print each token with its probability and the K most probable ones")
      ->type_name("K");
  AddField<int>(
      generate, "--prompt-logprobs", [&](int k) { request.set_prompt_logprobs(k); },
      "Print each token of the prompt with its probability and the K most probable ones")
      ->type_name("K");
  AddField<int>(
      generate, "--n", [&](int n) { sampling.set_n(n); }, "Completions of the prompt, 1 to 128");
  AddField<int>(
      generate, "--prompt-lookup", [&](int k) { request.set_prompt_lookup_tokens(k); },
      "Guess at most K tokens ahead from text that repeats itself; 0: off")
      ->type_name("K");
  AddField<uint64_t>(
      generate, "--seed", [&](uint64_t s) { sampling.set_seed(s); }, "Same seed, same text");
  AddField<int>(
      generate, "--priority", [&](int p) { request.set_priority(p); }, "Lower goes first; default 0");
  generate->add_option("--tenant", *request.mutable_tenant(), "Who asks: tenants share the daemon fairly");
  generate->add_option("--cache-salt", *request.mutable_cache_salt(), "Share cached prompts only with the same salt");
  generate
      ->add_option_function<std::vector<std::string>>(
          "--stop",
          [&](const std::vector<std::string>& stop) { stopping.mutable_stop()->Assign(stop.begin(), stop.end()); },
          "Text that ends the generation; may be given often")
      ->allow_extra_args(false);
  DefineStructured(generate, request);
  generate->callback([&request, &command, prompt, chat] {
    if (*chat) {
      v1::ChatMessage& message = *request.mutable_chat()->add_messages();
      message.set_role("user");
      message.set_content(*prompt);
    } else {
      request.set_text(*prompt);
    }
    command = [&request](const Session& session) {
      RETURN_IF_ERROR(ReadStructure(request));
      return RunGenerate(session, request);
    };
  });
}

void DefineChat(CLI::App& app, Command& command) {
  CLI::App* const chat = app.add_subcommand("chat", "Talk with the model")->fallthrough();
  const auto request = std::make_shared<v1::GenerateRequest>();
  chat->add_option("--adapter", *request->mutable_adapter(), "A loaded adapter's name; none: the base model");
  AddField<std::string>(
      chat, "--system",
      [request](const std::string& text) {
        v1::ChatMessage& message = *request->mutable_chat()->add_messages();
        message.set_role("system");
        message.set_content(text);
      },
      "What the model is told before all else");
  AddField<float>(
      chat, "--temperature", [request](float t) { request->mutable_sampling()->set_temperature(t); }, "0: greedy");
  AddField<int>(
      chat, "--max-tokens", [request](int n) { request->mutable_stopping()->set_max_tokens(n); },
      "Tokens of an answer at most");
  chat->callback(
      [&command, request] { command = [request](const Session& session) { return RunChat(session, *request); }; });
}

void DefineTokenize(CLI::App& app, Command& command) {
  CLI::App* const tokenize = app.add_subcommand("tokenize", "A text as the model sees it")->fallthrough();
  const auto text = std::make_shared<std::string>();
  const auto chat = std::make_shared<bool>(false), bare = std::make_shared<bool>(false);
  tokenize->add_option("TEXT", *text, "The text, or with --chat the question")->required();
  tokenize->add_flag("--chat", *chat, "As the model's chat template renders it");
  tokenize->add_flag("--no-special", *bare, "Without the special tokens that the tokenizer adds");
  tokenize->callback([&command, text, chat, bare] {
    v1::TokenizeRequest request;
    if (*chat) {
      v1::ChatMessage& message = *request.mutable_chat()->add_messages();
      message.set_role("user");
      message.set_content(*text);
    } else {
      request.set_text(*text);
    }
    request.set_add_special_tokens(!*bare);
    command = [request](const Session& session) { return RunTokenize(session, request); };
  });
}

void DefineEmbed(CLI::App& app, Command& command) {
  CLI::App* const embed = app.add_subcommand("embed", "Texts as vectors")->fallthrough();
  const auto texts = std::make_shared<std::vector<std::string>>();
  const auto request = std::make_shared<v1::EmbedRequest>();
  const auto chat = std::make_shared<bool>(false);
  embed->add_option("TEXT", *texts, "One or more texts, or with --chat messages of a user")->required();
  embed->add_flag("--chat", *chat, "Each as the model's chat template renders it");
  embed->add_option("--adapter", *request->mutable_adapter(), "A loaded adapter's name; none: the base model");
  const std::map<std::string, v1::EmbeddingPooling> poolings = {{"last", v1::EMBEDDING_POOLING_LAST},
                                                                {"mean", v1::EMBEDDING_POOLING_MEAN}};
  AddField<std::string>(
      embed, "--pooling", [request, poolings](const std::string& p) { request->set_pooling(poolings.at(p)); },
      "Of the last token, or the mean over all of them; default last")
      ->check(CLI::IsMember({"last", "mean"}));
  embed->add_flag_callback(
      "--no-normalize", [request] { request->set_normalize(false); }, "As they are, not of length 1");
  embed->callback([&command, texts, request, chat] {
    for (const std::string& text : *texts) {
      v1::EmbedInput& input = *request->add_inputs();
      if (*chat) {
        v1::ChatMessage& message = *input.mutable_chat()->add_messages();
        message.set_role("user");
        message.set_content(text);
      } else {
        input.set_text(text);
      }
    }
    command = [request](const Session& session) { return RunEmbed(session, *request); };
  });
}

void DefineDoctor(CLI::App& app, Command& command) {
  CLI::App* const doctor =
      app.add_subcommand("doctor", "Look at this machine: what keeps the daemon from running well?")->fallthrough();
  const auto options = std::make_shared<DoctorOptions>();
  doctor->add_option("--config", options->config, "A configuration of tandemd to check")->type_name("FILE");
  doctor->add_option("--model", options->model, "A model's directory to check")->type_name("DIR");
  doctor->add_option("--state-dir", options->state_dir, "Where the daemon keeps what is its own")
      ->type_name("DIR")
      ->capture_default_str();
  doctor->callback(
      [&command, options] { command = [options](const Session& session) { return RunDoctor(session, *options); }; });
}

// A subcommand on one thing that the daemon knows by name.
struct NamedCommand {
  const char* name;
  const char* help;
  const char* argument;       // "ID"
  const char* argument_help;  // "As 'tandem jobs' lists it"
  absl::Status (*run)(const Session&, const std::string&);
};

void DefineNamed(CLI::App* app, const NamedCommand& named, Command& command) {
  CLI::App* const sub = app->add_subcommand(named.name, named.help)->fallthrough();
  auto id = std::make_shared<std::string>();
  sub->add_option(named.argument, *id, named.argument_help)->required();
  sub->callback(
      [&command, run = named.run, id] { command = [run, id](const Session& session) { return run(session, *id); }; });
}

void DefineJobs(CLI::App& app, Command& command) {
  CLI::App* const jobs = app.add_subcommand("jobs", "List, show, watch and cancel fine-tuning jobs")->fallthrough();
  jobs->require_subcommand(0, 1);
  jobs->add_subcommand("list", "All jobs, oldest first")->fallthrough();
  constexpr const char* kWhich = "As 'tandem jobs' lists it";
  DefineNamed(jobs, {"show", "One job", "ID", kWhich, RunJobsShow}, command);
  DefineNamed(jobs, {"watch", "Draw progress and loss until it ends; Ctrl-C detaches", "ID", kWhich, RunJobsWatch},
              command);
  DefineNamed(jobs, {"cancel", "Cancel a job", "ID", kWhich, RunJobsCancel}, command);
  jobs->callback([&command] {
    if (!command) command = RunJobsList;
  });
}

void DefineAdapters(CLI::App& app, Command& command) {
  CLI::App* const adapters = app.add_subcommand("adapters", "List, load and unload adapters")->fallthrough();
  adapters->require_subcommand(0, 1);
  adapters->add_subcommand("list", "All adapters")->fallthrough();
  CLI::App* const load =
      adapters->add_subcommand("load", "Load a PEFT directory of the daemon's machine")->fallthrough();
  auto name = std::make_shared<std::string>(), path = std::make_shared<std::string>();
  load->add_option("NAME", *name, "What requests will call it")->required();
  load->add_option("PATH", *path, "Where adapter_config.json is, on the daemon's machine")->required();
  load->callback([&command, name, path] {
    command = [name, path](const Session& session) { return RunAdaptersLoad(session, *name, *path); };
  });
  DefineNamed(adapters, {"unload", "Unload an adapter", "NAME", "As 'tandem adapters' lists it", RunAdaptersUnload},
              command);
  adapters->callback([&command] {
    if (!command) command = RunAdaptersList;
  });
}

void DefineModels(CLI::App& app, Command& command) {
  CLI::App* const models = app.add_subcommand("models", "List, show, load and unload the model")->fallthrough();
  models->require_subcommand(0, 1);
  models->add_subcommand("list", "What is loaded, or being loaded")->fallthrough();
  constexpr const char* kWhich = "As 'tandem models' lists it";
  DefineNamed(models, {"show", "One model", "NAME", kWhich, RunModelsShow}, command);
  CLI::App* const load =
      models->add_subcommand("load", "Load a model's directory of the daemon's machine")->fallthrough();
  const auto name = std::make_shared<std::string>(), path = std::make_shared<std::string>();
  load->add_option("PATH", *path, "Where config.json is, on the daemon's machine")->required();
  load->add_option("--as", *name, "Its name; default: the directory's");
  load->callback([&command, name, path] {
    command = [name, path](const Session& session) { return RunModelsLoad(session, *path, *name); };
  });
  CLI::App* const unload =
      models->add_subcommand("unload", "Unload the model: requests may finish, jobs end")->fallthrough();
  const auto request = std::make_shared<v1::UnloadModelRequest>();
  unload->add_option("NAME", *request->mutable_name(), kWhich)->required();
  AddField<double>(
      unload, "--grace",
      [request](double seconds) {
        const auto whole = static_cast<int64_t>(seconds);
        request->mutable_grace()->set_seconds(whole);
        request->mutable_grace()->set_nanos(static_cast<int32_t>((seconds - static_cast<double>(whole)) * 1e9));
      },
      "Seconds that running requests have; default and most: the daemon's shutdown.grace")
      ->type_name("SECONDS")
      ->check(CLI::Range(0.0, 1e9, ""));
  unload->callback([&command, request] {
    command = [request](const Session& session) { return RunModelsUnload(session, *request); };
  });
  models->callback([&command] {
    if (!command) command = RunModelsList;
  });
}

void DefineConnection(CLI::App& app, ConnectOptions& daemon) {
  app.add_option("--server", daemon.server, "The daemon")
      ->envname("TANDEM_SERVER")
      ->type_name("HOST:PORT")
      ->capture_default_str();
  // The environment is the better place: a command line can be read by others on this machine.
  app.add_option("--api-key", daemon.api_key, "Where the daemon asks for one")->envname("TANDEM_API_KEY");
  app.add_flag("--tls", daemon.tls, "The daemon speaks TLS");
  app.add_option("--tls-ca", daemon.ca_file, "Whom to trust (PEM); default: the system's authorities")
      ->envname("TANDEM_TLS_CA")
      ->type_name("FILE");
  app.add_option("--tls-cert", daemon.certificate_file, "This client's certificate (PEM)")
      ->envname("TANDEM_TLS_CERT")
      ->type_name("FILE");
  app.add_option("--tls-key", daemon.key_file, "and its key (PEM)")->envname("TANDEM_TLS_KEY")->type_name("FILE");
  app.add_option("--tls-name", daemon.server_name, "The name in the daemon's certificate, where it is not its host's");
}

int Main(int argc, char** argv) {
  Session session;
  session.out = DetectTerminal(1);
  Command command;
  v1::GenerateRequest generate;
  TuneOptions tune;

  CLI::App app{"tandem talks to tandemd: it generates text and fine-tunes adapters.", "tandem"};
  app.set_version_flag("--version", "tandem " TANDEM_VERSION);
  app.require_subcommand(1);
  DefineConnection(app, session.daemon);
  app.add_flag("--json", session.json, "One JSON document, or JSON lines");
  DefineGenerate(app, generate, command);
  DefineChat(app, command);
  DefineTokenize(app, command);
  DefineEmbed(app, command);
  DefineTune(app, tune, command);
  DefineJobs(app, command);
  DefineAdapters(app, command);
  DefineModels(app, command);
  bench::DefineBench(app, command);
  DefineDoctor(app, command);
  CLI::App* const status_command = app.add_subcommand("status", "What the daemon is doing")->fallthrough();
  bool watch_status = false;
  status_command->add_flag("--watch", watch_status, "Draw it in place until Ctrl-C");
  status_command->callback([&] { command = watch_status ? RunStatusWatch : RunStatus; });

  if (const absl::Status beside = bench::RunBeside(argv); !beside.ok()) {
    std::cerr << "tandem: " << beside.message() << std::endl;
    return 1;
  }
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  google::protobuf::SetLogHandler(nullptr);  // text that is not UTF-8 is the daemon's to refuse, with a status
  const absl::Status status = command(session);
  if (status.ok()) return 0;
  std::cerr << Paint(DetectTerminal(2), Style::kRed, "tandem:") << " " << status.message() << " ("
            << absl::StatusCodeToString(status.code()) << ")" << std::endl;
  return 1;
}

}  // namespace
}  // namespace tandem

int main(int argc, char** argv) {
  return tandem::Main(argc, argv);
}
