#include "server/core/pipelines.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace qzo::server::core {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr JobHandle kJob = 1;
constexpr uint64_t kStageDigest = 5;

// The layer and its core with hand-driven workers: 6 layers of 10 bytes, 60 for the whole.
class PipelinesTest : public ::testing::Test {
 protected:
  static JobConfig Config(uint32_t stages, uint32_t probes = 4) {
    JobConfig config;
    config.project = "p";
    config.method.steps = 100;
    config.method.probes = probes;
    config.stages = stages;
    config.shape.layers.assign(6, {10, 1});
    config.shape.whole_bytes = 60;
    return config;
  }
  void Send(Event event) {
    actions_.clear();
    pipelines_.Handle(event, now_, &actions_);
  }
  void AddJob(uint32_t stages, uint32_t probes = 4) { Send(JobAdded{kJob, Config(stages, probes), {}}); }
  void AddWorker(WorkerHandle worker, int64_t memory = 0, std::string kind = "k", bool can_be_stage = true) {
    Send(WorkerAttached{worker, std::move(kind), memory, can_be_stage});
  }
  template <typename T>
  std::vector<T> All() const {
    std::vector<T> found;
    for (const Action& action : actions_) {
      if (const T* a = std::get_if<T>(&action)) found.push_back(*a);
    }
    return found;
  }
  // A pipeline of `stages` workers from 1 on, all ready. Returns its opening.
  std::vector<OpenReplica> ReadyPipeline(uint32_t stages, uint32_t probes = 4) {
    AddJob(stages, probes);
    for (WorkerHandle worker = 1; worker <= stages; ++worker) AddWorker(worker);
    const std::vector<OpenReplica> opens = All<OpenReplica>();
    MakeReady(opens);
    return opens;
  }
  void MakeReady(const std::vector<OpenReplica>& opens) {
    for (const OpenReplica& open : opens) {
      Send(ReplicaReady{open.worker, open.job, open.step, kStageDigest, open.stage->pipeline});
    }
  }
  ItemResults Answer(WorkerHandle worker, const SendWork& work, uint64_t stages = 3) const {
    return {worker,
            work.job,
            work.step,
            work.first_item,
            std::vector<method::ItemLosses>(work.item_count, {2, 1, 4}),
            stages * kStageDigest};
  }
  std::vector<WorkerHandle> Closed() const {
    std::vector<WorkerHandle> workers;
    for (const CloseReplica& close : All<CloseReplica>()) workers.push_back(close.worker);
    return workers;
  }

  Pipelines pipelines_{CoreOptions{}};
  std::vector<Action> actions_;
  absl::Duration now_;
};

TEST_F(PipelinesTest, AJobInStagesIsOpenedOnceThereAreEnoughWorkers) {
  AddJob(3);
  EXPECT_THAT(All<StateChanged>().at(0).message, HasSubstr("needs 3 workers of one kind"));
  AddWorker(1);
  AddWorker(2);
  EXPECT_THAT(All<OpenReplica>(), IsEmpty()) << "nobody holds the whole model of a job in stages";
  EXPECT_THAT(All<StateChanged>().at(0).message, HasSubstr("2 attached"));
  AddWorker(3);
  const std::vector<OpenReplica> opens = All<OpenReplica>();
  ASSERT_EQ(opens.size(), 3u);
  for (uint32_t i = 0; i < 3; ++i) {
    EXPECT_EQ(opens[i].worker, i + 1);
    EXPECT_EQ(opens[i].stage->pipeline, opens[0].stage->pipeline);
    EXPECT_EQ(opens[i].stage->index, i);
    EXPECT_EQ(opens[i].stage->count, 3u);
    EXPECT_EQ(opens[i].stage->layers, (LayerRange{2 * i, 2 * i + 2}));
    EXPECT_EQ(opens[i].stage->next, i < 2 ? i + 2 : 0);
  }
  ASSERT_EQ(All<PipelineFormed>().size(), 1u);
  ASSERT_EQ(pipelines_.PipelinesOf(kJob).size(), 1u);
  EXPECT_EQ(pipelines_.PipelinesOf(kJob)[0][1].worker, 2u);
  EXPECT_THAT(pipelines_.JobsOf(2), ElementsAre(kJob));
  EXPECT_EQ(pipelines_.StatusOf(kJob)->ready_workers, 0u);
}

