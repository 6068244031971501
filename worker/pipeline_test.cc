// Workers that hold a model between them: agents linked in process and by gRPC, led as a coordinator would.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "tests/support/status_matchers.h"
#include "worker/fakes.h"
#include "worker/grpc_stages.h"
#include "worker/member.h"
#include "worker/oracle.h"
#include "worker/stage_fakes.h"

namespace qzo::worker {
namespace {

using ::testing::HasSubstr;

using Ranges = std::vector<model::LayerRange>;
const Ranges kTwo = {{0, 3}, {3, 5}}, kThree = {{0, 2}, {2, 3}, {3, 5}};

class PipelineTest : public ::testing::TestWithParam<bool> {
 protected:
  Member& AddMember(int64_t memory_bytes = int64_t{1} << 30) {
    StageTransport* transport = &in_process_;
    if (GetParam()) {
      GrpcStages::Options options;
      options.listen = "127.0.0.1:0";
      options.clock = base::SystemClock();
      auto stages = GrpcStages::Start(options);
      EXPECT_OK(stages);
      grpc_.push_back(*std::move(stages));
      transport = grpc_.back().get();
    }
    return members_.emplace_back(transport, &blobs_, memory_bytes);
  }
  void AddMembers(size_t count) {
    while (members_.size() < count) AddMember();
  }

  // Of stage i, which member order[i] is; 0, 1, 2, … without.
  v1::OpenJob StageOf(const v1::OpenJob& job, uint64_t pipeline, const Ranges& ranges, size_t i,
                      std::vector<size_t> order = {}) {
    if (order.empty()) {
      for (size_t member = 0; member < ranges.size(); ++member) order.push_back(member);
    }
    v1::OpenJob open = job;
    v1::StagePlan& plan = *open.mutable_stage();
    plan.set_pipeline(pipeline);
    plan.set_index(static_cast<uint32_t>(i));
    plan.set_count(static_cast<uint32_t>(ranges.size()));
    plan.set_first_layer(static_cast<uint32_t>(ranges[i].begin));
    plan.set_end_layer(static_cast<uint32_t>(ranges[i].end));
    plan.set_secret(std::string(32, static_cast<char>(pipeline)));
    plan.set_pass_rows(200);
    if (i + 1 < ranges.size()) {
      plan.set_next_address(GetParam() ? grpc_[order[i + 1]]->address() : std::string("here"));
    }
    return open;
  }
  // Opens all stages and waits for them. Returns the sum of their digests.
  uint64_t OpenPipeline(const v1::OpenJob& job, uint64_t pipeline, const Ranges& ranges) {
    AddMembers(ranges.size());
    for (size_t i = ranges.size(); i-- > 0;) members_[i].Open(StageOf(job, pipeline, ranges, i));
    uint64_t digest = 0;
    for (size_t i = 0; i < ranges.size(); ++i) {
      const v1::ReplicaReady ready = members_[i].NextReady();
      EXPECT_EQ(ready.job(), job.job());
      EXPECT_EQ(ready.pipeline(), pipeline);
      EXPECT_EQ(ready.step(), job.step());
      digest += ready.digest();
    }
    return digest;
  }
  void SendAll(const v1::CoordinatorMessage& message, size_t count) {
    for (size_t i = 0; i < count; ++i) members_[i].agent->Receive(message);
  }

