#include "training/sample_pipeline.h"

#include <map>
#include <random>
#include <tuple>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace tandem {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Pair;

constexpr int kLayers = 3;
constexpr int kBlockSize = 4;
constexpr AdapterRef kAdapter{.id = 5, .generation = 1};

ModelDesc TinyDesc() {
  ModelDesc desc;
  desc.hidden = 4;
  desc.ffn = 4;
  desc.num_layers = kLayers;
  desc.num_heads = 1;
  desc.num_kv_heads = 1;
  desc.head_dim = 4;
  desc.vocab = 16;
  return desc;
}

Sample MakeSample(int num_rows, int first_token) {
  Sample sample;
  for (int i = 0; i < num_rows; ++i) {
    sample.tokens.push_back(first_token + i);
    sample.labels.push_back(first_token + i + 1);
  }
  sample.num_learned = num_rows;
  return sample;
}

class SamplePipelineTest : public ::testing::Test {
 protected:
  static constexpr int kNumBlocks = 20;

  const std::unique_ptr<Backend> backend_ = CreateCpuBackend(1);

  std::unique_ptr<SamplePipeline> Make(int num_tapes, PipelineOptions options = {}) {
    options.job = 9;
    options.num_layers = kLayers;
    std::vector<Tape> tapes;
    for (int i = 0; i < num_tapes; ++i) tapes.emplace_back(*backend_, TinyDesc(), DType::kF32, 64);
    return std::make_unique<SamplePipeline>(options, std::move(tapes), &gradients_, &pool_, &ids_);
  }

  static Offers OffersOf(const SamplePipeline& pipeline) {
    Offers offers;
    pipeline.AppendOffers(offers);
    return offers;
  }

  static Batch Emit(SamplePipeline& pipeline, const Grants& grants) {
    Batch batch;
    for (const SpanGrant& grant : grants.spans) EXPECT_TRUE(pipeline.Emit(grant, kAdapter, batch));
    for (const BackwardGrant& grant : grants.backward) EXPECT_TRUE(pipeline.Emit(grant, kAdapter, batch));
    return batch;
  }

  // The loss of a row is its token.
  static std::vector<SamplePipeline::Finished> Commit(SamplePipeline& pipeline, const Batch& batch) {
    std::vector<SamplePipeline::Finished> finished;
    for (const Span& span : batch.spans) pipeline.Launched(span);
    for (const BackwardUnit& unit : batch.backward) pipeline.Launched(unit);
    for (const Span& span : batch.spans) {
      double loss = 0;
      for (int row = 0; row < span.num_rows; ++row) loss += batch.token_ids[span.first_row + row];
      pipeline.Commit(span, loss);
    }
    for (const BackwardUnit& unit : batch.backward) {
      if (const auto done = pipeline.Commit(unit); done.has_value()) finished.push_back(*done);
    }
    return finished;
  }

  // Grants everything on offer.
  static std::vector<SamplePipeline::Finished> Step(SamplePipeline& pipeline) {
    const Offers offers = OffersOf(pipeline);
    Grants grants;
    for (const Offer& offer : offers.spans) grants.spans.push_back({offer.sequence, offer.ready_rows});
    for (const BackwardOffer& offer : offers.backward) {
      grants.backward.push_back({offer.sequence, static_cast<int>(offer.units.size())});
    }
    return Commit(pipeline, Emit(pipeline, grants));
  }

  std::vector<LayerGradients> gradients_{kLayers};
  BlockPool pool_{kNumBlocks, kBlockSize};
  SequenceIds ids_;
};

TEST_F(SamplePipelineTest, ForwardIsOfferedByWindowsAndBlocksOnce) {
  const Sample sample = MakeSample(10, 0);
  const auto pipeline = Make(2, {.forward_window = 6, .priority = 3});
  pipeline->Begin({&sample});
  Offers offers = OffersOf(*pipeline);
  ASSERT_EQ(offers.spans.size(), 1u);
  EXPECT_EQ(offers.spans[0].kind, SpanKind::kTrainForward);
  EXPECT_EQ(offers.spans[0].ready_rows, 6);
  EXPECT_EQ(offers.spans[0].first_position, 0);
  EXPECT_EQ(offers.spans[0].blocks_to_reserve, 3);
  EXPECT_EQ(offers.spans[0].priority, 3);
  EXPECT_EQ(offers.blocks_held, 0);
  EXPECT_THAT(offers.backward, IsEmpty());

  Step(*pipeline);
  offers = OffersOf(*pipeline);
  EXPECT_EQ(offers.spans[0].ready_rows, 4);
  EXPECT_EQ(offers.spans[0].first_position, 6);
  EXPECT_EQ(offers.spans[0].blocks_to_reserve, 0);
  EXPECT_EQ(offers.blocks_held, 3);
  EXPECT_EQ(pool_.used(), 3);
}