TEST_F(PipelinesTest, AllStagesGetTheWorkAndTheLastOneAnswers) {
  const std::vector<OpenReplica> opens = ReadyPipeline(3);
  EXPECT_EQ(pipelines_.StatusOf(kJob)->ready_workers, 1u) << "one replica";
  const std::vector<SendWork> works = All<SendWork>();
  ASSERT_EQ(works.size(), 3u);
  for (uint32_t i = 0; i < 3; ++i) {
    EXPECT_EQ(works[i].worker, i + 1);
    EXPECT_EQ(works[i].item_count, 4u);
  }
  Send(Answer(2, works[1]));
  EXPECT_THAT(actions_, IsEmpty()) << "only the last stage knows losses";
  Send(Answer(3, works[2]));
  ASSERT_EQ(All<CommitStep>().size(), 1u);
  Send(StepStored{kJob, 0, absl::OkStatus()});
  ASSERT_EQ(All<SendWork>().size(), 3u);
  for (const SendWork& work : All<SendWork>()) EXPECT_EQ(work.coefficients.size(), 4u);
}

TEST_F(PipelinesTest, IsReadyWhenTheLastStageIsWithTheSumOfTheDigests) {
  AddJob(3);
  for (WorkerHandle worker = 1; worker <= 3; ++worker) AddWorker(worker);
  const std::vector<OpenReplica> opens = All<OpenReplica>();
  Send(ReplicaReady{3, kJob, 0, 30, opens[2].stage->pipeline});
  Send(ReplicaReady{1, kJob, 0, 10, opens[0].stage->pipeline});
  Send(ReplicaReady{1, kJob, 0, 10, opens[0].stage->pipeline});
  Send(ReplicaReady{2, kJob, 0, 10, opens[0].stage->pipeline + 1});
  EXPECT_THAT(All<SendWork>(), IsEmpty()) << "said twice, and of another pipeline";
  Send(ReplicaReady{2, kJob, 0, 20, opens[1].stage->pipeline});
  const SendWork work = All<SendWork>().at(2);
  ItemResults results = Answer(3, work);
  results.digest = 60;
  Send(results);
  EXPECT_EQ(All<CommitStep>().size(), 1u);
}

TEST_F(PipelinesTest, AMemberThatIsLostIsReplacedByASpareOne) {
  const std::vector<OpenReplica> opens = ReadyPipeline(3, /*probes=*/1);
  AddWorker(4);
  EXPECT_THAT(All<OpenReplica>(), IsEmpty()) << "one item, one pipeline: the fourth is spare";
  Send(WorkerDetached{2, false});
  EXPECT_THAT(Closed(), ElementsAre(1, 3));
  ASSERT_EQ(All<PipelineLost>().size(), 1u);
  EXPECT_EQ(All<PipelineLost>()[0].worker, 2u);
  EXPECT_EQ(All<PipelineLost>()[0].index, 1u);
  EXPECT_EQ(All<PipelineLost>()[0].cause, PipelineLost::Cause::kWorkerGone);
  const std::vector<OpenReplica> again = All<OpenReplica>();
  ASSERT_EQ(again.size(), 3u);
  EXPECT_NE(again[0].stage->pipeline, opens[0].stage->pipeline) << "another number, hence another secret";
  EXPECT_THAT((std::vector<WorkerHandle>{again[0].worker, again[1].worker, again[2].worker}), ElementsAre(1, 3, 4));
  MakeReady(again);
  EXPECT_EQ(All<SendWork>().size(), 3u) << "its items are measured again";
}

