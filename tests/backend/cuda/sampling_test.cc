// The same tokens as the CPU backend draws, on every way through the kernels: candidates, the search over the whole
// row, the untruncated draw.
#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <vector>

#include "backend/cuda/cuda_backend.h"
#include "sampling/block.h"

namespace tandem::cuda {
namespace {

std::vector<float> RandomLogits(int vocab, uint64_t seed, float width) {
  std::mt19937_64 random(seed);
  std::normal_distribution<float> normal(0, width);
  std::vector<float> row(vocab);
  for (float& value : row) value = normal(random);
  return row;
}

// One row for each request, all of them `row`.
std::vector<int32_t> Draw(Backend& backend, const std::vector<float>& row, const std::vector<SampleRequest>& requests) {
  const Shape shape = {static_cast<int64_t>(requests.size()), static_cast<int64_t>(row.size())};
  std::vector<float> all;
  for (size_t i = 0; i < requests.size(); ++i) all.insert(all.end(), row.begin(), row.end());
  const TensorView logits = View(static_cast<float*>(backend.Allocate(all.size() * sizeof(float))), shape);
  backend.Upload(View(all.data(), shape), logits);
  std::vector<int32_t> ids(requests.size(), -77);
  backend.Sample(logits, requests, ids, {});
  EXPECT_TRUE(backend.Finish().ok());
  backend.Free(logits.data);
  return ids;
}

void ExpectSameTokens(int vocab, float width, const std::vector<SamplingParams>& all, int draws) {
  const auto cpu = CreateCpuBackend(1);
  auto cuda = CudaBackend::Create({.slab_bytes = 0});
  ASSERT_TRUE(cuda.ok()) << cuda.status();
  const std::vector<float> row = RandomLogits(vocab, 3, width);
  std::vector<SampleRequest> requests;
  for (const SamplingParams& params : all) {
    for (int i = 0; i < draws; ++i) requests.push_back({.row = i, .params = params, .index = i});
  }
  const std::vector<int32_t> want = Draw(*cpu, row, requests), got = Draw(**cuda, row, requests);
  for (size_t i = 0; i < requests.size(); ++i)
    EXPECT_EQ(got[i], want[i]) << "request " << i / draws << ", draw " << i % draws;
}

const std::vector<SamplingParams> kCuts = {
    {.temperature = 0},
    {.temperature = 0.9f, .seed = 1},
    {.top_k = 40, .seed = 2},
    {.top_p = 0.9f, .seed = 3},
    {.min_p = 0.1f, .seed = 4},
    {.typical_p = 0.7f, .seed = 5},
    {.temperature = 1.3f, .top_k = 50, .top_p = 0.8f, .min_p = 0.01f, .typical_p = 0.9f, .seed = 6}};

TEST(CudaSampling, DrawsTheTokensOfTheCpuFromASmallVocabulary) {
  ExpectSameTokens(300, 2, kCuts, 20);
}

TEST(CudaSampling, DrawsTheTokensOfTheCpuFromCandidates) {
  ExpectSameTokens(6000, 3, kCuts, 3);
}

// Flat rows: more tokens than candidates may be.
TEST(CudaSampling, DrawsTheTokensOfTheCpuFromTheWholeRow) {
  ExpectSameTokens(5003, 0.3f,
                   {{.top_k = 2000, .seed = 1},
                    {.top_p = 0.9f, .seed = 2},
                    {.typical_p = 0.8f, .seed = 3},
                    {.temperature = 2, .top_k = 3000, .top_p = 0.9f, .min_p = 0.3f, .typical_p = 0.9f, .seed = 4}},
                   2);
}

TEST(SamplingOrder, RanksRunFromTheLargestLogitAndEqualsById) {
  using namespace kernels;
  const float infinity = INFINITY;
  const std::vector<float> falling = {infinity, 3e38f, 1.5f, 1e-40f, 0.0f, -1e-40f, -1.5f, -3e38f, -infinity};
  for (size_t i = 0; i + 1 < falling.size(); ++i) EXPECT_LT(RankOf(falling[i], 9), RankOf(falling[i + 1], 3)) << i;
  EXPECT_LT(RankOf(2, 3), RankOf(2, 4));
  EXPECT_EQ(RankOf(0.0f, 5), RankOf(-0.0f, 5));
  for (const float value : falling) EXPECT_EQ(LogitOfRank(RankOf(value, kMaxVocab - 1)), value);
  EXPECT_EQ(IdOfRank(RankOf(-7, kMaxVocab - 1)), kMaxVocab - 1);
}

TEST(SamplingOrder, ADrawFallsWithinTheMass) {
  using namespace kernels;
  const Fixed masses[] = {1, 2, Fixed{1} << 44, (Fixed{1} << 62) - 1, Fixed{1} << 62};
  for (const Fixed mass : masses) {
    EXPECT_EQ(DrawOf(0, mass), 0u);
    EXPECT_LT(DrawOf(1 - 0x1p-53, mass), mass);
    EXPECT_EQ(ShareOf(mass, 1e-30f), 1u);
    EXPECT_LE(ShareOf(mass, 1 - 0x1p-24f), mass);
  }
}

TEST(CudaSampling, WhatAStepDrawsIsEmbeddedByTheNextOneBeforeAnybodyHasSeenIt) {
  const auto created = CudaBackend::Create({.slab_bytes = 0});
  ASSERT_TRUE(created.ok()) << created.status();
  CudaBackend& backend = **created;
  constexpr int kVocab = 40, kWidth = 8;
  std::vector<float> table(kVocab * kWidth), rows(5 * kVocab, 0.0f);
  for (size_t i = 0; i < table.size(); ++i) table[i] = static_cast<float>(i / kWidth);
  const std::vector<int32_t> want = {17, 3, 39, 0, 8};
  for (size_t i = 0; i < want.size(); ++i) rows[i * kVocab + want[i]] = 1;
  rows[3 * kVocab] = std::nanf("");  // nothing can be drawn: row 0 stands for it
  const auto embeddings = backend.CreateMatrix(View(table.data(), {kVocab, kWidth}));
  const TensorView logits = View(static_cast<float*>(backend.Allocate(rows.size() * sizeof(float))), {5, kVocab});
  const TensorView x = View(static_cast<float*>(backend.Allocate(6 * kWidth * sizeof(float))), {6, kWidth});
  backend.Upload(View(rows.data(), logits.shape), logits);
  const std::vector<SampleRequest> requests(5, {.params = {.temperature = 0}});
  std::vector<int32_t> ids(5, -77);
  const auto draw = [&](int first, int count) {
    backend.Sample(logits.Rows(first, count), std::span(requests).first(count), std::span(ids).subspan(first, count),
                   {});
  };
  draw(0, 3);
  draw(3, 2);
  backend.EndStep();
  backend.Embedding(std::vector<int32_t>{~4, 5, ~0, ~2, ~3, ~1}, *embeddings, x);
  std::vector<float> got(6 * kWidth);
  ASSERT_TRUE(backend.AwaitStep().ok());
  backend.Download(x, View(got.data(), x.shape));
  std::vector<float> first_column;
  for (size_t i = 0; i < got.size(); i += kWidth) first_column.push_back(got[i]);
  EXPECT_EQ(first_column, (std::vector<float>{8, 5, 17, 39, 0, 3}));
  EXPECT_EQ(ids, (std::vector<int32_t>{17, 3, 39, kLogitsNotFinite, 8}));
  EXPECT_TRUE(backend.Finish().ok());
  backend.Free(logits.data);
  backend.Free(x.data);
}

}  // namespace
}  // namespace tandem::cuda