TEST_F(SamplePipelineTest, ASpanCarriesItsRowsTokensAndLabels) {
  const Sample sample = MakeSample(5, 100);
  const auto pipeline = Make(1);
  pipeline->Begin({&sample});
  const SequenceId id = OffersOf(*pipeline).spans[0].sequence;
  Commit(*pipeline, Emit(*pipeline, {.spans = {{id, 2}}, .backward = {}}));
  Batch batch;
  batch.token_ids = {7};  // another source's row
  batch.labels = {kIgnoredLabel};
  ASSERT_TRUE(pipeline->Emit(SpanGrant{id, 3}, kAdapter, batch));
  const Span& span = batch.spans[0];
  EXPECT_EQ(span.sequence, id);
  EXPECT_EQ(span.adapter, kAdapter);
  EXPECT_EQ(span.kind, SpanKind::kTrainForward);
  EXPECT_EQ(span.first_row, 1);
  EXPECT_EQ(span.num_rows, 3);
  EXPECT_EQ(span.first_position, 2);
  EXPECT_EQ(span.blocks.size(), 2u);
  EXPECT_EQ(span.tape->length(), 5);
  EXPECT_THAT(batch.token_ids, ElementsAre(7, 102, 103, 104));
  EXPECT_THAT(batch.labels, ElementsAre(kIgnoredLabel, 103, 104, 105));
}

TEST_F(SamplePipelineTest, UnitsRunLayerByLayerDownToTheLowestAndWindowsFromTheLast) {
  const Sample sample = MakeSample(10, 0);
  const auto pipeline = Make(1, {.lowest_layer = 1, .backward_window = 4});
  pipeline->Begin({&sample});
  Step(*pipeline);
  const Offers offers = OffersOf(*pipeline);
  EXPECT_THAT(offers.spans, IsEmpty());
  ASSERT_EQ(offers.backward.size(), 1u);
  EXPECT_EQ(offers.backward[0].job, 9);
  std::vector<std::pair<int, int>> windows;
  for (const TokenWindow& window : offers.backward[0].units) windows.emplace_back(window.begin, window.end);
  EXPECT_THAT(windows, ElementsAre(Pair(8, 10), Pair(4, 8), Pair(0, 4), Pair(8, 10), Pair(4, 8), Pair(0, 4)));

  const Batch batch = Emit(*pipeline, {.spans = {}, .backward = {{offers.backward[0].sequence, 6}}});
  std::vector<std::tuple<int, int, int>> units;
  for (const BackwardUnit& unit : batch.backward) {
    EXPECT_EQ(unit.job, 9);
    EXPECT_EQ(unit.adapter, kAdapter);
    EXPECT_EQ(unit.blocks.size(), 3u);
    EXPECT_NE(unit.tape, nullptr);
    units.emplace_back(unit.layer, unit.window.begin, unit.window.end);
  }
  using Unit = std::tuple<int, int, int>;
  EXPECT_THAT(units,
              ElementsAre(Unit{2, 8, 10}, Unit{2, 4, 8}, Unit{2, 0, 4}, Unit{1, 8, 10}, Unit{1, 4, 8}, Unit{1, 0, 4}));
}

TEST_F(SamplePipelineTest, WhileASampleIsInBackwardTheNextIsInForward) {
  const Sample a = MakeSample(5, 0), b = MakeSample(6, 0), c = MakeSample(7, 0);
  const auto pipeline = Make(2);
  pipeline->Begin({&a, &b, &c});
  Step(*pipeline);
  Offers offers = OffersOf(*pipeline);
  ASSERT_EQ(offers.spans.size(), 1u);
  EXPECT_EQ(pipeline->Find(offers.spans[0].sequence), &b);
  EXPECT_EQ(pipeline->Find(offers.backward[0].sequence), &a);
  // b's forward completes first: no tape is free for c.
  Commit(*pipeline, Emit(*pipeline, {.spans = {{offers.spans[0].sequence, 6}}, .backward = {}}));
  offers = OffersOf(*pipeline);
  EXPECT_THAT(offers.spans, IsEmpty());
  ASSERT_EQ(offers.backward.size(), 1u);
  EXPECT_EQ(pipeline->Find(offers.backward[0].sequence), &a);
  Step(*pipeline);
  offers = OffersOf(*pipeline);
  EXPECT_EQ(pipeline->Find(offers.spans[0].sequence), &c);
  EXPECT_EQ(pipeline->Find(offers.backward[0].sequence), &b);
}

