// Random offers and whole random runs: what must hold of every plan, and that everything that is asked for gets done.

#include <algorithm>
#include <deque>
#include <map>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "sched/coserving.h"
#include "sched/offers.h"

namespace tandem {
namespace {

using Random = std::mt19937;

int Uniform(Random& random, int low, int high) {
  return low + static_cast<int>(random() % (high - low + 1));
}

std::map<SequenceId, int> RowsBySequence(const Grants& grants) {
  std::map<SequenceId, int> rows;
  for (const SpanGrant& grant : grants.spans) {
    EXPECT_TRUE(rows.emplace(grant.sequence, grant.num_rows).second) << "sequence granted twice";
  }
  return rows;
}

int SumRows(const Grants& grants) {
  int rows = 0;
  for (const SpanGrant& grant : grants.spans) rows += grant.num_rows;
  return rows;
}

int NewBlocks(const Offers& offers, const Grants& grants) {
  const std::map<SequenceId, int> rows = RowsBySequence(grants);
  int blocks = 0;
  for (const Offer& offer : offers.spans) blocks += rows.contains(offer.sequence) ? offer.blocks_to_reserve : 0;
  return blocks;
}

void CheckGrantsWithinOffers(const Offers& offers, const Grants& grants) {
  std::map<SequenceId, int> rows = RowsBySequence(grants);
  for (const Offer& offer : offers.spans) {
    if (!rows.contains(offer.sequence)) continue;
    EXPECT_GE(rows[offer.sequence], 1);
    EXPECT_LE(rows[offer.sequence], offer.ready_rows);
    rows.erase(offer.sequence);
  }
  EXPECT_TRUE(rows.empty()) << "rows granted that were not offered";
  std::map<SequenceId, int> units;
  for (const BackwardGrant& grant : grants.backward) EXPECT_TRUE(units.emplace(grant.sequence, grant.num_units).second);
  for (const BackwardOffer& offer : offers.backward) {
    if (!units.contains(offer.sequence)) continue;
    EXPECT_GE(units[offer.sequence], 1);
    EXPECT_LE(units[offer.sequence], static_cast<int>(offer.units.size()));
    units.erase(offer.sequence);
  }
  EXPECT_TRUE(units.empty()) << "units granted that were not offered";
}

void CheckInference(const SchedulerOptions& options, const SchedulerInput& input, const Plan& plan) {
  std::map<SequenceId, int> rows = RowsBySequence(plan.inference);
  int decodes = 0, granted_decodes = 0, running = 0, prefill_rows = 0;
  std::vector<Offer> waiting;
  for (const Offer& offer : input.inference.spans) {
    if (offer.kind == SpanKind::kDecode) {
      ++decodes;
      granted_decodes += rows.contains(offer.sequence);
    } else {
      prefill_rows += rows[offer.sequence];
    }
    if (offer.blocks_to_reserve > 0) waiting.push_back(offer);
    running += offer.blocks_to_reserve == 0 || rows[offer.sequence] > 0;
  }
  EXPECT_EQ(granted_decodes, std::min(decodes, options.max_batch_rows)) << "a decode was left out";
  EXPECT_LE(prefill_rows, options.max_prefill_rows);
  const int before = static_cast<int>(input.inference.spans.size() - waiting.size());
  EXPECT_LE(running, std::max(before, options.max_running_requests));

  std::sort(waiting.begin(), waiting.end(), [](const Offer& a, const Offer& b) {
    return std::tie(a.priority, a.arrival, a.sequence) < std::tie(b.priority, b.arrival, b.sequence);
  });
  bool stopped = false;
  for (const Offer& offer : waiting) {
    const bool admitted = rows[offer.sequence] > 0;
    EXPECT_FALSE(stopped && admitted) << "sequence " << offer.sequence << " overtook one that waits";
    stopped = stopped || !admitted;
  }
}

void CheckTraining(const SchedulerOptions& options, const SchedulerInput& input, const Plan& plan) {
  const int inference_rows = SumRows(plan.inference);
  const int rows = std::min(options.max_batch_rows - inference_rows,
                            inference_rows > 0 ? options.training_rows_beside_inference : options.max_batch_rows);
  const int64_t budget = int64_t{rows} * input.num_layers;
  int64_t cost = int64_t{SumRows(plan.training)} * input.num_layers;
  int num_units = 0;
  for (const BackwardGrant& grant : plan.training.backward) {
    const auto offer = std::find_if(input.training.backward.begin(), input.training.backward.end(),
                                    [&](const BackwardOffer& o) { return o.sequence == grant.sequence; });
    for (int i = 0; i < grant.num_units; ++i) cost += offer->units[i].num_rows();
    num_units += grant.num_units;
  }
  const bool one_unit = num_units == 1 && plan.training.spans.empty() && budget > 0;
  EXPECT_TRUE(cost <= budget || one_unit) << "over the budget by more than one unit: " << cost << " of " << budget;
  const bool something_ready =
      !input.training.backward.empty() || std::any_of(input.training.spans.begin(), input.training.spans.end(),
                                                      [](const Offer& offer) { return offer.blocks_to_reserve == 0; });
  EXPECT_TRUE(cost > 0 || budget == 0 || !something_ready) << "training stands while it has work and a budget";
}

void CheckBlocks(const SchedulerOptions& options, const SchedulerInput& input, const Plan& plan) {
  const int inference = NewBlocks(input.inference, plan.inference);
  const int training = NewBlocks(input.training, plan.training);
  EXPECT_LE(inference + training, input.free_blocks);
  if (training == 0) return;
  EXPECT_LE(input.training.blocks_held + training, TrainingBlocksLimit(options, input.num_blocks));
  const std::map<SequenceId, int> rows = RowsBySequence(plan.inference);
  const Offer* head = nullptr;
  for (const Offer& offer : input.inference.spans) {
    if (offer.blocks_to_reserve == 0 || rows.contains(offer.sequence)) continue;
    if (head == nullptr || std::tie(offer.priority, offer.arrival, offer.sequence) <
                               std::tie(head->priority, head->arrival, head->sequence)) {
      head = &offer;
    }
  }
  if (head != nullptr) {
    EXPECT_LE(head->blocks_to_reserve, input.free_blocks - inference - training) << "training took the head's blocks";
  }
}

Plan CheckedPlan(const SchedulerOptions& options, const SchedulerInput& input) {
  const Plan plan = PlanCoserving(options, input);
  CheckGrantsWithinOffers(input.inference, plan.inference);
  CheckGrantsWithinOffers(input.training, plan.training);
  EXPECT_LE(SumRows(plan.inference) + SumRows(plan.training), options.max_batch_rows);
  CheckInference(options, input, plan);
  CheckTraining(options, input, plan);
  CheckBlocks(options, input, plan);

  SchedulerInput alone = input;
  alone.training = {};
  EXPECT_EQ(ToString({.inference = PlanCoserving(options, alone).inference}), ToString({.inference = plan.inference}))
      << "training changed what inference got";
  EXPECT_EQ(ToString(PlanCoserving(options, input)), ToString(plan)) << "the same input, another plan";
  return plan;
}

SchedulerOptions RandomOptions(Random& random) {
  SchedulerOptions options;
  options.max_batch_rows = Uniform(random, 1, random() % 2 ? 8 : 300);
  options.max_prefill_rows = Uniform(random, 1, 2 * options.max_batch_rows);
  options.training_rows_beside_inference = Uniform(random, 0, random() % 2 ? 3 : 2 * options.max_batch_rows);
  options.max_running_requests = Uniform(random, 1, options.max_batch_rows);
  options.training_blocks_limit = Uniform(random, 0, 4) / 4.0;
  return options;
}

SchedulerInput RandomInput(Random& random) {
  SchedulerInput input;
  input.num_blocks = Uniform(random, 1, 60);
  input.free_blocks = Uniform(random, 0, input.num_blocks);
  input.training.blocks_held = Uniform(random, 0, input.num_blocks - input.free_blocks);
  input.num_layers = Uniform(random, 1, 40);
  SequenceId id = 0;
  for (int i = Uniform(random, 0, 12); i > 0; --i) {
    Offer offer = Waiting(++id, Uniform(random, 1, 90), random() % 2 ? Uniform(random, 1, 30) : 0);
    if (random() % 2) offer = Decode(id);
    input.inference.spans.push_back(WithPriority(WithArrival(offer, Uniform(random, 0, 9)), Uniform(random, 0, 2)));
  }
  for (int i = Uniform(random, 0, 6); i > 0; --i) {
    const Offer offer = Train(++id, Uniform(random, 1, 90), random() % 2 ? Uniform(random, 1, 30) : 0);
    input.training.spans.push_back(WithPriority(offer, Uniform(random, 0, 1)));
  }
  for (int i = Uniform(random, 0, 4); i > 0; --i) {
    BackwardOffer offer{.job = i, .sequence = ++id};
    for (int units = Uniform(random, 1, 50); units > 0; --units) offer.units.push_back({0, Uniform(random, 1, 64)});
    input.training.backward.push_back(offer);
  }
  return input;
}

TEST(CoservingPropertyTest, EveryPlanKeepsItsPromises) {
  Random random(20240229);
  for (int i = 0; i < 5000 && !testing::Test::HasFailure(); ++i) {
    SCOPED_TRACE(i);
    const SchedulerOptions options = RandomOptions(random);
    CheckedPlan(options, RandomInput(random));
  }
}

// --- whole runs ----------------------------------------------------------------------------------------------------

struct Request {
  int arrival_step = 0, prompt = 0, max_tokens = 0;
  int computed = 0, generated = 0, blocks = 0;  // blocks held
  int blocks_needed() const { return (prompt + max_tokens + 15) / 16; }
  bool done() const { return generated == max_tokens; }
};

struct Sample {
  SequenceId sequence = 0;
  int length = 0, forward = 0, blocks = 0;
  std::deque<int> units;  // rows; filled when the forward is complete
};

struct Job {
  std::deque<Sample> samples;
  int last_served = -1;
};

// The sources as the scheduler sees them, without tokens: requests that arrive over time, and jobs whose next sample
// runs forward beside the backward of the current one.
class World {
 public:
  World(Random& random, int num_requests, int num_jobs) : num_blocks_(Uniform(random, 12, 60)) {
    for (int i = 0; i < num_requests; ++i) {
      requests_.push_back({.arrival_step = Uniform(random, 0, 60),
                           .prompt = Uniform(random, 1, 100),
                           .max_tokens = Uniform(random, 1, 40)});
    }
    SequenceId sequence = 1000;
    for (int i = 0; i < num_jobs; ++i) {
      jobs_.emplace_back();
      for (int n = Uniform(random, 1, 4); n > 0; --n) {
        jobs_.back().samples.push_back({.sequence = ++sequence, .length = Uniform(random, 1, 80)});
      }
    }
  }

