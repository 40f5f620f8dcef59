// tandem tune: its command line.
#include <map>
#include <optional>

#include "cli/command.h"

namespace tandem {
namespace {

// How the adapter changes the model, as the command line says it. "": not said.
struct PeftFlags {
  std::string method = "lora", activation;
  std::optional<int> rank;
  std::optional<double> alpha;
  bool rslora = false;
  std::vector<std::string> targets, feedforward;
};

std::shared_ptr<const PeftFlags> DefinePeft(CLI::App* tune) {
  const auto flags = std::make_shared<PeftFlags>();
  tune->add_option("--method", flags->method, "How the adapter changes the model: lora, dora, ia3 or bottleneck")
      ->check(CLI::IsMember({"lora", "dora", "ia3", "bottleneck"}))
      ->type_name("METHOD")
      ->capture_default_str();
  tune->add_option("--rank", flags->rank, "Of lora and dora, or the width of a bottleneck; default 16");
  tune->add_option("--alpha", flags->alpha, "Of lora and dora; default: twice the rank");
  tune->add_flag("--rslora", flags->rslora, "Scale lora and dora by alpha / sqrt(rank)");
  const auto add_modules = [&](const char* name, std::vector<std::string>& modules, const char* help) {
    tune->add_option(name, modules, help)->delimiter(',')->allow_extra_args(false);
  };
  add_modules("--target", flags->targets,
              "q_proj,v_proj,... Default: all linear layers (lora, dora), k_proj,v_proj,down_proj (ia3), "
              "o_proj,down_proj (bottleneck)");
  add_modules("--feedforward", flags->feedforward, "Targets of ia3 that scale their input; default: down_proj");
  tune->add_option("--activation", flags->activation, "Of a bottleneck: silu, gelu, gelu_tanh or relu; default silu");
  return flags;
}

// Into the method's own message. A flag that the method does not have is refused here: the message has no field for it.
void FillPeft(const PeftFlags& flags, v1::Peft& peft) {
  const bool lora = flags.method == "lora" || flags.method == "dora", ia3 = flags.method == "ia3";
  const auto refuse_if = [&](bool given, const char* flag) {
    if (given) throw CLI::ValidationError(flag, "--method " + flags.method + " has none");
  };
  refuse_if(ia3 && flags.rank.has_value(), "--rank");
  refuse_if(!lora && flags.alpha.has_value(), "--alpha");
  refuse_if(!lora && flags.rslora, "--rslora");
  refuse_if(!ia3 && !flags.feedforward.empty(), "--feedforward");
  refuse_if((lora || ia3) && !flags.activation.empty(), "--activation");
  const auto fill = [](const std::vector<std::string>& from, auto& to) { to.Assign(from.begin(), from.end()); };
  if (lora) {
    v1::Lora& message = *peft.mutable_lora();
    if (flags.rank.has_value()) message.set_rank(*flags.rank);
    if (flags.alpha.has_value()) message.set_alpha(*flags.alpha);
    if (flags.rslora) message.set_use_rslora(true);
    message.set_use_dora(flags.method == "dora");
    fill(flags.targets, *message.mutable_target_modules());
  } else if (ia3) {
    fill(flags.targets, *peft.mutable_ia3()->mutable_target_modules());
    fill(flags.feedforward, *peft.mutable_ia3()->mutable_feedforward_modules());
  } else {
    v1::Bottleneck& message = *peft.mutable_bottleneck();
    if (flags.rank.has_value()) message.set_width(*flags.rank);
    if (!flags.activation.empty()) message.set_activation(flags.activation);
    fill(flags.targets, *message.mutable_target_modules());
  }
}

}  // namespace

void DefineTune(CLI::App& app, TuneOptions& options, Command& command) {
  CLI::App* const tune = app.add_subcommand("tune", "Fine-tune an adapter")->fallthrough();
  v1::Hyperparameters& h = *options.request.mutable_hyperparameters();
  tune->add_option("DATA", options.data, R"(JSONL: {"messages"}, {"prompt","completion"} or {"text"} a line)")
      ->required();
  tune->add_flag("--data-on-daemon", options.data_on_daemon, "DATA is a path on the daemon's machine; else it is sent");
  tune->add_option("--as", *options.request.mutable_adapter(), "The adapter's name")->required();
  const std::shared_ptr<const PeftFlags> peft = DefinePeft(tune);
  CLI::Option* const epochs = AddField<double>(
      tune, "--epochs", [&](double e) { h.set_epochs(e); }, "Default 3");
  AddField<int>(
      tune, "--max-steps", [&](int n) { h.set_max_steps(n); }, "Optimizer steps, instead of --epochs")
      ->excludes(epochs);
  AddField<double>(
      tune, "--lr", [&](double lr) { h.set_learning_rate(lr); }, "Learning rate; default 2e-4");
  AddField<int>(
      tune, "--batch", [&](int n) { h.set_micro_batch(n); }, "Samples of a micro batch; default 1");
  AddField<int>(
      tune, "--accumulate", [&](int n) { h.set_gradient_accumulation(n); }, "Micro batches of a step; default 1");
  AddField<int>(
      tune, "--max-length", [&](int n) { h.set_max_length(n); }, "Tokens of a sample; default 1024");
  AddField<uint64_t>(
      tune, "--seed", [&](uint64_t s) { h.set_seed(s); }, "Of initialisation and shuffling; default 0");
  const std::map<std::string, v1::LossMask> masks = {
      {"all", v1::LOSS_MASK_ALL}, {"completion", v1::LOSS_MASK_COMPLETION}, {"assistant", v1::LOSS_MASK_ASSISTANT}};
  AddField<std::string>(
      tune, "--loss-mask", [&h, masks](const std::string& m) { h.set_loss_mask(masks.at(m)); },
      "What is learned; default completion")
      ->check(CLI::IsMember({"all", "completion", "assistant"}));
  tune->add_flag("--watch", options.watch, "Draw progress and loss until it ends; Ctrl-C detaches");
  tune->callback([&, peft] {
    FillPeft(*peft, *options.request.mutable_peft());
    command = [&](const Session& session) { return RunTune(session, options); };
  });
}

}  // namespace tandem
