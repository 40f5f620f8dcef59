// tandem itself, as a process, against a server of this one.
#include <sys/wait.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <thread>

#include "base/file.h"
#include "base/json.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "serve/fakes.h"
#include "serve/grpc/server.h"

namespace tandem {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

struct Outcome {
  int code = -1;
  std::string out, err;
};

class BinaryTest : public testing::Test {
 protected:
  BinaryTest() {
    GrpcServerOptions options;
    options.port = 0;
    auto server = GrpcServer::Start(options, engine_.host());
    CHECK(server.ok()) << server.status();
    server_ = *std::move(server);
    engine_.inference.on_generate = [](const FakeInference::Running& running) {
      running.sink->OnUpdate({.token_ids = {1, 2}, .text = "Once upon", .usage = {3, 2}});
      running.sink->OnEnd(
          {.status = absl::OkStatus(), .reason = FinishReason::kStop, .usage = {3, 3}, .text = " a time"});
    };
  }

  // `arguments` is shell text.
  Outcome Run(const std::string& arguments, const std::string& environment = "") {
    const std::string err_path = testing::TempDir() + "/stderr";
    const std::string command =
        "env -u TANDEM_SERVER " + environment + " " TANDEM_CLI " " + arguments + " 2>" + err_path;
    FILE* const pipe = ::popen(command.c_str(), "r");
    CHECK(pipe != nullptr);
    Outcome outcome;
    char buffer[4096];
    while (const size_t got = std::fread(buffer, 1, sizeof buffer, pipe)) outcome.out.append(buffer, got);
    outcome.code = WEXITSTATUS(::pclose(pipe));
    outcome.err = *ReadFile(err_path);
    return outcome;
  }
  std::string Server() { return " --server 127.0.0.1:" + std::to_string(server_->port()); }