  SchedulerInput Input(int step) {
    SchedulerInput input{.num_blocks = num_blocks_, .free_blocks = num_blocks_, .num_layers = kNumLayers};
    for (size_t i = 0; i < requests_.size(); ++i) {
      const Request& r = requests_[i];
      if (r.arrival_step > step || r.done()) continue;
      const bool prefill = r.computed < r.prompt;
      input.inference.spans.push_back({.sequence = static_cast<SequenceId>(i),
                                       .kind = prefill ? SpanKind::kPrefill : SpanKind::kDecode,
                                       .ready_rows = prefill ? r.prompt - r.computed : 1,
                                       .blocks_to_reserve = r.blocks > 0 ? 0 : r.blocks_needed(),
                                       .arrival = At(r.arrival_step)});
      input.inference.blocks_held += r.blocks;
    }
    for (Job* job : LeastRecentlyServedFirst()) {
      for (size_t i = 0; i < std::min<size_t>(2, job->samples.size()); ++i) {
        const Sample& s = job->samples[i];
        input.training.blocks_held += s.blocks;
        if (s.forward < s.length) {
          input.training.spans.push_back(
              Train(s.sequence, s.length - s.forward, s.blocks > 0 ? 0 : (s.length + 15) / 16));
          break;  // one forward at a time
        }
        if (i == 0) {
          BackwardOffer& offer = input.training.backward.emplace_back(BackwardOffer{.sequence = s.sequence});
          for (const int rows : s.units) offer.units.push_back({0, rows});
        }
      }
    }
    input.free_blocks -= input.inference.blocks_held + input.training.blocks_held;
    EXPECT_GE(input.free_blocks, 0);
    return input;
  }