TEST_F(SamplePipelineTest, OneTapeRunsSampleAfterSample) {
  const Sample a = MakeSample(5, 0), b = MakeSample(6, 0);
  const auto pipeline = Make(1);
  pipeline->Begin({&a, &b});
  Step(*pipeline);
  EXPECT_THAT(OffersOf(*pipeline).spans, IsEmpty());
  EXPECT_THAT(Step(*pipeline), ::testing::SizeIs(1));
  EXPECT_EQ(pipeline->Find(OffersOf(*pipeline).spans[0].sequence), &b);
}

TEST_F(SamplePipelineTest, GrantsOfOtherSequencesArePassedOver) {
  const Sample sample = MakeSample(5, 0);
  const auto pipeline = Make(1);
  pipeline->Begin({&sample});
  Batch batch;
  EXPECT_FALSE(pipeline->Emit(SpanGrant{77, 1}, kAdapter, batch));
  EXPECT_FALSE(pipeline->Emit(BackwardGrant{77, 1}, kAdapter, batch));
  EXPECT_TRUE(batch.empty());
  EXPECT_EQ(pipeline->Find(77), nullptr);
}

TEST_F(SamplePipelineTest, AFinishedSampleBringsItsLossAndReturnsItsBlocks) {
  const Sample a = MakeSample(3, 10);
  const auto pipeline = Make(2);
  pipeline->Begin({&a});
  Step(*pipeline);
  EXPECT_FALSE(pipeline->done());
  const auto finished = Step(*pipeline);
  ASSERT_EQ(finished.size(), 1u);
  EXPECT_EQ(finished[0].sample, &a);
  EXPECT_EQ(finished[0].loss, 10 + 11 + 12);
  EXPECT_TRUE(pipeline->done());
  EXPECT_EQ(pool_.used(), 0);
}

// Whatever part of the offers is granted, and in however many steps: the same rows and units in the same order, every
// row once, never more than two samples in flight, and all blocks back in the end.
TEST_F(SamplePipelineTest, AnySequenceOfGrantsGivesTheSameOrder) {
  std::mt19937 random(1);
  const auto below = [&](int n) { return static_cast<int>(random() % static_cast<unsigned>(n)); };
  using Unit = std::tuple<const Sample*, int, int, int>;
  const std::vector<Sample> samples = {MakeSample(9, 0), MakeSample(1, 20), MakeSample(33, 40), MakeSample(4, 80),
                                       MakeSample(17, 90)};
  std::vector<Unit> expected;
  for (int trial = 0; trial < 300; ++trial) {
    const auto pipeline = Make(1 + trial % 2, {.forward_window = 1 + below(40), .backward_window = 8, .priority = 0});
    pipeline->Begin({&samples[0], &samples[1], &samples[2], &samples[3], &samples[4]});
    std::vector<Unit> units;
    std::map<const Sample*, std::vector<int32_t>> rows;
    std::vector<const Sample*> finished;
    while (!pipeline->done()) {
      const Offers offers = OffersOf(*pipeline);
      EXPECT_EQ(offers.blocks_held, pool_.used());
      EXPECT_LE(offers.spans.size(), 1u);
      Grants grants;
      for (const Offer& offer : offers.spans) {
        EXPECT_LE(offer.blocks_to_reserve, pool_.free());
        if (const int n = below(offer.ready_rows + 1); n > 0) grants.spans.push_back({offer.sequence, n});
      }
      for (const BackwardOffer& offer : offers.backward) {
        const int n = below(static_cast<int>(offer.units.size()) + 1);
        if (n > 0) grants.backward.push_back({offer.sequence, n});
      }
      const Batch batch = Emit(*pipeline, grants);
      for (const Span& span : batch.spans) {
        auto& seen = rows[pipeline->Find(span.sequence)];
        EXPECT_EQ(span.first_position, static_cast<int>(seen.size()));
        const auto first = batch.token_ids.begin() + span.first_row;
        seen.insert(seen.end(), first, first + span.num_rows);
      }
      for (const BackwardUnit& unit : batch.backward) {
        const Sample* sample = pipeline->Find(unit.sequence);
        EXPECT_EQ(rows[sample].size(), sample->tokens.size());
        units.emplace_back(sample, unit.layer, unit.window.begin, unit.window.end);
      }
      for (const auto& done : Commit(*pipeline, batch)) finished.push_back(done.sample);
    }
    if (trial == 0) expected = units;
    EXPECT_EQ(units, expected);
    EXPECT_THAT(finished, ElementsAre(&samples[0], &samples[1], &samples[2], &samples[3], &samples[4]));
    for (const Sample& sample : samples) EXPECT_EQ(rows[&sample], sample.tokens);
    EXPECT_EQ(pool_.used(), 0);
  }
}