TEST_F(PipelinesTest, WithoutASpareOneTheJobWaitsAndSaysWhy) {
  ReadyPipeline(3);
  Send(WorkerDetached{3, false});
  EXPECT_THAT(All<OpenReplica>(), IsEmpty());
  ASSERT_EQ(All<StateChanged>().size(), 1u);
  EXPECT_EQ(All<StateChanged>()[0].state, JobState::kRunning);
  EXPECT_EQ(All<StateChanged>()[0].reason, "WAITING_FOR_WORKERS");
  EXPECT_THAT(All<StateChanged>()[0].message, HasSubstr("2 attached"));
  AddWorker(4);
  EXPECT_EQ(All<OpenReplica>().size(), 3u);
  EXPECT_EQ(All<StateChanged>().at(0).reason, "PREPARING_WORKERS");
}

TEST_F(PipelinesTest, AMemberThatLeavesEndsThePipelineInOrder) {
  ReadyPipeline(3, /*probes=*/1);
  for (WorkerHandle next = 4; next <= 9; ++next) {
    AddWorker(next);
    Send(WorkerLeaving{next - 1});
    EXPECT_THAT(Closed(), ::testing::SizeIs(3)) << "it too: nothing comes that it could wait for";
    MakeReady(All<OpenReplica>());
    ASSERT_EQ(All<SendWork>().size(), 3u);
    Send(WorkerDetached{next - 1, true});
  }
  EXPECT_TRUE(pipelines_.StatusOf(kJob).has_value()) << "six pipelines ended, and poisoned no item";
}

TEST_F(PipelinesTest, AnItemThatEndsThreePipelinesFailsItsJob) {
  ReadyPipeline(2, /*probes=*/1);
  for (WorkerHandle worker = 2; worker <= 4; ++worker) {
    ASSERT_EQ(All<SendWork>().size(), 2u);
    Send(WorkerDetached{worker, false});
    if (worker == 4) break;
    AddWorker(worker + 1);
    MakeReady(All<OpenReplica>());
  }
  ASSERT_FALSE(All<StateChanged>().empty());
  EXPECT_EQ(All<StateChanged>()[0].reason, "POISON_ITEM");
  EXPECT_THAT(pipelines_.PipelinesOf(kJob), IsEmpty());
}

TEST_F(PipelinesTest, ALostLinkBlamesNobodyAndIsTriedAgainLaterAndLater) {
  std::vector<OpenReplica> opens = ReadyPipeline(3);
  absl::Duration wait = absl::Milliseconds(200);
  for (int round = 0; round < 3; ++round) {
    Send(ReplicaTrouble{1, kJob, absl::UnavailableError("link to 2"), opens[0].stage->pipeline});
    EXPECT_EQ(All<PipelineLost>().at(0).cause, PipelineLost::Cause::kLink);
    EXPECT_EQ(All<PipelineLost>()[0].message, "link to 2");
    EXPECT_THAT(All<OpenReplica>(), IsEmpty()) << "who died is not known yet";
    Send(ReplicaTrouble{2, kJob, absl::UnavailableError("link from 1"), opens[0].stage->pipeline});
    EXPECT_THAT(All<PipelineLost>(), IsEmpty()) << "the other end of it is no news";
    now_ += wait - absl::Milliseconds(1);
    Send(Tick{});
    EXPECT_THAT(All<OpenReplica>(), IsEmpty());
    now_ += absl::Milliseconds(1);
    Send(Tick{});
    opens = All<OpenReplica>();
    ASSERT_EQ(opens.size(), 3u) << "the same workers";
    wait *= 2;
  }
  EXPECT_TRUE(pipelines_.StatusOf(kJob).has_value()) << "before it is ready no item is at fault";
  MakeReady(opens);
  Send(Answer(3, All<SendWork>().at(2)));
  Send(ReplicaTrouble{1, kJob, absl::UnavailableError("link"), opens[0].stage->pipeline});
  now_ += absl::Milliseconds(200);
  Send(Tick{});
  EXPECT_EQ(All<OpenReplica>().size(), 3u) << "an answer ended the series";
}