  FakeEngine engine_;
  std::unique_ptr<GrpcServer> server_;
};

TEST_F(BinaryTest, GeneratePrintsTheTextAndThenAboutIt) {
  const Outcome outcome = Run("generate 'hi there' --max-tokens 5 --seed 9" + Server());
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_EQ(outcome.out, "Once upon a time\n");
  EXPECT_THAT(outcome.err, StartsWith("3 tokens, "));
  EXPECT_THAT(outcome.err, HasSubstr("tokens/s, stop, seed 9\n"));
}

TEST_F(BinaryTest, ChatTellsAScriptWhatFailed) {
  const std::string lines = testing::TempDir() + "/lines";
  ASSERT_TRUE(WriteFileAtomically(lines, "/rest\n").ok());
  Outcome outcome = Run("chat" + Server() + " <" + lines);
  EXPECT_EQ(outcome.code, 1);
  EXPECT_THAT(outcome.err, HasSubstr("unknown command /rest; did you mean '/reset'"));
  ASSERT_TRUE(WriteFileAtomically(lines, "/temp 0.5\nhi").ok());
  outcome = Run("chat" + Server() + " <" + lines);
  EXPECT_EQ(outcome.out, "");                               // answers only
  EXPECT_THAT(outcome.err, HasSubstr("no chat template"));  // the fake model has none
}

TEST_F(BinaryTest, ChatEndsWithItsInput) {
  EXPECT_EQ(Run("chat" + Server() + " </dev/null").code, 0);
}

TEST_F(BinaryTest, TokenizeListsIdsAndTokens) {
  const Outcome outcome = Run("tokenize ab --no-special" + Server());
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_THAT(outcome.out, HasSubstr("0  98  a\n"));
  EXPECT_THAT(outcome.out, HasSubstr("2 tokens\n"));
}

TEST_F(BinaryTest, DoctorFindsTheDaemon) {
  const Outcome outcome = Run("doctor --state-dir " + testing::TempDir() + Server());
  EXPECT_THAT(outcome.out, HasSubstr("serves demo at 127.0.0.1:"));
  EXPECT_EQ(outcome.out.find("of 0.0 GiB"), std::string::npos) << outcome.out;
}

TEST_F(BinaryTest, GenerateCarriesItsOptions) {
  GenerateRequest got;
  engine_.inference.on_generate = [&got](const FakeInference::Running& running) {
    got = running.request;
    running.sink->OnEnd({.status = absl::OkStatus()});
  };
  const Outcome outcome =
      Run("generate hi --adapter support --max-tokens 7 --temperature 0 --top-p 0.5 --top-k 4 "
          "--stop END --stop ';'" +
          Server());
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_EQ(got.adapter, "support");
  EXPECT_EQ(got.stop.max_tokens, 7);
  EXPECT_EQ(got.sampling.temperature, 0);
  EXPECT_EQ(got.sampling.top_p, 0.5f);
  EXPECT_EQ(got.sampling.top_k, 4);
  EXPECT_THAT(got.stop.stop, testing::ElementsAre("END", ";"));
}

TEST_F(BinaryTest, GenerateAsJsonLines) {
  const Outcome outcome = Run("--json generate hi" + Server());
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  const std::string last_line = outcome.out.substr(outcome.out.rfind('\n', outcome.out.size() - 2) + 1);
  const absl::StatusOr<Json> last = ParseJson(last_line);
  ASSERT_TRUE(last.ok()) << last.status() << outcome.out;
  EXPECT_EQ((*last)["finish_reason"], "FINISH_REASON_STOP");
}

TEST_F(BinaryTest, AnErrorHasTheStatusNameAndExitCodeOne) {
  engine_.inference.refusal = absl::NotFoundError("no adapter 'x'");
  const Outcome outcome = Run("generate hi --adapter x" + Server());
  EXPECT_EQ(outcome.code, 1);
  EXPECT_EQ(outcome.err, "tandem: no adapter 'x' (NOT_FOUND)\n");
  EXPECT_EQ(outcome.out, "");
}

TEST_F(BinaryTest, NoDaemonIsSaidAtOnce) {
  server_.reset();
  const auto begin = std::chrono::steady_clock::now();
  const Outcome outcome = Run("status --server 127.0.0.1:1");
  EXPECT_EQ(outcome.code, 1);
  EXPECT_THAT(outcome.err, StartsWith("tandem: no tandemd at 127.0.0.1:1; start one with"));
  EXPECT_THAT(outcome.err, HasSubstr("(UNAVAILABLE)"));
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(20));
}

TEST_F(BinaryTest, AWrongCommandLineIsExitCodeTwo) {
  EXPECT_EQ(Run("").code, 2);
  EXPECT_EQ(Run("generate").code, 2);
  EXPECT_EQ(Run("tune data.jsonl --as a --loss-mask some").code, 2);
  EXPECT_EQ(Run("tune data.jsonl --as a --epochs 1 --max-steps 2").code, 2);
  EXPECT_EQ(Run("--help").code, 0);
}