  void Apply(const Plan& plan, int step) {
    for (const SpanGrant& grant : plan.inference.spans) {
      Request& r = requests_[grant.sequence];
      r.blocks = r.blocks_needed();
      r.computed += grant.num_rows;
      if (r.computed >= r.prompt) ++r.generated;
      if (r.done()) r.blocks = 0;
    }
    for (const SpanGrant& grant : plan.training.spans)
      ForSample(grant.sequence, [&](Job& job, Sample& s) {
        s.blocks = (s.length + 15) / 16;
        s.forward += grant.num_rows;
        for (int rows = 0; s.forward == s.length && rows < s.length * kNumLayers; rows += kWindow)
          s.units.push_back(kWindow);
        job.last_served = step;
      });
    for (const BackwardGrant& grant : plan.training.backward)
      ForSample(grant.sequence, [&](Job& job, Sample& s) {
        s.units.erase(s.units.begin(), s.units.begin() + grant.num_units);
        job.last_served = step;
      });
    for (Job& job : jobs_) {
      if (!job.samples.empty() && job.samples[0].forward == job.samples[0].length && job.samples[0].units.empty()) {
        job.samples.pop_front();
      }
    }
  }

  bool inference_done() const {
    return std::all_of(requests_.begin(), requests_.end(), [](const Request& r) { return r.done(); });
  }
  bool done() const {
    return inference_done() &&
           std::all_of(jobs_.begin(), jobs_.end(), [](const Job& job) { return job.samples.empty(); });
  }
  void DropTraining() { jobs_.clear(); }
  void Widen() { num_blocks_ = 100000; }

