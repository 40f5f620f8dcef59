// What a training job needs around it, small: a backend of one thread, an adapter store, a KV pool, a registry with a
// clock of its own, files in a directory that goes with the fixture, an I/O thread that runs when told to, and in the
// place of the model a function of the batch.
#pragma once

#include <unistd.h>

#include <cstdlib>
#include <deque>
#include <filesystem>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "adapter/adapter_store.h"
#include "gtest/gtest.h"
#include "kv/block_pool.h"
#include "model/tape.h"
#include "training/fake_tokenizer.h"
#include "training/prepare.h"
#include "training/training_source.h"

namespace tandem {

class ManualExecutor : public IoExecutor {
 public:
  void Submit(std::function<void()> task) override { tasks_.push_back(std::move(task)); }
  size_t pending() const { return tasks_.size(); }
  void RunAll() {
    while (!tasks_.empty()) {
      const std::function<void()> task = std::move(tasks_.front());
      tasks_.pop_front();
      task();
    }
  }

 private:
  std::deque<std::function<void()>> tasks_;
};

class TemporaryDirectory {
 public:
  TemporaryDirectory() {
    std::string pattern = ::testing::TempDir() + "/training.XXXXXX";
    EXPECT_NE(mkdtemp(pattern.data()), nullptr);
    path_ = pattern;
  }
  ~TemporaryDirectory() { std::filesystem::remove_all(path_); }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

// Stands in for the model. Losses: 1 for each learned label. Gradients: every unit adds to every element of its layer's
// gradients the product of its rows and a number of its own, so that any unit left out, run twice or run against other
// weights' samples shows.
inline StepResult RunFakeModel(const Batch& batch) {
  StepResult result;
  for (const Span& span : batch.spans) {
    double loss = 0;
    for (int row = span.first_row; row < span.first_row + span.num_rows; ++row) {
      loss += batch.labels[row] != kIgnoredLabel;
    }
    result.losses.push_back(loss);
  }
  for (const BackwardUnit& unit : batch.backward) {
    for (const BypassGradients& gradients : unit.tape->gradients()[unit.layer].linears) {
      for (const TensorView& view : {gradients.da, gradients.db, gradients.dfactor}) {
        for (int64_t i = 0; view.data != nullptr && i < view.shape.num_elements(); ++i) {
          view.f32()[i] += 0.01f * static_cast<float>(unit.window.num_rows() * (1 + i % 3) - unit.layer);
        }
      }
    }
  }
  return result;
}

class TrainingFixture : public ::testing::Test {
 protected:
  static constexpr int kNumBlocks = 40;
  static constexpr int kBlockSize = 4;

  static ModelDesc TinyDesc() {
    ModelDesc desc;
    desc.hidden = 8;
    desc.ffn = 16;
    desc.num_layers = 2;
    desc.num_heads = 2;
    desc.num_kv_heads = 1;
    desc.head_dim = 4;
    desc.vocab = 300;
    desc.max_context = 100;
    return desc;
  }

  // Samples of 3 to 12 rows.
  static JobSpec Spec(const std::string& name = "poet", int num_samples = 5) {
    JobSpec spec;
    spec.adapter_name = name;
    spec.data_name = "train.jsonl";
    for (int i = 0; i < num_samples; ++i) spec.data += "{\"text\": \"" + std::string(3 + i * 7 % 10, 'a') + "\"}\n";
    spec.peft = {.rank = 2, .alpha = 4, .target_modules = {"q_proj", "down_proj"}};
    spec.hyperparameters.epochs = 1;
    spec.hyperparameters.max_length = 50;
    return spec;
  }

  PrepareContext context() const {
    return {.desc = &desc_,
            .tokenizer = &tokenizer_,
            .end_token = FakeTokenizer::kFirstPiece + 1,
            .adapters = &store_,
            .max_context = desc_.max_context,
            .max_blocks = kNumBlocks,
            .block_size = kBlockSize};
  }

  PreparedJob Prepare(JobSpec spec) const {
    absl::StatusOr<PreparedJob> job = PrepareJob(std::move(spec), context());
    EXPECT_TRUE(job.ok()) << job.status();
    return std::move(*job);
  }

  Publisher::Parts publication() {
    return {.store = &store_,
            .registry = &registry_,
            .io = &io_,
            .adapters_dir = directory_.path() + "/adapters",
            .base_model = "tiny"};
  }

  TrainingParts parts() {
    return {.desc = &desc_,
            .backend = backend_.get(),
            .pool = &pool_,
            .sequence_ids = &sequence_ids_,
            .registry = &registry_,
            .publication = publication(),
            .options = options_};
  }

  // Registers the job, as the front end does.
  JobId Register(const PreparedJob& job) { return registry_.Create(InfoOf(job), "").number; }

  JobInfo InfoOfJob(JobId id) const { return registry_.Get(JobRegistry::IdOf(id)).value_or(JobInfo()); }

  // A random part of the offers, or with no generator all of them.
  static Grants GrantSome(const Offers& offers, std::mt19937* random) {
    const auto part = [&](int most) {
      return random == nullptr ? most : static_cast<int>((*random)() % static_cast<unsigned>(most + 1));
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

  const ModelDesc desc_ = TinyDesc();
  const FakeTokenizer tokenizer_{{"<b>", "<e>"}, /*bos=*/"<b>"};
  const TemporaryDirectory directory_;
  absl::Time now_ = absl::UnixEpoch();
  const std::unique_ptr<Backend> backend_ = CreateCpuBackend(1);
  AdapterStore store_{*backend_, desc_.linear_shapes(), [this] { return now_; }};
  BlockPool pool_{kNumBlocks, kBlockSize};
  SequenceIds sequence_ids_;
  JobRegistry registry_{[this] { return now_; }};
  ManualExecutor io_;
  TrainingOptions options_{.max_running_jobs = 2, .forward_window = 6, .backward_window = 5};
};

}  // namespace tandem
