// A small engine with the demo model on MakeTestBackend's device, a request and a job in one call each.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/engine.h"
#include "engine/recording.h"
#include "test_backend.h"

namespace tandem {

class CudaEngineTest : public testing::Test {
 protected:
  CudaEngineTest() : directory_(std::filesystem::path(testing::TempDir()) / absl::StrCat("cuda_engine.", getpid())) {
    EngineOptions options;
    options.model_path = std::string(TANDEM_SOURCE_DIR) + "/models/demo";
    options.max_context = 128;
    options.kv_capacity_tokens = 512;
    options.scheduler.max_batch_rows = 64;
    options.training = {.forward_window = 32, .backward_window = 32};
    options.adapters_directory = directory_.string();
    options.on_device_lost = [this] { lost_.Notify(); };
    auto created = Engine::Create(options, MakeTestBackend(1));
    EXPECT_TRUE(created.ok()) << created.status();
    engine_ = *std::move(created);
    engine_->Start();
  }
  ~CudaEngineTest() override {
    engine_.reset();
    std::filesystem::remove_all(directory_);
  }

  GenerateRequest Request(const std::string& prompt, int max_tokens) {
    GenerateRequest request;
    request.request_id = absl::StrCat("r", ++last_request_);
    request.prompt = *engine_->tokenizer().Encode(prompt, SpecialTokens::kAdd);
    request.sampling.temperature = 0;
    request.stop.max_tokens = max_tokens;
    return request;
  }
  std::shared_ptr<RecordingGeneration> Start(GenerateRequest request) {
    auto sink = std::make_shared<RecordingGeneration>();
    const absl::Status status = engine_->Generate(std::move(request), sink);
    EXPECT_TRUE(status.ok()) << status;
    return sink;
  }
  std::shared_ptr<RecordingGeneration> Generate(const std::string& prompt, int max_tokens) {
    return Start(Request(prompt, max_tokens));
  }

  std::shared_ptr<RecordingWatcher> Train(const std::string& name, int steps) {
    JobSpec spec;
    spec.adapter_name = name;
    spec.data_name = "test.jsonl";
    for (int i = 0; i < 2; ++i) {
      spec.data += absl::StrCat("{\"prompt\": \"The ", i, ". word is\", \"completion\": \" ahoy\"}\n");
    }
    spec.peft = {.rank = 4, .alpha = 8, .target_modules = {"q_proj", "down_proj"}};
    spec.hyperparameters.max_steps = steps;
    spec.hyperparameters.max_length = 64;
    spec.hyperparameters.gradient_accumulation = 2;
    spec.hyperparameters.learning_rate = 1e-2;
    const auto job = engine_->CreateJob(std::move(spec));
    EXPECT_TRUE(job.ok()) << job.status();
    auto watcher = std::make_shared<RecordingWatcher>();
    EXPECT_TRUE(engine_->WatchJob(job->id, 1, watcher).ok());
    return watcher;
  }

  static std::vector<double> Losses(const std::vector<JobEvent>& events) {
    std::vector<double> losses;
    for (const JobEvent& event : events) {
      if (event.kind == JobEventKind::kStep) losses.push_back(event.loss);
    }
    return losses;
  }

  const std::filesystem::path directory_;
  absl::Notification lost_;
  std::unique_ptr<Engine> engine_;
  int last_request_ = 0;
};

}  // namespace tandem