TEST_F(PipelinesTest, AWorkerThatNoOtherReachesIsLeftOutSoonerOrLater) {
  AddJob(2, /*probes=*/1);
  for (WorkerHandle worker = 1; worker <= 4; ++worker) AddWorker(worker);
  std::vector<StageHolder> members = pipelines_.PipelinesOf(kJob).at(0);
  int rounds = 0;
  while (members[0].worker == 1 || members[1].worker == 1) {
    ASSERT_LT(++rounds, 4);
    Send(JobPaused{kJob});
    Send(JobResumed{kJob});
    const std::vector<OpenReplica> opens = All<OpenReplica>();
    Send(ReplicaTrouble{opens.at(1).worker, kJob, absl::UnavailableError("link"), opens[1].stage->pipeline});
    now_ += absl::Minutes(1);
    Send(Tick{});
    members = pipelines_.PipelinesOf(kJob).at(0);
  }
  EXPECT_GT(rounds, 0) << "it was tried";
}

TEST_F(PipelinesTest, AWorkerWithTroubleIsLeftAloneForAWhile) {
  const std::vector<OpenReplica> opens = ReadyPipeline(3, /*probes=*/1);
  AddWorker(4);
  Send(ReplicaTrouble{2, kJob, absl::ResourceExhaustedError("no memory"), opens[0].stage->pipeline});
  EXPECT_THAT(Closed(), ElementsAre(1, 2, 3));
  ASSERT_EQ(All<Observed>().size(), 3u);
  EXPECT_EQ(All<Observed>()[2].kind, Observed::Kind::kTrouble);
  EXPECT_EQ(All<Observed>()[2].worker, 2u) << "the member, not the pipeline";
  std::vector<OpenReplica> again = All<OpenReplica>();
  ASSERT_EQ(again.size(), 3u);
  EXPECT_THAT((std::vector<WorkerHandle>{again[0].worker, again[1].worker, again[2].worker}), ElementsAre(1, 3, 4));
  Send(WorkerDetached{4, false});
  EXPECT_THAT(All<OpenReplica>(), IsEmpty());
  now_ += absl::Seconds(10);
  Send(Tick{});
  EXPECT_EQ(All<OpenReplica>().size(), 3u) << "it is asked again after 10 s";
}

TEST_F(PipelinesTest, ThreeTroublesInARowFailTheJob) {
  AddJob(2);
  AddWorker(1);
  AddWorker(2);
  for (int round = 0; round < 3; ++round) {
    const std::vector<OpenReplica> opens = All<OpenReplica>();
    ASSERT_EQ(opens.size(), 2u);
    Send(ReplicaTrouble{1, kJob, absl::ResourceExhaustedError("no memory"), opens[0].stage->pipeline});
    if (round == 2) break;
    now_ += absl::Seconds(10);
    Send(Tick{});
  }
  ASSERT_EQ(All<StateChanged>().size(), 1u);
  EXPECT_EQ(All<StateChanged>()[0].reason, "WORKER_TROUBLE");
}

TEST_F(PipelinesTest, WhatAnOlderPipelineSaysIsNoNews) {
  const std::vector<OpenReplica> opens = ReadyPipeline(3, /*probes=*/1);
  AddWorker(4);
  Send(WorkerDetached{2, false});
  const std::vector<OpenReplica> again = All<OpenReplica>();
  Send(ReplicaTrouble{1, kJob, absl::UnavailableError("link"), opens[0].stage->pipeline});
  Send(ReplicaTrouble{1, kJob, absl::NotFoundError("job 1 is not open"), 0});
  Send(ReplicaReady{1, kJob, 0, 9, opens[0].stage->pipeline});
  EXPECT_THAT(All<PipelineLost>(), IsEmpty());
  MakeReady(again);
  EXPECT_EQ(All<SendWork>().size(), 3u);
}