// What the blocks of the pool hold is followed: a unit's window must find the K and V of all before its end.
TEST_F(SamplePipelineTest, WhoGivesBlocksBackAtAnyTimeComputesTheirRowsAgainAndNothingElse) {
  std::mt19937 random(2);
  const auto below = [&](int n) { return static_cast<int>(random() % static_cast<unsigned>(n)); };
  const std::vector<Sample> samples = {MakeSample(9, 0), MakeSample(1, 20), MakeSample(33, 40), MakeSample(17, 90)};
  std::vector<std::tuple<const Sample*, int, int>> expected;
  std::vector<double> expected_losses;
  int recomputed = 0;
  for (int trial = 0; trial < 300; ++trial) {
    const auto pipeline = Make(1 + trial % 2, {.forward_window = 1 + below(40), .backward_window = 8, .priority = 0});
    pipeline->Begin({&samples[0], &samples[1], &samples[2], &samples[3]});
    std::vector<std::tuple<const Sample*, int, int>> units;
    std::vector<double> losses;
    std::map<std::pair<BlockId, int>, int32_t> kv;
    while (!pipeline->done()) {
      const Offers held = OffersOf(*pipeline);
      for (const HeldBlocks& one : held.held) {
        if (trial == 0 || below(6) > 0) continue;
        const int free = pool_.free();
        EXPECT_TRUE(pipeline->Preempt(one.sequence));
        EXPECT_EQ(pool_.free(), free + one.blocks);
      }
      const Offers offers = OffersOf(*pipeline);
      Grants grants;
      for (const Offer& offer : offers.spans) {
        if (const int n = below(offer.ready_rows + 1); n > 0) grants.spans.push_back({offer.sequence, n});
      }
      for (const BackwardOffer& offer : offers.backward) {
        if (below(3) > 0) grants.backward.push_back({offer.sequence, 1});
      }
      const Batch batch = Emit(*pipeline, grants);
      for (const Span& span : batch.spans) {
        for (int i = 0; i < span.num_rows; ++i) {
          const int position = span.first_position + i;
          kv[{span.blocks[position / kBlockSize], position % kBlockSize}] = batch.token_ids[span.first_row + i];
          if (span.tape == nullptr) {
            EXPECT_EQ(batch.labels[span.first_row + i], kIgnoredLabel);
          }
        }
        recomputed += span.tape == nullptr ? span.num_rows : 0;
      }
      for (const BackwardUnit& unit : batch.backward) {
        const Sample* sample = pipeline->Find(unit.sequence);
        for (int position = 0; position < unit.window.end; ++position) {
          const std::pair<BlockId, int> slot{unit.blocks[position / kBlockSize], position % kBlockSize};
          ASSERT_EQ(kv[slot], sample->tokens[position]);
        }
        units.emplace_back(sample, unit.layer, unit.window.begin);
      }
      for (const auto& done : Commit(*pipeline, batch)) losses.push_back(done.loss);
    }
    if (trial == 0) {
      expected = units;
      expected_losses = losses;
    }
    EXPECT_EQ(units, expected);
    EXPECT_EQ(losses, expected_losses);
    EXPECT_EQ(pool_.used(), 0);
  }
  EXPECT_GT(recomputed, 1000);
  EXPECT_FALSE(Make(1)->Preempt(12345));
}

TEST_F(SamplePipelineTest, ItsEndAtAnyMomentReturnsTheBlocks) {
  const Sample a = MakeSample(9, 0), b = MakeSample(30, 0);
  for (int steps = 0; steps < 6; ++steps) {
    {
      const auto pipeline = Make(2, {.forward_window = 8, .backward_window = 8});
      pipeline->Begin({&a, &b});
      for (int i = 0; i < steps; ++i) Step(*pipeline);
    }
    EXPECT_EQ(pool_.used(), 0);
  }
}

}  // namespace
}  // namespace tandem