  FakeBlobs blobs_;
  InProcessStages in_process_;
  std::vector<std::unique_ptr<GrpcStages>> grpc_;
  std::deque<Member> members_;
};

TEST_P(PipelineTest, ItsAnswersAreThoseOfTheWholeModel) {
  for (const Ranges& ranges : {kTwo, kThree}) {
    const size_t n = ranges.size();
    Oracle oracle(TinyMethod());
    const v1::OpenJob job = TinyJob(static_cast<uint32_t>(n), TinyMethod(), &blobs_);
    EXPECT_EQ(OpenPipeline(job, n, ranges), oracle.replica->digest());
    Member& last = members_[n - 1];
    const size_t sent = members_[0].uplink->sent();

    SendAll(Work(job.job(), 0, {}, 0, kItems), n);
    v1::Results results = last.NextResults();
    EXPECT_EQ(results.digest(), oracle.replica->digest());
    EXPECT_THAT(results.counts(), ::testing::ElementsAre(4));
    EXPECT_EQ(std::vector<double>(results.losses().begin(), results.losses().end()), oracle.Losses(0, kItems));

    ASSERT_OK(oracle.replica->Apply(kSteps[0]));
    SendAll(Work(job.job(), 1, kSteps[0], 1, 2), n);
    results = last.NextResults();
    EXPECT_EQ(results.digest(), oracle.replica->digest());
    EXPECT_EQ(std::vector<double>(results.losses().begin(), results.losses().end()), oracle.Losses(1, 2));

    ASSERT_OK(oracle.replica->Apply(kSteps[1]));
    SendAll(Work(job.job(), 2, kSteps[1], 0, 0), n);  // commit only: no answer
    v1::CoordinatorMessage evaluation;
    evaluation.mutable_eval_work()->set_job(job.job());
    evaluation.mutable_eval_work()->set_step(2);
    evaluation.mutable_eval_work()->set_split(v1::TEST);
    evaluation.mutable_eval_work()->set_item_count(1);
    SendAll(evaluation, n);
    const v1::WorkerMessage answer = last.uplink->Next();
    ASSERT_TRUE(answer.has_eval_results()) << answer.ShortDebugString();
    EXPECT_EQ(answer.eval_results().digest(), oracle.replica->digest());
    std::vector<int32_t> rows(static_cast<size_t>(answer.eval_results().items(0).rows()));
    for (size_t i = 0; i < rows.size(); ++i) rows[i] = static_cast<int32_t>(i);
    const model::EvalSums expected = oracle.Evaluate("tiny_test", rows);
    EXPECT_EQ(answer.eval_results().items(0).loss_sum(), expected.loss_sum);
    EXPECT_EQ(answer.eval_results().items(0).loss_count(), expected.loss_count);

    EXPECT_EQ(members_[0].uplink->sent(), sent) << "only the last stage answers";
    EXPECT_GT(last.metrics.items.Value(), 0);
    EXPECT_EQ(members_[0].metrics.items.Value(), 0) << "items are counted once";
    for (size_t i = 0; i < n; ++i) EXPECT_EQ(members_[i].metrics.troubles.Value(), 0);
  }
}

TEST_P(PipelineTest, WhatIsSentIsTheResidualStreamAndLittleElse) {
  Oracle oracle(TinyMethod());
  OpenPipeline(TinyJob(1, TinyMethod(), &blobs_), 1, kThree);
  SendAll(Work(1, 0, {}, 0, kItems), 3);
  members_[2].NextResults();
  const double rows = static_cast<double>(oracle.Rows(0, kItems)) * 64 * sizeof(float);
  for (size_t i = 0; i < 2; ++i) {
    const double sent = members_[i].metrics.stage_sent_bytes.Value();
    EXPECT_GT(sent, rows);
    EXPECT_LT(sent, 1.01 * rows + 100);
  }
  EXPECT_EQ(members_[2].metrics.stage_sent_bytes.Value(), 0);
  for (const Member& member : members_) EXPECT_GT(member.metrics.stage_busy.Value(), 0);
  EXPECT_GT(members_[2].metrics.stage_wait.Value(), 0);
}

TEST_P(PipelineTest, ASnapshotIsCollectedAlongItAndCutForTheNext) {
  Oracle oracle(TinyMethod());
  const v1::OpenJob job = TinyJob(1, TinyMethod(), &blobs_);
  OpenPipeline(job, 1, kThree);
  ASSERT_OK(oracle.replica->Apply(kSteps[0]));
  SendAll(Work(1, 1, kSteps[0], 0, 0), 3);
  v1::CoordinatorMessage request;
  request.mutable_snapshot()->set_job(1);
  request.mutable_snapshot()->set_step(1);
  SendAll(request, 3);
  SendAll(Work(1, 2, kSteps[1], 0, 1), 3);
  const auto [header, multipliers] = blobs_.WaitForSnapshot();
  EXPECT_EQ(header.job(), job.name());
  EXPECT_EQ(header.step(), 1u);
  EXPECT_EQ(header.digest(), oracle.replica->digest());
  EXPECT_EQ(absl::MakeConstSpan(multipliers), oracle.replica->multipliers());
  ASSERT_OK(oracle.replica->Apply(kSteps[1]));
  EXPECT_EQ(members_[2].NextResults().digest(), oracle.replica->digest());

  v1::OpenJob later = job;
  later.set_snapshot_blob(blobs_.Add(Bytes(multipliers)));
  later.set_snapshot_step(1);
  later.set_journal(Journal(1, 3));
  later.set_step(3);
  ASSERT_OK(oracle.replica->Apply(kSteps[2]));
  EXPECT_EQ(OpenPipeline(later, 2, kTwo), oracle.replica->digest());
  SendAll(Work(1, 3, {}, 2, 1), 2);
  const v1::Results results = members_[1].NextResults();
  EXPECT_EQ(std::vector<double>(results.losses().begin(), results.losses().end()), oracle.Losses(2, 1));
}

// Either worker has the first stage of one job and the last of the other: neither may wait for the other while it
// computes.
TEST_P(PipelineTest, TwoThatCrossDoNotWaitForEachOther) {
  AddMembers(2);
  Oracle oracle(TinyMethod());
  const std::vector<double> expected = oracle.Losses(0, kItems);
  const v1::OpenJob one = TinyJob(1, TinyMethod(), &blobs_), other = TinyJob(2, TinyMethod(), &blobs_);
  members_[0].Open(StageOf(one, 1, kTwo, 0));
  members_[1].Open(StageOf(one, 1, kTwo, 1));
  members_[1].Open(StageOf(other, 2, kTwo, 0, {1, 0}));
  members_[0].Open(StageOf(other, 2, kTwo, 1, {1, 0}));
  for (Member& member : members_) {
    member.NextReady();
    member.NextReady();
  }
  for (const uint32_t job : {1u, 2u}) {
    for (size_t first = 0; first < 2; ++first) {
      Member& member = members_[job == 1 ? first : 1 - first];
      for (int times = 0; times < 3; ++times) member.agent->Receive(Work(job, 0, {}, 0, kItems));
    }
  }
  for (int times = 0; times < 3; ++times) {
    for (const size_t member : {0, 1}) {
      const v1::Results results = members_[member].NextResults();
      EXPECT_EQ(results.job(), member == 1 ? 1u : 2u);
      EXPECT_EQ(std::vector<double>(results.losses().begin(), results.losses().end()), expected);
    }
  }
}

TEST_P(PipelineTest, AJobOfOneStageDoesNotKeepOthersFromTheWorker) {
  OpenPipeline(TinyJob(1, TinyMethod(), &blobs_), 1, kTwo);
  members_[1].ExpectOnlyAnswersOf(2, &blobs_);
  members_[1].agent->Receive(Work(1, 0, {}, 0, kItems));  // waits for its first stage, which was not told
  members_[1].agent->Receive(Work(2, 0, {}, 0, kItems));
  EXPECT_EQ(members_[1].NextResults().job(), 2u);
  members_[0].agent->Receive(Work(1, 0, {}, 0, kItems));
  EXPECT_EQ(members_[1].NextResults().job(), 1u);
}

TEST_P(PipelineTest, AMemberWhoseJobIsClosedEndsItQuietlyForTheOthers) {
  OpenPipeline(TinyJob(1, TinyMethod(), &blobs_), 1, kThree);
  SendAll(Work(1, 0, {}, 0, kItems), 3);
  members_[2].NextResults();
  members_[1].agent->Receive(Work(1, 0, {}, 0, kItems));  // so that they wait
  members_[2].agent->Receive(Work(1, 0, {}, 0, kItems));
  members_[0].Close(1);
  for (Member& member : members_) member.ExpectOnlyAnswersOf(2, &blobs_);
  for (Member& member : members_) {
    member.Close(1);
    member.agent.reset();
    EXPECT_EQ(member.metrics.troubles.Value(), 0);
  }
}

TEST_P(PipelineTest, AMemberThatDrainsLeavesAtOnce) {
  OpenPipeline(TinyJob(1, TinyMethod(), &blobs_), 1, kTwo);
  members_[1].agent->Receive(Work(1, 0, {}, 0, kItems));  // of which the first stage will never hear
  members_[1].agent->Drain();
  EXPECT_TRUE(members_[1].uplink->Next().has_leaving());
  EXPECT_EQ(members_[1].uplink->Closed(), 2u) << "ready, leaving";
  members_[0].ExpectOnlyAnswersOf(2, &blobs_);
}

TEST_P(PipelineTest, ItsOwnTroubleIsAMembersOwn) {
  OpenPipeline(TinyJob(1, TinyMethod(), &blobs_), 1, kThree);
  members_[0].agent->Receive(Work(1, 1, kSteps[0], 0, 1));
  members_[1].agent->Receive(Work(1, 0, {}, 0, 1));
  members_[2].agent->Receive(Work(1, 1, kSteps[0], 0, 1));
  EXPECT_EQ(
      members_[1].NextTrouble(absl::StatusCode::kAborted, "the stage before is at step 1, this one at 0").pipeline(),
      1u);
  members_[0].ExpectOnlyAnswersOf(2, &blobs_);
  members_[2].ExpectOnlyAnswersOf(2, &blobs_);
}

TEST_P(PipelineTest, AStageTakesTheMemoryOfItsLayers) {
  Oracle oracle(TinyMethod());
  const auto part = model::Model::Load(testing::TestFile("golden/models/stories260k/stories260K-Q4_1.gguf"), kTwo[1]);
  ASSERT_OK(part);
  const int64_t multipliers =
      model::Replica::PartitionOf(**part, TinyMethod()).values() * static_cast<int64_t>(sizeof(float));
  const int64_t enough = (*part)->resident_bytes() + multipliers;
  ASSERT_LT(enough, static_cast<int64_t>(TinyModel().size()));
  AddMember();
  AddMember(enough);
  OpenPipeline(TinyJob(1, TinyMethod(), &blobs_), 1, kTwo);
  EXPECT_EQ(members_[1].cache.mapped_bytes(), (*part)->resident_bytes());
  AddMember(enough - 1);
  v1::OpenJob open = StageOf(TinyJob(1, TinyMethod(), &blobs_), 2, kTwo, 1);
  members_[2].Open(open);
  EXPECT_EQ(members_[2].NextTrouble(absl::StatusCode::kResourceExhausted, "that this worker may use").pipeline(), 2u);
}

TEST_P(PipelineTest, PlansThatMakeNoSenseAreRefused) {
  AddMembers(2);
  const v1::OpenJob job = TinyJob(1, TinyMethod(), &blobs_);
  const auto expect = [&](const v1::OpenJob& open, const std::string& text) {
    members_[1].Open(open);
    EXPECT_EQ(members_[1].NextTrouble(absl::StatusCode::kInvalidArgument, text).pipeline(), open.stage().pipeline());
  };
  expect(StageOf(job, 1, {{0, 2}, {2, 4}}, 1), "stage 2 of 2: layers [2, 4) of 5");
  expect(StageOf(job, 2, {{0, 2}, {2, 9}}, 1), "layers [2, 9), expected some of its 5");
  expect(StageOf(job, 3, {{0, 2}, {2, 2}}, 1), "stage.end_layer: 2, expected more than 2");
  v1::OpenJob open = StageOf(job, 4, kTwo, 1);
  open.mutable_stage()->set_index(2);
  expect(open, "stage.index: 2, expected below 2");
  open = StageOf(job, 5, kTwo, 1);
  open.mutable_stage()->set_next_address("there:1");
  expect(open, "stage.next_address: 'there:1', expected none at stage 1 of 2");
  open = StageOf(job, 6, kTwo, 1);
  open.mutable_stage()->clear_secret();
  expect(open, "stage.secret");
  open = StageOf(job, 7, kTwo, 1);
  open.mutable_stage()->set_pass_rows(0);
  expect(open, "stage.pass_rows");
  Member alone(nullptr, &blobs_, int64_t{1} << 30);
  alone.Open(StageOf(job, 8, kTwo, 1));
  EXPECT_EQ(alone.NextTrouble(absl::StatusCode::kFailedPrecondition, "no --stage-address").pipeline(), 8u);
}

INSTANTIATE_TEST_SUITE_P(Transports, PipelineTest, ::testing::Bool(),
                         [](const auto& grpc) { return grpc.param ? "Grpc" : "InProcess"; });

class LostLinkTest : public PipelineTest {};

TEST_P(LostLinkTest, BothNeighboursOfALostStageSaySo) {
  OpenPipeline(TinyJob(1, TinyMethod(), &blobs_), 1, kThree);
  members_[0].ExpectOnlyAnswersOf(2, &blobs_);
  members_[2].agent->Receive(Work(1, 0, {}, 0, kItems));  // one waits, one is idle
  grpc_[1]->Shutdown();
  EXPECT_EQ(members_[0]
                .NextTrouble(absl::StatusCode::kUnavailable, "link of stage 1 of 3 to the next stage: lost")
                .pipeline(),
            1u);
  EXPECT_EQ(members_[2]
                .NextTrouble(absl::StatusCode::kUnavailable, "link of stage 3 of 3 to the previous stage: lost")
                .pipeline(),
            1u);
  members_[0].agent->Receive(Work(2, 0, {}, 0, kItems));
  EXPECT_EQ(members_[0].NextResults().job(), 2u) << "other jobs go on";
}

TEST_P(LostLinkTest, APipelineFormedAnewWithAnotherMemberGoesOn) {
  Oracle oracle(TinyMethod());
  AddMembers(4);
  const v1::OpenJob job = TinyJob(1, TinyMethod(), &blobs_);
  OpenPipeline(job, 1, kThree);
  grpc_[1]->Shutdown();
  EXPECT_EQ(members_[0].NextTrouble(absl::StatusCode::kUnavailable, "lost").pipeline(), 1u);
  EXPECT_EQ(members_[2].NextTrouble(absl::StatusCode::kUnavailable, "lost").pipeline(), 1u);
  const std::vector<size_t> order = {0, 3, 2};
  for (size_t i = 0; i < order.size(); ++i) members_[order[i]].Open(StageOf(job, 2, kThree, i, order));
  for (const size_t member : order) EXPECT_EQ(members_[member].NextReady().pipeline(), 2u);
  for (const size_t member : order) members_[member].agent->Receive(Work(1, 0, {}, 0, kItems));
  const v1::Results results = members_[2].NextResults();
  EXPECT_EQ(std::vector<double>(results.losses().begin(), results.losses().end()), oracle.Losses(0, kItems));
}

TEST_P(LostLinkTest, AStageWithAnotherSecretIsTrouble) {
  AddMembers(2);
  const v1::OpenJob job = TinyJob(1, TinyMethod(), &blobs_);
  members_[1].Open(StageOf(job, 1, kTwo, 1));
  v1::OpenJob first = StageOf(job, 1, kTwo, 0);
  first.mutable_stage()->set_secret("another");
  members_[0].Open(first);
  EXPECT_EQ(members_[0].NextTrouble(absl::StatusCode::kPermissionDenied, "not the pipeline's secret").pipeline(), 1u);
}

INSTANTIATE_TEST_SUITE_P(Transports, LostLinkTest, ::testing::Values(true), [](const auto&) { return "Grpc"; });

}  // namespace
}  // namespace qzo::worker
