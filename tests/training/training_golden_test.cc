// Jobs on a real model against peft and torch (tests/golden/make.py, make_methods.py): the loss curve and the adapter
// at the end, with the work cut and interleaved at random.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <deque>
#include <map>
#include <random>

#include "adapter/peft_files.h"
#include "golden/golden.h"
#include "gtest/gtest.h"
#include "model/model.h"
#include "test_backend.h"
#include "training/recording_sink.h"
#include "training/training_fixture.h"

namespace tandem {
namespace {

constexpr int kNumBlocks = 64;
constexpr int kBlockSize = 16;

struct Outcome {
  std::vector<JobEvent> steps;
  AdapterWeights weights;
};

class TrainingGoldenTest : public ::testing::TestWithParam<const char*> {
 protected:
  TrainingGoldenTest()
      : golden_(std::string(GetParam())),
        curve_(GoldenJson(std::string(GetParam()) + "/curve.json")),
        model_path_(GoldenPath("models/" + curve_["training"]["base"].get<std::string>())) {}

  PreparedJob Prepared(const LinearShapes& shapes) const {
    const Json& training = curve_["training"];
    PreparedJob job;
    Hyperparameters& h = job.spec.hyperparameters;
    job.spec.adapter_name = "golden";
    h.max_steps = training["steps"].get<int>();
    h.micro_batch = training["samples_per_step"].get<int>();
    h.learning_rate = training["learning_rate"].get<double>();
    h.warmup_steps = training["warmup_steps"].get<int>();
    h.weight_decay = training["weight_decay"].get<double>();
    h.beta1 = training["beta1"].get<double>();
    h.beta2 = training["beta2"].get<double>();
    h.epsilon = training["epsilon"].get<double>();
    h.max_grad_norm = training["max_grad_norm"].get<double>();
    h.shuffle = false;
    auto weights = ReadPeftAdapter(GoldenPath(std::string(GetParam()) + "/init"), shapes);
    EXPECT_TRUE(weights.ok()) << weights.status();
    job.weights = std::move(*weights);
    for (int i = 0; i < curve_["num_samples"].get<int>(); ++i) job.dataset.samples.push_back(SampleOf(i));
    for (const Sample& sample : job.dataset.samples) {
      job.dataset.max_rows = std::max(job.dataset.max_rows, sample.num_rows());
    }
    return job;
  }

  Sample SampleOf(int i) const {
    const std::string name = "sample." + std::to_string(i);
    const std::vector<int32_t> ids = golden_.ints(name + ".ids"), labels = golden_.ints(name + ".labels");
    Sample sample;
    sample.tokens.assign(ids.begin(), ids.end() - 1);
    sample.labels.assign(labels.begin() + 1, labels.end());
    sample.num_learned = static_cast<int>(
        std::count_if(sample.labels.begin(), sample.labels.end(), [](int32_t l) { return l != kIgnoredLabel; }));
    sample.line = i + 1;
    return sample;
  }

  // Runs the golden's job to its end, alone or beside a second one, with everything or a random part of it granted.
  Outcome Train(unsigned seed, int num_jobs, TrainingOptions options) const {
    const TemporaryDirectory directory;
    const std::unique_ptr<Backend> backend = MakeTestBackend(1);
    AdapterStore store(*backend, LoadModelDesc(model_path_)->linear_shapes());
    const auto model = Model::Load(
        model_path_, {.max_batch_rows = 512, .kv_blocks = kNumBlocks, .kv_block_size = kBlockSize}, *backend, store);
    CHECK(model.ok()) << model.status();
    BlockPool pool(kNumBlocks, kBlockSize);
    SequenceIds ids;
    JobRegistry registry([] { return absl::UnixEpoch(); });
    ManualExecutor io;
    options.max_running_jobs = num_jobs;
    TrainingSource source({.desc = &(*model)->desc(),
                           .activations = (*model)->activation_dtype(),
                           .backend = backend.get(),
                           .pool = &pool,
                           .sequence_ids = &ids,
                           .registry = &registry,
                           .row_norms = &(*model)->row_norms(),
                           .publication = {.store = &store,
                                           .registry = &registry,
                                           .io = &io,
                                           .adapters_dir = directory.path(),
                                           .base_model = "golden"},
                           .options = options});
    const auto sink = std::make_shared<RecordingSink>();
    for (int i = 0; i < num_jobs; ++i) {
      PreparedJob job = Prepared(store.shapes());
      if (i > 0) {
        job.spec.adapter_name = "other";
        job.spec.hyperparameters.shuffle = true;
      }
      const JobId id = registry.Create(InfoOf(job), "").number;
      if (i == 0) registry.Watch(JobRegistry::IdOf(id), 1, sink).IgnoreError();
      source.Enqueue(id, std::move(job));
    }
    std::mt19937 random(seed);
    // Now and then a batch is launched before the one before it is committed.
    std::deque<std::pair<Batch, StepResult>> in_flight;
    while (source.running_jobs() > 0) {
      Batch batch;
      source.Emit(Grant(source.CollectOffers({}), seed, random), batch);
      StepResult result = (*model)->Run(batch);
      source.Launched(batch, result.backward_skipped);
      in_flight.emplace_back(std::move(batch), std::move(result));
      for (const size_t most = seed != 0 && random() % 2 == 0 ? 1 : 0; in_flight.size() > most; in_flight.pop_front()) {
        source.Commit(in_flight.front().first, in_flight.front().second, {});
      }
    }
    io.RunAll();

    Outcome outcome;
    for (const JobEvent& event : sink->events()) {
      if (event.kind == JobEventKind::kStep) outcome.steps.push_back(event);
    }
    auto weights = ReadPeftAdapter((*store.Acquire("golden"))->info().path, store.shapes());
    CHECK(weights.ok()) << weights.status();
    outcome.weights = std::move(*weights);
    return outcome;
  }