 private:
  static constexpr int kNumLayers = 3;
  static constexpr int kWindow = 8;

  std::vector<Job*> LeastRecentlyServedFirst() {
    std::vector<Job*> order;
    for (Job& job : jobs_) order.push_back(&job);
    std::stable_sort(order.begin(), order.end(), [](Job* a, Job* b) { return a->last_served < b->last_served; });
    return order;
  }

  template <typename Fn>
  void ForSample(SequenceId sequence, Fn fn) {
    for (Job& job : jobs_) {
      for (Sample& sample : job.samples) {
        if (sample.sequence == sequence) fn(job, sample);
      }
    }
  }

  int num_blocks_;
  std::vector<Request> requests_;
  std::vector<Job> jobs_;
};

// Budgets so small that only rounding up keeps them moving are part of it; a pool half for training fits every sample.
SchedulerOptions RunOptions(Random& random) {
  SchedulerOptions options = RandomOptions(random);
  options.training_blocks_limit = 0.5;
  return options;
}

TEST(CoservingPropertyTest, EverythingOfferedIsEventuallyDone) {
  Random random(17);
  for (int i = 0; i < 60 && !testing::Test::HasFailure(); ++i) {
    SCOPED_TRACE(i);
    World world(random, Uniform(random, 0, 25), Uniform(random, 0, 5));
    const SchedulerOptions options = RunOptions(random);
    int step = 0;
    // At least one row or unit runs in every step from the last arrival on: requests have at most 140 rows each, jobs
    // at most 4 samples of 80 rows and 31 units.
    const int limit = 60 + 25 * 140 + 5 * 4 * (80 + 31);
    for (; !world.done() && step < limit && !testing::Test::HasFailure(); ++step) {
      world.Apply(CheckedPlan(options, world.Input(step)), step);
    }
    EXPECT_TRUE(world.done()) << "not done after " << step << " steps";
  }
}

TEST(CoservingPropertyTest, InferenceRunsStepForStepAsWithoutTrainingWhereBlocksSuffice) {
  Random random(18);
  for (int i = 0; i < 30 && !testing::Test::HasFailure(); ++i) {
    SCOPED_TRACE(i);
    World with(random, Uniform(random, 1, 25), Uniform(random, 1, 5));
    with.Widen();
    World without = with;
    without.DropTraining();
    const SchedulerOptions options = RunOptions(random);
    for (int step = 0; !without.inference_done() && !testing::Test::HasFailure(); ++step) {
      const Plan a = PlanCoserving(options, with.Input(step));
      const Plan b = PlanCoserving(options, without.Input(step));
      ASSERT_EQ(ToString({.inference = a.inference}), ToString({.inference = b.inference}));
      with.Apply(a, step);
      without.Apply(b, step);
    }
    EXPECT_TRUE(with.inference_done());
  }
}

}  // namespace
}  // namespace tandem
