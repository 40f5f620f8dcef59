#include "sched/coserving.h"

#include <functional>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "sched/offers.h"

namespace tandem {
namespace {

// 16 rows an iteration, 8 of them prefill, 4 for training beside inference; 4 layers; 100 blocks, training at most 50.
struct Case {
  std::string name;
  Offers inference;
  Offers training;
  std::string want;  // ToString(Plan)
  std::function<void(SchedulerOptions&, SchedulerInput&)> change = nullptr;
};

void PrintTo(const Case& c, std::ostream* out) {
  *out << c.name;
}

class CoservingTest : public testing::TestWithParam<Case> {};

TEST_P(CoservingTest, Plans) {
  SchedulerOptions options{.max_batch_rows = 16,
                           .max_prefill_rows = 8,
                           .training_rows_beside_inference = 4,
                           .max_running_requests = 6,
                           .training_blocks_limit = 0.5};
  SchedulerInput input{.inference = GetParam().inference,
                       .training = GetParam().training,
                       .num_blocks = 100,
                       .free_blocks = 100,
                       .num_layers = 4};
  if (GetParam().change) GetParam().change(options, input);
  EXPECT_EQ(ToString(PlanCoserving(options, input)), GetParam().want);
}

std::string CaseName(const testing::TestParamInfo<Case>& info) {
  return info.param.name;
}

INSTANTIATE_TEST_SUITE_P(
    Inference, CoservingTest,
    testing::Values(Case{.name = "NothingOfferedNothingPlanned", .want = "| |"},
                    Case{.name = "EveryDecodeRuns",
                         .inference = {.spans = {Decode(1), Decode(2), Decode(3)}},
                         .want = "1:1 2:1 3:1 | |"},
                    Case{.name = "DecodesGoBeforeAnOlderPrefill",
                         .inference = {.spans = {Prefill(1, 5), Decode(2)}},
                         .want = "2:1 1:5 | |"},
                    Case{
                        .name = "PrefillIsCutIntoChunks", .inference = {.spans = {Prefill(1, 100)}}, .want = "1:8 | |"},
                    Case{.name = "PrefillRowsAreLimitedTogetherNotEach",
                         .inference = {.spans = {Prefill(1, 5), Prefill(2, 5), Prefill(3, 5)}},
                         .want = "1:5 2:3 | |"},
                    Case{.name = "PrefillTakesWhatDecodesLeaveOfTheBatch",
                         .inference = {.spans = {Decode(1), Decode(2), Decode(3), Prefill(4, 9)}},
                         .want = "1:1 2:1 3:1 4:2 | |",
                         .change = [](SchedulerOptions& o, SchedulerInput&) { o.max_batch_rows = 5; }},
                    Case{.name = "EarlierArrivalGoesFirst",
                         .inference = {.spans = {WithArrival(Prefill(1, 6), 20), WithArrival(Prefill(2, 6), 10)}},
                         .want = "2:6 1:2 | |"},
                    Case{.name = "EqualArrivalGoesBySequence",
                         .inference = {.spans = {WithArrival(Prefill(2, 6), 10), WithArrival(Prefill(1, 6), 10)}},
                         .want = "1:6 2:2 | |"},
                    Case{.name = "LowerPriorityNumberGoesBeforeEarlierArrival",
                         .inference = {.spans = {WithPriority(Prefill(1, 6), 1), WithPriority(Prefill(2, 6), 0)}},
                         .want = "2:6 1:2 | |"},
                    Case{.name = "WaitingSequenceIsAdmittedWhereItsWholeReservationFits",
                         .inference = {.spans = {Waiting(1, 3, 10)}},
                         .want = "1:3 | |",
                         .change = [](SchedulerOptions&, SchedulerInput& i) { i.free_blocks = 10; }},
                    Case{.name = "WaitingSequenceIsNotAdmittedWhereOneBlockIsMissing",
                         .inference = {.spans = {Waiting(1, 3, 10)}},
                         .want = "| |",
                         .change = [](SchedulerOptions&, SchedulerInput& i) { i.free_blocks = 9; }},
                    Case{.name = "SmallRequestDoesNotOvertakeALargeOneThatWaits",
                         .inference = {.spans = {Waiting(1, 3, 60), Waiting(2, 3, 1)}},
                         .want = "| |",
                         .change = [](SchedulerOptions&, SchedulerInput& i) { i.free_blocks = 59; }},
                    Case{.name = "AdmittedPrefillGoesOnBehindALargeRequestThatWaits",
                         .inference = {.spans = {Waiting(1, 3, 60), Prefill(2, 3), Decode(3)}},
                         .want = "3:1 2:3 | |",
                         .change = [](SchedulerOptions&, SchedulerInput& i) { i.free_blocks = 59; }},
                    Case{.name = "ReservationsOfOneIterationAddUp",
                         .inference = {.spans = {Waiting(1, 2, 40), Waiting(2, 2, 40), Waiting(3, 2, 40)}},
                         .want = "1:2 2:2 | |"},
                    Case{.name = "RunningRequestsAreLimited",
                         .inference = {.spans = {Decode(1), Prefill(2, 1), Waiting(3, 1, 1), Waiting(4, 1, 1)}},
                         .want = "1:1 2:1 3:1 | |",
                         .change = [](SchedulerOptions& o, SchedulerInput&) { o.max_running_requests = 3; }},
                    Case{.name = "NobodyIsAdmittedWithoutAPrefillRow",
                         .inference = {.spans = {Prefill(1, 8), Waiting(2, 1, 1)}},
                         .want = "1:8 | |"}),
    CaseName);

INSTANTIATE_TEST_SUITE_P(
    Training, CoservingTest,
    testing::Values(
        Case{.name = "AloneItGetsTheWholeBatch", .training = {.spans = {Train(7, 100)}}, .want = "| 7:16 |"},
        Case{.name = "BesideInferenceItGetsItsBudget",
             .inference = {.spans = {Decode(1)}},
             .training = {.spans = {Train(7, 100)}},
             .want = "1:1 | 7:4 |"},
        Case{.name = "InferenceThatCannotRunDoesNotNarrowIt",
             .inference = {.spans = {Waiting(1, 3, 60)}},
             .training = {.spans = {Train(7, 100)}},
             .want = "| 7:16 |",
             .change = [](SchedulerOptions&, SchedulerInput& i) { i.free_blocks = 59; }},
        Case{.name = "InferenceRowsComeOutOfTheBatchFirst",
             .inference = {.spans = {Decode(1), Prefill(2, 99)}},
             .training = {.spans = {Train(7, 100)}},
             .want = "1:1 2:8 | 7:2 |",
             .change = [](SchedulerOptions& o, SchedulerInput&) { o.max_batch_rows = 11; }},
        Case{.name = "FullBatchLeavesItNothing",
             .inference = {.spans = {Prefill(2, 99)}},
             .training = {.spans = {Train(7, 100)}, .backward = {Units(8, 9, 1)}},
             .want = "2:8 | |",
             .change = [](SchedulerOptions& o, SchedulerInput&) { o.max_batch_rows = 8; }},
        Case{.name = "BudgetZeroRunsOnlyWhileInferenceIsIdle",
             .inference = {.spans = {Decode(1)}},
             .training = {.spans = {Train(7, 100)}, .backward = {Units(8, 9, 1)}},
             .want = "1:1 | |",
             .change = [](SchedulerOptions& o, SchedulerInput&) { o.training_rows_beside_inference = 0; }},
        // 16 rows * 4 layers = 64 layer-rows: eight units of 8 rows.
        Case{.name = "BackwardUnitOfOneLayerCostsItsRowsDividedByLayers",
             .training = {.backward = {Units(7, 99, 8)}},
             .want = "| | 7x8"},
        Case{.name = "ForwardAndBackwardGetHalfEach",
             .training = {.spans = {Train(7, 100)}, .backward = {Units(8, 99, 8)}},
             .want = "| 7:8 | 8x4"},
        Case{.name = "ForwardGetsWhatBackwardCannotUse",
             .training = {.spans = {Train(7, 100)}, .backward = {Units(8, 1, 8)}},
             .want = "| 7:14 | 8x1"},
        Case{.name = "BackwardGetsWhatForwardCannotUse",
             .training = {.spans = {Train(7, 2)}, .backward = {Units(8, 99, 8)}},
             .want = "| 7:2 | 8x7"},
        // Half of 64 is 32, a unit of 24 leaves 40 for ten forward rows.
        Case{.name = "ForwardGetsWhatNoWholeUnitFitsInto",
             .training = {.spans = {Train(7, 100)}, .backward = {Units(8, 99, 24)}},
             .want = "| 7:10 | 8x1"},
        // Half of the 16 layer-rows beside inference is 8; the unit takes 12, one forward row is left.
        Case{.name = "FirstUnitRunsWhereItIsLargerThanItsHalf",
             .inference = {.spans = {Decode(1)}},
             .training = {.spans = {Train(7, 100)}, .backward = {Units(8, 99, 12)}},
             .want = "1:1 | 7:1 | 8x1"},
        Case{.name = "FirstUnitRunsWhereItIsLargerThanTheBudget",
             .inference = {.spans = {Decode(1)}},
             .training = {.spans = {Train(7, 100)}, .backward = {Units(8, 99, 500)}},
             .want = "1:1 | | 8x1"},
        Case{.name = "SequencesShareForwardRowsEvenly",
             .training = {.spans = {Train(7, 100), Train(8, 100), Train(9, 100)}},
             .want = "| 7:6 8:5 9:5 |"},
        Case{.name = "RowsThatOneSequenceCannotUseGoToTheOthers",
             .training = {.spans = {Train(7, 100), Train(8, 2), Train(9, 100)}},
             .want = "| 7:7 8:2 9:7 |"},
        Case{.name = "FewerRowsThanSequencesGoToTheFirstOffered",
             .inference = {.spans = {Decode(1)}},
             .training = {.spans = {Train(9, 5), Train(8, 5), Train(7, 5), Train(6, 5), Train(5, 5)}},
             .want = "1:1 | 9:1 8:1 7:1 6:1 |"},
        Case{.name = "LowerPriorityNumberGoesFirst",
             .inference = {.spans = {Decode(1)}},
             .training = {.spans = {WithPriority(Train(7, 5), 1), Train(8, 5)}},
             .want = "1:1 | 8:1 |",
             .change = [](SchedulerOptions& o, SchedulerInput&) { o.training_rows_beside_inference = 1; }},
        Case{.name = "SequencesTakeTurnsInBackward",
             .training = {.backward = {Units(7, 99, 16), Units(8, 99, 16), Units(9, 1, 16)}},
             .want = "| | 7x2 8x1 9x1"}),
    CaseName);

INSTANTIATE_TEST_SUITE_P(
    TrainingBlocks, CoservingTest,
    testing::Values(
        Case{.name = "SequenceIsAdmittedUpToTheLimit", .training = {.spans = {Train(7, 2, 50)}}, .want = "| 7:2 |"},
        Case{.name = "SequenceAboveTheLimitWaits", .training = {.spans = {Train(7, 2, 51)}}, .want = "| |"},
        Case{.name = "BlocksHeldCountTowardsTheLimit",
             .training = {.spans = {Train(7, 2, 30)}, .blocks_held = 21},
             .want = "| |"},
        Case{.name = "FreeBlocksLimitItToo",
             .training = {.spans = {Train(7, 2, 30)}},
             .want = "| |",
             .change = [](SchedulerOptions&, SchedulerInput& i) { i.free_blocks = 29; }},
        Case{.name = "SequencesThatHoldTheirBlocksGoOnAboveTheLimit",
             .training = {.spans = {Train(7, 2, 30), Train(8, 2)}, .blocks_held = 60},
             .want = "| 8:2 |"},
        Case{.name = "SmallSampleDoesNotOvertakeALargeOneThatWaits",
             .training = {.spans = {Train(7, 2, 51), Train(8, 2, 1)}},
             .want = "| |"},
        Case{.name = "InferenceAdmittedInTheSameIterationReservesFirst",
             .inference = {.spans = {Waiting(1, 2, 60)}},
             .training = {.spans = {Train(7, 2, 41)}},
             .want = "1:2 | |"},
        // 30 are free, the head needs 40: everything that comes free is the head's.
        Case{.name = "NothingIsReservedWhileTheHeadLacksBlocks",
             .inference = {.spans = {Waiting(1, 2, 40)}},
             .training = {.spans = {Train(7, 2, 1)}},
             .want = "| |",
             .change = [](SchedulerOptions&, SchedulerInput& i) { i.free_blocks = 30; }},
        // Sequence 1 takes all prefill rows; 2 and 3 will be admitted next: 100 - 20 - 40 - 30 = 10 remain.
        Case{.name = "BlocksAreKeptForAllThatWaitForRows",
             .inference = {.spans = {Waiting(1, 8, 20), Waiting(2, 2, 40), Waiting(3, 2, 30)}},
             .training = {.spans = {Train(7, 2, 11)}},
             .want = "1:8 | |"},
        Case{.name = "WhatRemainsBesideThoseThatWaitForRowsIsTrainings",
             .inference = {.spans = {Waiting(1, 8, 20), Waiting(2, 2, 40), Waiting(3, 2, 30)}},
             .training = {.spans = {Train(7, 2, 10)}},
             .want = "1:8 | 7:2 |"},
        // Of those behind the last running slot only the first is kept for: a long queue must not stop training.
        Case{.name = "OfThoseThatWaitForASlotOnlyTheHeadIsKeptFor",
             .inference = {.spans = {Decode(1), Waiting(2, 2, 60), Waiting(3, 2, 60)}},
             .training = {.spans = {Train(7, 2, 40)}},
             .want = "1:1 | 7:2 |",
             .change = [](SchedulerOptions& o, SchedulerInput&) { o.max_running_requests = 1; }},
        Case{.name = "BehindThoseThatWaitForRowsNothingIsKeptForALackingSlot",
             .inference = {.spans = {Prefill(1, 8), Waiting(2, 2, 40), Waiting(3, 2, 40)}},
             .training = {.spans = {Train(7, 2, 50)}},
             .want = "1:8 | 7:2 |",
             .change = [](SchedulerOptions& o, SchedulerInput&) { o.max_running_requests = 2; }},
        // 20 are free, training holds 60: request 1 would fit beside sequence 8's 25 alone.
        Case{.name = "TrainingGivesBackWhatARequestNeedsAndNoMore",
             .inference = {.spans = {Waiting(1, 2, 50)}},
             .training = {.spans = {Train(8, 2)}, .blocks_held = 60, .held = {{7, 35}, {8, 25}}},
             .want = "1:2 | 8:2 | give 7",
             .change = [](SchedulerOptions&, SchedulerInput& i) { i.free_blocks = 20; }},
        Case{.name = "NothingElseIsGrantedToWhoGivesBack",
             .inference = {.spans = {Waiting(1, 2, 70)}},
             .training = {.spans = {Train(7, 2), Train(8, 2)},
                          .backward = {Units(7, 2, 1)},
                          .blocks_held = 60,
                          .held = {{7, 35}, {8, 25}}},
             .want = "1:2 | | give 7 8",
             .change = [](SchedulerOptions&, SchedulerInput& i) { i.free_blocks = 20; }},
        Case{.name = "TrainingKeepsWhatWouldNotSuffice",
             .inference = {.spans = {Waiting(1, 2, 90)}},
             .training = {.spans = {Train(7, 2)}, .blocks_held = 60, .held = {{7, 60}}},
             .want = "| 7:2 |",
             .change = [](SchedulerOptions&, SchedulerInput& i) { i.free_blocks = 20; }},
        Case{.name = "TheHeadThatWaitsForASlotIsKeptFor",
             .inference = {.spans = {Decode(1), Waiting(2, 2, 60), Waiting(3, 2, 60)}},
             .training = {.spans = {Train(7, 2, 41)}},
             .want = "1:1 | |",
             .change = [](SchedulerOptions& o, SchedulerInput&) { o.max_running_requests = 1; }}),
    CaseName);

TEST(SchedulerOptionsTest, DefaultsAreValid) {
  EXPECT_TRUE(ValidateSchedulerOptions({}).ok());
}

TEST(SchedulerOptionsTest, RefusesWhatCannotWorkAndSaysWhy) {
  const auto message = [](SchedulerOptions options) {
    const absl::Status status = ValidateSchedulerOptions(options);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    return std::string(status.message());
  };
  EXPECT_EQ(message({.max_batch_rows = 0}), "max_batch_rows is 0, want at least 1");
  EXPECT_EQ(message({.max_prefill_rows = 0}), "max_prefill_rows is 0, want at least 1");
  EXPECT_EQ(message({.training_rows_beside_inference = -1}), "training_rows_beside_inference is -1, want at least 0");
  EXPECT_EQ(message({.max_running_requests = 0}), "max_running_requests is 0, want 1 to max_batch_rows, 512");
  EXPECT_EQ(message({.max_running_requests = 513}), "max_running_requests is 513, want 1 to max_batch_rows, 512");
  EXPECT_EQ(message({.training_blocks_limit = 1.5}), "training_blocks_limit is 1.5, want 0 to 1");
  EXPECT_EQ(message({.training_blocks_limit = -0.5}), "training_blocks_limit is -0.5, want 0 to 1");
}

}  // namespace
}  // namespace tandem