TEST_F(PipelinesTest, AStageThatDoesNotGetReadyInTimeEndsThePipeline) {
  AddJob(2);
  AddWorker(1);
  AddWorker(2);
  const std::vector<OpenReplica> opens = All<OpenReplica>();
  Send(ReplicaReady{1, kJob, 0, kStageDigest, opens[0].stage->pipeline});
  AddWorker(3);
  now_ += absl::Minutes(10);
  Send(Tick{});
  EXPECT_EQ(All<PipelineLost>().at(0).worker, 2u);
  EXPECT_EQ(All<PipelineLost>()[0].cause, PipelineLost::Cause::kLate);
  ASSERT_EQ(All<OpenReplica>().size(), 2u);
  EXPECT_EQ(All<OpenReplica>()[1].worker, 3u);
}

TEST_F(PipelinesTest, SeveralPipelinesAreReplicas) {
  AddJob(2);
  for (WorkerHandle worker = 1; worker <= 5; ++worker) {
    AddWorker(worker);
    if (worker % 2 == 0) MakeReady(All<OpenReplica>());
  }
  EXPECT_EQ(pipelines_.PipelinesOf(kJob).size(), 2u);
  EXPECT_EQ(pipelines_.StatusOf(kJob)->ready_workers, 2u);
}

TEST_F(PipelinesTest, NoneIsFormedBelowTheLeastNumber) {
  JobConfig config = Config(2);
  config.min_workers = 2;
  Send(JobAdded{kJob, config, {}});
  for (WorkerHandle worker = 1; worker <= 3; ++worker) AddWorker(worker);
  EXPECT_THAT(pipelines_.PipelinesOf(kJob), IsEmpty()) << "it would keep memory from jobs that can run";
  EXPECT_THAT(All<StateChanged>(), IsEmpty());
  AddWorker(4);
  EXPECT_EQ(pipelines_.PipelinesOf(kJob).size(), 2u);
}

TEST_F(PipelinesTest, MembersAreOfOneKindAndCanBeStages) {
  AddJob(2);
  AddWorker(1, 0, "a");
  AddWorker(2, 0, "b");
  AddWorker(3, 0, "a", /*can_be_stage=*/false);
  EXPECT_THAT(pipelines_.PipelinesOf(kJob), IsEmpty());
  AddWorker(4, 0, "b");
  EXPECT_EQ(All<OpenReplica>().at(0).worker, 2u);
  EXPECT_EQ(All<OpenReplica>().at(1).worker, 4u);
}

TEST_F(PipelinesTest, WhoHoldsTheWholeModelServesAlone) {
  AddJob(0);
  AddWorker(1, 60);
  EXPECT_FALSE(All<OpenReplica>().at(0).stage.has_value());
  AddWorker(2, 59);
  EXPECT_THAT(All<OpenReplica>(), IsEmpty());
  AddWorker(3, 25);
  ASSERT_EQ(All<OpenReplica>().size(), 2u) << "the small ones do it together: as few as can";
  EXPECT_EQ(All<OpenReplica>()[0].stage->count, 2u);
  AddWorker(4);
  EXPECT_FALSE(All<OpenReplica>().at(0).stage.has_value()) << "one that does not say what it has";
}

TEST_F(PipelinesTest, AsFewStagesAsHoldTheModel) {
  AddJob(0);
  AddWorker(1, 25);
  AddWorker(2, 25);
  EXPECT_THAT(All<OpenReplica>(), IsEmpty());
  EXPECT_EQ(All<StateChanged>().at(0).reason, "WAITING_FOR_MEMORY");
  EXPECT_THAT(All<StateChanged>()[0].message, HasSubstr("60 B"));
  EXPECT_THAT(All<StateChanged>()[0].message, HasSubstr("10 B are missing"));
  AddWorker(3, 25);
  ASSERT_EQ(All<OpenReplica>().size(), 3u);
}