TEST_F(BinaryTest, TuneSendsTheFileAndWatchesToTheEnd) {
  const std::string data = testing::TempDir() + "/train.jsonl";
  ASSERT_TRUE(WriteFileAtomically(data, "{\"text\": \"a\"}\n").ok());
  engine_.fine_tuning.job.state = JobState::kSucceeded;
  engine_.fine_tuning.job.adapter_generation = 1;
  for (int step = 1; step <= 4; ++step) {
    engine_.fine_tuning.events_at_creation.push_back(
        {.kind = JobEventKind::kStep, .state = JobState::kRunning, .step = step, .loss = 2.0 / step});
  }
  engine_.fine_tuning.events_at_creation.push_back(
      {.kind = JobEventKind::kPublished, .state = JobState::kRunning, .adapter_generation = 1});
  const Outcome outcome = Run("tune " + data +
                              " --as support --rank 4 --target q_proj,v_proj --lr 1e-3 --max-steps 4 "
                              "--batch 2 --accumulate 3 --max-length 99 --loss-mask all --seed 5 --watch" +
                              Server());
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_THAT(outcome.out, HasSubstr("job job-1 trains support"));
  EXPECT_THAT(outcome.out, HasSubstr("support  step 4/4  loss 0.5000"));
  EXPECT_THAT(outcome.out, HasSubstr("published support, generation 1"));
  EXPECT_THAT(outcome.out, HasSubstr("support generation 1 is ready: tandem generate PROMPT --adapter support\n"));

  const JobSpec spec = engine_.fine_tuning.spec();
  EXPECT_EQ(spec.adapter_name, "support");
  EXPECT_EQ(spec.data, "{\"text\": \"a\"}\n");
  EXPECT_EQ(spec.data_name, "train.jsonl");
  EXPECT_EQ(spec.peft.rank, 4);
  EXPECT_THAT(spec.peft.target_modules, testing::ElementsAre("q_proj", "v_proj"));
  EXPECT_EQ(spec.hyperparameters.learning_rate, 1e-3);
  EXPECT_EQ(spec.hyperparameters.max_steps, 4);
  EXPECT_EQ(spec.hyperparameters.micro_batch, 2);
  EXPECT_EQ(spec.hyperparameters.gradient_accumulation, 3);
  EXPECT_EQ(spec.hyperparameters.max_length, 99);
  EXPECT_EQ(spec.hyperparameters.loss_mask, LossMask::kAll);
  EXPECT_EQ(spec.hyperparameters.seed, 5u);
}

TEST_F(BinaryTest, TuneSendsTheMethodWithItsOwnOptions) {
  const std::string data = testing::TempDir() + "/train.jsonl";
  ASSERT_TRUE(WriteFileAtomically(data, "{\"text\": \"a\"}\n").ok());
  const auto peft_of = [&](const std::string& flags) {
    const Outcome outcome = Run("tune " + data + " --as support " + flags + Server());
    EXPECT_EQ(outcome.code, 0) << outcome.err;
    return engine_.fine_tuning.spec().peft;
  };
  EXPECT_EQ(peft_of("").method, PeftMethod::kLora);
  EXPECT_EQ(peft_of("--method dora --rslora").method, PeftMethod::kDora);
  EXPECT_THAT(peft_of("--method ia3 --target up_proj --feedforward up_proj").feedforward_modules,
              testing::ElementsAre("up_proj"));
  const PeftOptions bottleneck = peft_of("--method bottleneck --rank 5 --activation gelu");
  EXPECT_EQ(bottleneck.method, PeftMethod::kBottleneck);
  EXPECT_EQ(bottleneck.rank, 5);
  EXPECT_EQ(bottleneck.activation, Activation::kGelu);
  const Outcome outcome = Run("tune " + data + " --as support --method ia3 --rank 4" + Server());
  EXPECT_EQ(outcome.code, 2);
  EXPECT_THAT(outcome.err, HasSubstr("--rank: --method ia3 has none"));
}

TEST_F(BinaryTest, AFailedJobIsExitCodeOne) {
  engine_.fine_tuning.job.state = JobState::kFailed;
  engine_.fine_tuning.job.error = absl::InternalError("loss is not finite");
  engine_.fine_tuning.Emit({.kind = JobEventKind::kStateChanged, .state = JobState::kFailed});
  engine_.fine_tuning.End();
  const Outcome outcome = Run("jobs watch job-1" + Server());
  EXPECT_EQ(outcome.code, 1);
  EXPECT_EQ(outcome.err, "tandem: job job-1 failed: loss is not finite (INTERNAL)\n");
}

TEST_F(BinaryTest, AMissingDataFileIsNamed) {
  const Outcome outcome = Run("tune /no/data.jsonl --as support" + Server());
  EXPECT_EQ(outcome.code, 1);
  EXPECT_THAT(outcome.err, StartsWith("tandem: /no/data.jsonl: cannot open: No such file or directory"));
}