  // Everything for seed 0.
  static Grants Grant(const Offers& offers, unsigned seed, std::mt19937& random) {
    const auto part = [&](int most) {
      return seed == 0 ? most : static_cast<int>(random() % static_cast<unsigned>(most + 1));
    };
    Grants grants;
    for (const Offer& offer : offers.spans) {
      if (const int rows = part(offer.ready_rows); rows > 0) grants.spans.push_back({offer.sequence, rows});
    }
    for (const BackwardOffer& offer : offers.backward) {
      const int units = part(static_cast<int>(offer.units.size()));
      if (units > 0) grants.backward.push_back({offer.sequence, units});
    }
    return grants;
  }

  void ExpectGolden(const Outcome& outcome) const {
    const Json& want = curve_["steps"];
    ASSERT_EQ(outcome.steps.size(), want.size());
    for (size_t t = 0; t < want.size(); ++t) {
      const double loss = want[t]["loss"].get<double>(), norm = want[t]["gradient_norm"].get<double>();
      EXPECT_NEAR(outcome.steps[t].loss, loss, 1e-4) << "step " << t;
      EXPECT_NEAR(outcome.steps[t].gradient_norm, norm, 1e-4 * norm) << "step " << t;
      EXPECT_DOUBLE_EQ(outcome.steps[t].learning_rate, want[t]["learning_rate"].get<double>()) << "step " << t;
    }
    const auto final_weights =
        ReadPeftAdapter(GoldenPath(std::string(GetParam()) + "/final"), LoadModelDesc(model_path_)->linear_shapes());
    ASSERT_TRUE(final_weights.ok()) << final_weights.status();
    ASSERT_EQ(outcome.weights.bypasses().size(), final_weights->bypasses().size());
    for (size_t i = 0; i < final_weights->bypasses().size(); ++i) {
      const BypassWeights &got = outcome.weights.bypasses()[i], &peft = final_weights->bypasses()[i];
      EXPECT_LE(NormError(got.a, peft.a), 1e-4) << "A " << i;
      EXPECT_LE(NormError(got.b, peft.b), 1e-4) << "B " << i;
      EXPECT_LE(NormError(got.factor, peft.factor), 1e-4) << "factor " << i;
    }
  }

  // 0 of parameters that the method does not have.
  static double NormError(const Tensor& got, const Tensor& want) {
    EXPECT_EQ(got.num_elements(), want.num_elements());
    double error = 0, norm = 0;
    for (int64_t i = 0; i < want.num_elements(); ++i) {
      const double difference = static_cast<double>(got.f32()[i]) - want.f32()[i];
      error += difference * difference;
      norm += static_cast<double>(want.f32()[i]) * want.f32()[i];
    }
    return norm == 0 ? std::sqrt(error) : std::sqrt(error / norm);
  }

  const Golden golden_;
  const Json curve_;
  const std::string model_path_;
};

TEST_P(TrainingGoldenTest, WholeSamplesTrainAsPeftAndTorchDo) {
  ExpectGolden(Train(0, 1, {.forward_window = 512, .backward_window = 512}));
}

TEST_P(TrainingGoldenTest, SmallWindowsTrainAsPeftAndTorchDo) {
  ExpectGolden(Train(0, 1, {.forward_window = 7, .backward_window = 16}));
}

// Bit for bit, but for the order in which a sample's loss is summed.
TEST_P(TrainingGoldenTest, HowTheWorkIsCutAndInterleavedChangesNoBit) {
  const TrainingOptions options{.forward_window = 40, .backward_window = 16};
  const Outcome want = Train(0, 1, options);
  ExpectGolden(want);
  for (const unsigned seed : {1u, 2u}) {
    const Outcome got = Train(seed, 2, options);
    ASSERT_EQ(got.steps.size(), want.steps.size());
    for (size_t t = 0; t < want.steps.size(); ++t) {
      EXPECT_DOUBLE_EQ(got.steps[t].loss, want.steps[t].loss) << "step " << t;
      EXPECT_EQ(got.steps[t].gradient_norm, want.steps[t].gradient_norm) << "step " << t;
    }
    for (size_t i = 0; i < want.weights.bypasses().size(); ++i) {
      const BypassWeights &a = got.weights.bypasses()[i], &b = want.weights.bypasses()[i];
      EXPECT_EQ(std::memcmp(a.a.data(), b.a.data(), b.a.size_bytes()), 0) << i;
      EXPECT_EQ(std::memcmp(a.b.data(), b.b.data(), b.b.size_bytes()), 0) << i;
      EXPECT_EQ(std::memcmp(a.factor.data(), b.factor.data(), b.factor.size_bytes()), 0) << i;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Adapters, TrainingGoldenTest,
                         ::testing::Values("lora/qv_rank4", "lora/all_rank3", "adapters/dora_all", "adapters/ia3",
                                           "adapters/ia3_all", "adapters/bottleneck"));

}  // namespace
}  // namespace tandem