TEST_F(PipelinesTest, MemoryThatOtherJobsHoldIsNotGivenTwice) {
  AddJob(2, /*probes=*/1);
  AddWorker(1, 40);
  AddWorker(2, 40);
  ASSERT_EQ(All<OpenReplica>().size(), 2u);
  Send(JobAdded{2, Config(2, 1), {}});
  EXPECT_THAT(All<OpenReplica>(), IsEmpty());
  EXPECT_EQ(All<StateChanged>().at(0).reason, "WAITING_FOR_MEMORY");
  Send(JobCancelled{kJob});
  EXPECT_THAT(Closed(), ElementsAre(1, 2));
  ASSERT_EQ(All<OpenReplica>().size(), 2u);
  EXPECT_EQ(All<OpenReplica>()[0].job, 2u);
}

TEST_F(PipelinesTest, NorIsMemoryThatWholeModelsHold) {
  JobConfig whole = Config(0, 1);
  whole.base_model = "another";
  AddWorker(1, 90);
  AddWorker(2, 90);
  Send(JobAdded{2, whole, {}});
  ASSERT_EQ(All<OpenReplica>().size(), 1u);
  EXPECT_EQ(All<OpenReplica>()[0].worker, 1u);
  AddJob(2, 1);
  ASSERT_EQ(All<OpenReplica>().size(), 2u);
  EXPECT_EQ(All<OpenReplica>()[0].worker, 2u) << "more is free here";
  EXPECT_EQ(All<OpenReplica>()[0].stage->layers, (LayerRange{0, 3}));
  Send(JobAdded{3, Config(3, 1), {}});
  EXPECT_THAT(All<OpenReplica>(), IsEmpty());
}

TEST_F(PipelinesTest, APausedJobHoldsNoPipeline) {
  ReadyPipeline(2);
  Send(JobPaused{kJob});
  EXPECT_THAT(Closed(), ElementsAre(1, 2));
  EXPECT_THAT(All<PipelineLost>(), IsEmpty()) << "nothing went wrong";
  EXPECT_THAT(pipelines_.PipelinesOf(kJob), IsEmpty());
  Send(JobResumed{kJob});
  EXPECT_EQ(All<OpenReplica>().size(), 2u);
}

TEST_F(PipelinesTest, ReplicasThatDisagreeAreMadeAnewAtTheSameWorkers) {
  const std::vector<OpenReplica> opens = ReadyPipeline(2);
  const SendWork first = All<SendWork>().at(1);
  for (WorkerHandle worker : {3, 4}) AddWorker(worker);
  MakeReady(All<OpenReplica>());
  Send(Answer(2, first, 2));
  Send(StepStored{kJob, 0, absl::OkStatus()});
  const std::vector<SendWork> works = All<SendWork>();
  ASSERT_EQ(works.size(), 4u);
  Send(Answer(2, works[1], 2));
  Send(Answer(4, works[3], 3));
  EXPECT_EQ(All<Observed>().at(0).kind, Observed::Kind::kDivergence);
  const std::vector<OpenReplica> again = All<OpenReplica>();
  ASSERT_EQ(again.size(), 4u);
  for (uint32_t i = 0; i < 4; ++i) EXPECT_EQ(again[i].worker, i + 1);
  EXPECT_GT(again[0].stage->pipeline, opens[0].stage->pipeline);
  EXPECT_NE(again[0].stage->pipeline, again[2].stage->pipeline);
  EXPECT_THAT(All<PipelineFormed>(), IsEmpty());
}

TEST_F(PipelinesTest, EachStageIsAskedForItsPartOfASnapshot) {
  JobConfig config = Config(2, 1);
  config.snapshot_steps = 1;
  Send(JobAdded{kJob, config, {}});
  AddWorker(1);
  AddWorker(2);
  MakeReady(All<OpenReplica>());
  Send(Answer(2, All<SendWork>().at(1), 2));
  Send(StepStored{kJob, 0, absl::OkStatus()});
  const std::vector<RequestSnapshot> requests = All<RequestSnapshot>();
  ASSERT_EQ(requests.size(), 2u);
  EXPECT_EQ(requests[0].worker, 1u);
  EXPECT_EQ(requests[1].worker, 2u);
}

}  // namespace
}  // namespace qzo::server::core