TEST_F(BinaryTest, InterruptingAWatchDetaches) {
  // The shell waits for the watcher to be there by the fake's own word, given here as a line in a pipe.
  const std::string go = testing::TempDir() + "/go";
  std::remove(go.c_str());
  ASSERT_EQ(std::system(("mkfifo " + go).c_str()), 0);
  std::thread interrupter([&] {
    engine_.fine_tuning.WaitForWatchers(1);
    FILE* const file = std::fopen(go.c_str(), "w");
    std::fclose(file);
  });
  const Outcome outcome = Run("jobs watch job-1" + Server() + " & read line < " + go + "; kill -INT $!; wait $!");
  interrupter.join();
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_THAT(outcome.out, HasSubstr("detached: the job goes on\n  watch it   tandem jobs watch job-1\n"));
  engine_.fine_tuning.WaitForWatchers(0);
}

TEST_F(BinaryTest, JobsAdaptersAndStatusAsText) {
  EXPECT_THAT(Run("jobs" + Server()).out, HasSubstr("job-1  support  queued"));
  EXPECT_THAT(Run("jobs show job-1" + Server()).out, HasSubstr("adapter    support"));
  EXPECT_EQ(Run("jobs cancel job-1" + Server()).out, "job job-1 is cancelling\n");
  EXPECT_THAT(Run("adapters" + Server()).out, StartsWith("no adapters yet"));
  EXPECT_EQ(Run("adapters load support some/dir" + Server()).out, "loaded support, generation 1\n");
  EXPECT_THAT(Run("adapters list" + Server()).out, HasSubstr("q_proj,v_proj"));
  EXPECT_EQ(Run("adapters unload support" + Server()).out, "unloaded support\n");
  EXPECT_THAT(Run("status" + Server()).out, HasSubstr("demo, 5.0M parameters, bf16, context 512 tokens"));
}

TEST_F(BinaryTest, ModelsAsText) {
  EXPECT_THAT(Run("models" + Server()).out, HasSubstr("demo   ready        5.0M  bf16       512"));
  EXPECT_THAT(Run("models show demo" + Server()).out, HasSubstr("path        models/demo\n"));
  EXPECT_EQ(Run("models load models/other" + Server()).err,
            "tandem: model 'demo' is loaded and one is served at a time, want it unloaded first: tandem models unload "
            "demo (FAILED_PRECONDITION)\n");
  EXPECT_EQ(Run("models unload demo --grace 0.5" + Server()).out, "unloaded demo\n");
  EXPECT_EQ(Run("models" + Server()).out, "no model is loaded: tandem models load PATH\n");
  EXPECT_THAT(Run("status" + Server()).out, HasSubstr("no model serves"));
  EXPECT_THAT(Run("models load models/other --as mine" + Server()).out, StartsWith("loaded mine in 0.0 s: 5.0M"));
  EXPECT_THAT(Run("models list" + Server()).out, HasSubstr("mine"));
}

TEST_F(BinaryTest, TheServerMayComeFromTheEnvironment) {
  const Outcome outcome = Run("status --json", "TANDEM_SERVER=127.0.0.1:" + std::to_string(server_->port()));
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  const absl::StatusOr<Json> status = ParseJson(outcome.out);
  ASSERT_TRUE(status.ok()) << status.status();
  EXPECT_EQ((*status)["model"]["name"], "demo");
}

TEST_F(BinaryTest, OptionsBeforeAProgramOfItsOwnAreRefused) {
  const Outcome outcome = Run("--json bench simulate --cost x");
  EXPECT_EQ(outcome.code, 1);
  EXPECT_THAT(outcome.err, HasSubstr("want them behind it: tandem bench simulate"));
}

TEST_F(BinaryTest, ASimulationOfNothingIsRefused) {
  for (const std::string option : {"--window 0", "--sample-tokens 0", "--kv-blocks 0", "--duration 0"}) {
    const Outcome outcome = Run("bench simulate --cost x " + option);
    EXPECT_EQ(outcome.code, 2) << option;
    EXPECT_THAT(outcome.err, StartsWith(option.substr(0, option.find(' ')) + ": Value 0 not in range ")) << option;
  }
}

}  // namespace
}  // namespace tandem
