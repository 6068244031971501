#include "server/core/core.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <deque>
#include <limits>
#include <map>

namespace qzo::server::core {
namespace {

constexpr uint64_t kDigest = 5;

// A core with hand-driven workers.
class CoreTest : public ::testing::Test {
 protected:
  void Send(Event event) {
    actions_.clear();
    core_.Handle(event, now_, &actions_);
  }
  void AddJob(JobHandle job, uint32_t probes, std::string project = "p", int priority = 0, uint32_t min_workers = 1) {
    JobConfig config;
    config.project = std::move(project);
    config.method.steps = 100;
    config.method.probes = probes;
    config.priority = priority;
    config.min_workers = min_workers;
    Send(JobAdded{job, config, {}});
  }
  void AddWorker(WorkerHandle worker, std::initializer_list<JobHandle> ready_for) {
    Send(WorkerAttached{worker, "k"});
    std::vector<Action> all = actions_;
    for (const JobHandle job : ready_for) {
      Send(ReplicaReady{worker, job, 0, kDigest});
      all.insert(all.end(), actions_.begin(), actions_.end());
    }
    actions_ = all;
  }
  template <typename T>
  std::vector<T> All() const {
    std::vector<T> found;
    for (const Action& action : actions_) {
      if (const T* a = std::get_if<T>(&action)) found.push_back(*a);
    }
    return found;
  }
  std::vector<Observed::Kind> Seen() const {
    std::vector<Observed::Kind> kinds;
    for (const Observed& o : All<Observed>()) kinds.push_back(o.kind);
    return kinds;
  }
  ItemResults Answer(const SendWork& work, double plus = 2, double minus = 1, uint64_t digest = kDigest) const {
    return {work.worker,
            work.job,
            work.step,
            work.first_item,
            std::vector<method::ItemLosses>(work.item_count, {plus, minus, 4}),
            digest};
  }

  Core core_{CoreOptions{}};
  std::vector<Action> actions_;
  absl::Duration now_;
};

TEST_F(CoreTest, SplitsAStepOverReadyWorkersAndCommitsWhenAllAnswered) {
  AddJob(1, 4);
  AddWorker(1, {1});
  const SendWork first = All<SendWork>().at(0);
  EXPECT_EQ(first.item_count, 4u) << "the only worker gets everything";
  Send(Answer(first));
  ASSERT_EQ(All<CommitStep>().size(), 1u);
  EXPECT_EQ(All<CommitStep>()[0].record.d, (std::vector<float>(4, 12.5f)));
  EXPECT_TRUE(All<SendWork>().empty()) << "nothing is broadcast before it is durable";

  AddWorker(2, {1});
  Send(StepStored{1, 0, absl::OkStatus()});
  const auto works = All<SendWork>();
  ASSERT_EQ(works.size(), 2u);
  EXPECT_EQ(works[0].item_count + works[1].item_count, 4u);
  for (const SendWork& work : works) {
    EXPECT_EQ(work.step, 1u);
    EXPECT_EQ(work.coefficients.size(), 4u) << "the commit travels with the items: one message a worker-step";
  }
}

TEST_F(CoreTest, AnEvaluationGoesOutInPiecesSoThatLatecomersCanHelp) {
  JobConfig config;
  config.project = "p";
  config.method.steps = 1;
  config.test_items = 6;
  Send(JobAdded{1, config, {}});
  Send(WorkerAttached{1, "k"});
  Send(WorkerAttached{2, "k"});
  Send(ReplicaReady{1, 1, 0, kDigest});
  ASSERT_EQ(All<SendWork>().size(), 1u);
  EXPECT_EQ(All<SendWork>()[0].item_count, 2u);
  Send(ReplicaReady{2, 1, 0, kDigest});
  ASSERT_EQ(All<SendWork>().size(), 1u);
  EXPECT_EQ(All<SendWork>()[0].worker, 2u);
  EXPECT_EQ(All<SendWork>()[0].first_item, 2u);
}

TEST_F(CoreTest, ItemsOfALostWorkerGoToAnother) {
  AddJob(1, 4);
  Send(WorkerAttached{1, "k"});
  Send(WorkerAttached{2, "k"});
  Send(ReplicaReady{1, 1, 0, kDigest});
  const SendWork one = All<SendWork>().at(0);
  Send(ReplicaReady{2, 1, 0, kDigest});
  EXPECT_TRUE(All<SendWork>().empty()) << "the step is given out already";
  Send(WorkerDetached{1, false});
  ASSERT_EQ(All<SendWork>().size(), 1u);
  EXPECT_EQ(All<SendWork>()[0].worker, 2u);
  EXPECT_EQ(All<SendWork>()[0].item_count, one.item_count);
}

TEST_F(CoreTest, AnItemThatEndsThreeWorkersFailsItsJob) {
  AddJob(1, 1);
  for (WorkerHandle w = 1; w <= 3; ++w) {
    AddWorker(w, {1});
    ASSERT_EQ(All<SendWork>().size(), 1u);
    Send(WorkerDetached{w, false});
  }
  ASSERT_EQ(All<StateChanged>().size(), 1u);
  EXPECT_EQ(All<StateChanged>()[0].state, JobState::kFailed);
  EXPECT_EQ(All<StateChanged>()[0].reason, "POISON_ITEM");
  EXPECT_EQ(core_.StatusOf(1), std::nullopt);
}

TEST_F(CoreTest, WorkersThatLeaveInOrderPoisonNothing) {
  AddJob(1, 1);
  for (WorkerHandle w = 1; w <= 5; ++w) {
    AddWorker(w, {1});
    Send(WorkerLeaving{w});
    Send(WorkerDetached{w, true});
  }
  EXPECT_TRUE(core_.StatusOf(1).has_value());
}

TEST_F(CoreTest, ANonFiniteLossIsAskedOfASecondWorkerAndThenBelieved) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  AddJob(1, 2);
  Send(WorkerAttached{1, "k"});
  Send(WorkerAttached{2, "k"});
  Send(ReplicaReady{1, 1, 0, kDigest});
  const SendWork first = All<SendWork>().at(0);
  Send(ReplicaReady{2, 1, 0, kDigest});
  ItemResults results = Answer(first);
  results.losses[1].plus = nan;
  Send(results);
  const auto again = All<SendWork>();
  ASSERT_EQ(again.size(), 1u);
  EXPECT_EQ(again[0].worker, 2u) << "a second opinion";
  EXPECT_EQ(again[0].first_item, 1u);
  EXPECT_EQ(again[0].item_count, 1u);
  Send(Answer(again[0], nan));
  ASSERT_EQ(All<CommitStep>().size(), 1u);
  EXPECT_TRUE(std::isnan(All<CommitStep>()[0].record.d[1]));
  EXPECT_EQ(All<CommitStep>()[0].record.coefficients[1], 0.0f);
}

TEST_F(CoreTest, TenStepsWithoutFiniteLossFailTheJob) {
  AddJob(1, 1);
  AddWorker(1, {1});
  for (uint32_t step = 0; step < 10; ++step) {
    for (int attempt = 0; attempt < 2; ++attempt) {
      Send(Answer(All<SendWork>().back(), std::numeric_limits<double>::infinity()));
    }
    ASSERT_EQ(All<CommitStep>().size(), 1u) << step;
    Send(StepStored{1, step, absl::OkStatus()});
  }
  ASSERT_FALSE(All<StateChanged>().empty());
  EXPECT_EQ(All<StateChanged>().back().reason, "DIVERGED");
}

TEST_F(CoreTest, ALateItemIsDuplicatedAndTheFirstAnswerWins) {
  AddJob(1, 2);
  Send(WorkerAttached{1, "k"});
  Send(WorkerAttached{2, "k"});
  Send(ReplicaReady{1, 1, 0, kDigest});
  Send(ReplicaReady{2, 1, 0, kDigest});
  Send(Answer({1, 1, 0, {}, std::nullopt, 0, 2}));
  Send(StepStored{1, 0, absl::OkStatus()});
  for (uint32_t step = 1; step < 8; ++step) {
    now_ += absl::Milliseconds(100);
    const auto works = All<SendWork>();
    ASSERT_EQ(works.size(), 2u);
    Send(Answer(works[0]));
    Send(Answer(works[1]));
    Send(StepStored{1, step, absl::OkStatus()});
  }
  const auto works = All<SendWork>();
  now_ += absl::Milliseconds(100);
  Send(Answer(works[0]));
  now_ += absl::Seconds(3);
  Send(Tick{});
  const auto duplicate = All<SendWork>();
  ASSERT_EQ(duplicate.size(), 1u);
  EXPECT_EQ(duplicate[0].worker, works[0].worker);
  EXPECT_EQ(duplicate[0].first_item, works[1].first_item);
  Send(Answer(duplicate[0]));
  EXPECT_EQ(All<CommitStep>().size(), 1u);
  Send(Answer(works[1]));
  EXPECT_THAT(Seen(), ::testing::ElementsAre(Observed::Kind::kLate));
}

TEST_F(CoreTest, ItemsArePlacedByMeasuredSpeed) {
  AddJob(1, 8);
  Send(WorkerAttached{1, "k"});
  Send(WorkerAttached{2, "k"});
  Send(ReplicaReady{1, 1, 0, kDigest});
  const SendWork first = All<SendWork>().at(0);
  Send(ReplicaReady{2, 1, 0, kDigest});
  Send(Answer(first));
  Send(StepStored{1, 0, absl::OkStatus()});
  const auto even = All<SendWork>();
  ASSERT_EQ(even.size(), 2u);
  EXPECT_EQ(even[0].item_count, 4u) << "nothing is known of either";
  now_ += absl::Milliseconds(100);
  Send(Answer(even[0]));
  now_ += absl::Milliseconds(200);
  Send(Answer(even[1]));
  Send(StepStored{1, 1, absl::OkStatus()});
  const auto placed = All<SendWork>();
  ASSERT_EQ(placed.size(), 2u);
  EXPECT_EQ(placed[0].item_count, 6u) << "three times as fast";
  EXPECT_EQ(placed[1].item_count, 2u);
}

TEST_F(CoreTest, ReplicasThatDisagreeAreRebuiltAndTheStepIsMeasuredAnew) {
  AddJob(1, 2);
  Send(WorkerAttached{1, "k"});
  Send(WorkerAttached{2, "k"});
  Send(ReplicaReady{1, 1, 0, kDigest});
  Send(ReplicaReady{2, 1, 0, kDigest});
  Send(Answer({1, 1, 0, {}, std::nullopt, 0, 2}));
  Send(StepStored{1, 0, absl::OkStatus()});
  const auto works = All<SendWork>();
  ASSERT_EQ(works.size(), 2u);
  Send(Answer(works[0], 2, 1, 77));
  Send(Answer(works[1], 2, 1, 78));
  EXPECT_THAT(Seen(), ::testing::Contains(Observed::Kind::kDivergence));
  EXPECT_EQ(All<OpenReplica>().size(), 2u);
  EXPECT_TRUE(All<CommitStep>().empty());
  Send(ReplicaReady{1, 1, 1, 77});
  ASSERT_EQ(All<SendWork>().size(), 1u);
  EXPECT_EQ(All<SendWork>()[0].item_count, 2u);
  EXPECT_TRUE(All<SendWork>()[0].coefficients.empty()) << "it was rebuilt at the step";
}

TEST_F(CoreTest, ReplicasThatStillDisagreeAfterRebuildingFailTheJob) {
  JobConfig config;
  config.project = "p";
  config.method.steps = 1;
  config.method.probes = 2;
  config.test_items = 6;  // an evaluation is handed out in pieces
  Send(JobAdded{1, config, {}});
  Send(WorkerAttached{1, "k"});
  Send(WorkerAttached{2, "k"});
  for (int round = 1; round <= 3; ++round) {
    ASSERT_TRUE(All<StateChanged>().empty() || All<StateChanged>().back().state != JobState::kFailed);
    Send(ReplicaReady{1, 1, 0, 77});
    ASSERT_EQ(All<SendWork>().size(), 1u);
    const SendWork work = All<SendWork>()[0];
    Send(
        EvaluationResults{1, 1, 0, *work.evaluate, work.first_item, std::vector<model::EvalSums>(work.item_count), 77});
    Send(ReplicaReady{2, 1, 0, 78});
    EXPECT_THAT(Seen(), ::testing::Contains(Observed::Kind::kDivergence));
  }
  ASSERT_FALSE(All<StateChanged>().empty());
  EXPECT_EQ(All<StateChanged>().back().state, JobState::kFailed);
  EXPECT_EQ(All<StateChanged>().back().reason, "REPLICAS_DISAGREE");
}

TEST_F(CoreTest, HigherPriorityGoesFirstAndProjectsShareFairly) {
  AddJob(1, 1, "a");
  AddJob(2, 1, "b");
  AddJob(3, 1, "a");
  AddJob(4, 1, "c", 5);
  AddWorker(1, {4, 1, 2, 3});
  std::deque<SendWork> out;
  std::map<JobHandle, int> steps;
  const auto collect = [&] {
    for (const SendWork& work : All<SendWork>()) {
      if (work.item_count > 0) out.push_back(work);
    }
  };
  // Answers whatever is out, one after the other; a step is durable just after its worker has got its next items.
  const auto drive = [&](int answers) {
    steps.clear();
    for (int i = 0; i < answers; ++i) {
      ASSERT_FALSE(out.empty());
      const SendWork work = out.front();
      out.pop_front();
      ++steps[work.job];
      now_ += absl::Milliseconds(10);
      Send(Answer(work));
      collect();
      Send(StepStored{work.job, work.step, absl::OkStatus()});
      collect();
    }
  };
  collect();
  drive(30);
  EXPECT_EQ(steps[4], 15) << "priority: every time its last step is durable";
  Send(JobCancelled{4});
  collect();
  std::erase_if(out, [](const SendWork& work) { return work.job == 4; });
  drive(40);
  EXPECT_NEAR(steps[2], steps[1] + steps[3], 2) << "project b has one job and gets as much as a's two";
}

TEST_F(CoreTest, WaitsForMinWorkersAndSaysSo) {
  AddJob(1, 2, "p", 0, 2);
  AddWorker(1, {1});
  EXPECT_TRUE(All<SendWork>().empty());
  Send(Tick{});
  ASSERT_EQ(All<StateChanged>().size(), 1u);
  EXPECT_EQ(All<StateChanged>()[0].reason, "WAITING_FOR_WORKERS");
  EXPECT_EQ(All<StateChanged>()[0].message, "needs 2 workers: 1 ready, 0 preparing");
  AddWorker(2, {1});
  EXPECT_EQ(All<SendWork>().size(), 2u);
}

TEST_F(CoreTest, OnlyWorkersOfThePinnedKindHoldAReplica) {
  JobConfig config;
  config.project = "p";
  config.method.steps = 1;
  config.kind = "cuda";
  Send(JobAdded{1, config, {}});
  Send(WorkerAttached{1, "cpu"});
  EXPECT_TRUE(All<OpenReplica>().empty());
  Send(WorkerAttached{2, "cuda"});
  EXPECT_EQ(All<OpenReplica>().size(), 1u);
}

TEST_F(CoreTest, AFailingStoreIsTriedAgainAndNothingIsBroadcast) {
  AddJob(1, 1);
  AddWorker(1, {1});
  Send(Answer(All<SendWork>()[0]));
  Send(StepStored{1, 0, absl::ResourceExhaustedError("disk full")});
  EXPECT_TRUE(All<SendWork>().empty());
  EXPECT_EQ(All<StateChanged>().at(0).reason, "STORE_ERROR");
  now_ += absl::Seconds(2);
  Send(Tick{});
  ASSERT_EQ(All<CommitStep>().size(), 1u);
  Send(StepStored{1, 0, absl::OkStatus()});
  EXPECT_EQ(All<SendWork>().size(), 1u);
}

TEST_F(CoreTest, AStaleEpochDropsTheJob) {
  AddJob(1, 1);
  AddWorker(1, {1});
  Send(Answer(All<SendWork>()[0]));
  Send(StepStored{1, 0, absl::AbortedError("stale epoch")});
  EXPECT_EQ(All<CloseReplica>().size(), 1u);
  EXPECT_EQ(core_.StatusOf(1), std::nullopt);
}

TEST_F(CoreTest, PauseDropsTheOpenStepAndResumeRedoesIt) {
  AddJob(1, 1);
  AddWorker(1, {1});
  const SendWork work = All<SendWork>()[0];
  Send(JobPaused{1});
  EXPECT_EQ(All<CloseReplica>().size(), 1u);
  Send(Answer(work));
  EXPECT_TRUE(All<CommitStep>().empty());
  Send(JobResumed{1});
  ASSERT_EQ(All<OpenReplica>().size(), 1u);
  Send(ReplicaReady{1, 1, 0, kDigest});
  EXPECT_EQ(All<SendWork>().at(0).step, 0u);
}

TEST_F(CoreTest, TroubleEverywhereFailsTheJobWithItsCause) {
  AddJob(1, 1);
  for (WorkerHandle w = 1; w <= 3; ++w) {
    Send(WorkerAttached{w, "k"});
    ASSERT_EQ(All<OpenReplica>().size(), 1u);
    Send(ReplicaTrouble{w, 1, absl::DataLossError("blob damaged")});
  }
  ASSERT_FALSE(All<StateChanged>().empty());
  EXPECT_EQ(All<StateChanged>().back().reason, "WORKER_TROUBLE");
  EXPECT_EQ(All<StateChanged>().back().error.message(), "blob damaged");
}

}  // namespace
}  // namespace qzo::server::core
