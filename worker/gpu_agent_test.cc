// Workers on GPUs, which the emulator stands for: alone, and as the stages of a pipeline.
#include <gtest/gtest.h>

#include <atomic>
#include <deque>
#include <memory>
#include <vector>

#include "kernels/cuda/host/emulated_communicators.h"
#include "kernels/cuda/host/emulated_gpu.h"
#include "model/graph/gpu_passes.h"
#include "tests/support/status_matchers.h"
#include "worker/member.h"
#include "worker/oracle.h"
#include "worker/stage_fakes.h"

namespace qzo::worker {
namespace {

method::MethodSpec SmallMethod(bool deltas) {
  method::MethodSpec method = TinyMethod();
  method.train_unquantized = deltas;
  method.probes = 1;
  method.micro_batches = 1;
  method.batch_size = 1;
  return method;
}

std::vector<double> LossesOf(const v1::Results& results) { return {results.losses().begin(), results.losses().end()}; }

// Stands, until it is told to hurry: then each look at it is later by a second than the last.
class HastyClock final : public base::Clock {
 public:
  absl::Time Now() const override { return absl::UnixEpoch() + Monotonic(); }
  absl::Duration Monotonic() const override { return absl::Seconds(hurries_ ? seconds_++ : 0); }
  void Hurry() { hurries_ = true; }

 private:
  std::atomic<bool> hurries_{false};
  mutable std::atomic<int64_t> seconds_{1};
};

class GpuAgentsTest : public ::testing::Test {
 protected:
  Member& AddMember(kernels::cuda::Communicators* communicators = nullptr,
                    const base::Clock* clock = base::SystemClock()) {
    gpus_.push_back(kernels::cuda::MakeEmulatedGpu());
    return members_.emplace_back(&transport_, &blobs_, int64_t{1} << 30, gpus_.back().get(), clock, communicators);
  }
  // Stage i of two, at members_[i], with rows by NCCL between them or not.
  void OpenStage(const v1::OpenJob& job, uint64_t pipeline, size_t i, bool nccl) {
    constexpr uint32_t kCuts[] = {0, 2, 5};
    v1::OpenJob open = job;
    v1::StagePlan& plan = *open.mutable_stage();
    plan.set_pipeline(pipeline);
    plan.set_index(static_cast<uint32_t>(i));
    plan.set_count(2);
    plan.set_first_layer(kCuts[i]);
    plan.set_end_layer(kCuts[i + 1]);
    plan.set_secret(std::string(32, 's'));
    plan.set_pass_rows(60);  // a lane a pass
    if (i == 0) plan.set_next_address("here");
    plan.set_nccl_next(nccl && i == 0);
    plan.set_nccl_previous(nccl && i == 1);
    members_[i].Open(open);
  }
  void OpenPipeline(const v1::OpenJob& job, uint64_t pipeline, bool nccl) {
    for (size_t i = 2; i-- > 0;) OpenStage(job, pipeline, i, nccl);
    for (size_t i = 0; i < 2; ++i) EXPECT_EQ(members_[i].NextReady().pipeline(), pipeline);
  }
  // The last stage's answer to an item of step 0.
  std::vector<double> LossesOfPipeline(uint32_t job) {
    for (size_t i = 0; i < 2; ++i) members_[i].agent->Receive(Work(job, 0, {}, 0, 1));
    return LossesOf(members_[1].NextResults());
  }

  FakeBlobs blobs_;
  InProcessStages transport_;
  kernels::cuda::EmulatedCommunicators communicators_;
  std::deque<std::unique_ptr<kernels::cuda::Gpu>> gpus_;
  std::deque<Member> members_;
};

// The parameter: whether unquantized tensors are trained, too.
class GpuAgentTest : public GpuAgentsTest, public ::testing::WithParamInterface<bool> {};

TEST_P(GpuAgentTest, ItsLossesAreNearTheProcessorsAndItsReplicasTheSame) {
  Member& member = AddMember();
  Oracle oracle(SmallMethod(GetParam()));
  member.Open(TinyJob(1, SmallMethod(GetParam()), &blobs_));
  EXPECT_EQ(member.NextReady().digest(), oracle.replica->digest());
  const std::vector<std::vector<float>> steps = {{}, {0.02f}};
  for (uint32_t step = 0; step < steps.size(); ++step) {
    if (step > 0) {
      ASSERT_OK(oracle.replica->Apply(steps[step]));
    }
    member.agent->Receive(Work(1, step, steps[step], 0, 1));
    const v1::Results results = member.NextResults();
    EXPECT_EQ(results.digest(), oracle.replica->digest());
    const std::vector<double> found = LossesOf(results), expected = oracle.Losses(0, 1);
    ASSERT_EQ(found.size(), 2u);
    for (size_t i = 0; i < 2; ++i) EXPECT_NEAR(found[i], expected[i], 0.15) << i;  // gpu_passes_test.cc, kLogitError
    EXPECT_NE(found[0], found[1]);
  }
}

TEST_P(GpuAgentTest, APipelineOfThemHasTheBitsOfOne) {
  const method::MethodSpec method = SmallMethod(GetParam());
  Member& first = AddMember(&communicators_);
  Member& last = AddMember(&communicators_);
  Member& alone = AddMember();
  const v1::OpenJob whole = TinyJob(1, method, &blobs_);
  alone.Open(whole);
  alone.NextReady();
  const std::vector<std::vector<float>> steps = {{}, {0.02f}};
  std::vector<v1::Results> expected;
  Oracle oracle(method);
  double rows = 0;  // in bytes
  for (uint32_t step = 0; step < steps.size(); ++step) {
    if (step > 0) {
      ASSERT_OK(oracle.replica->Apply(steps[step]));
    }
    rows += static_cast<double>(oracle.Rows(0, 1)) * 64 * sizeof(float);
    alone.agent->Receive(Work(1, step, steps[step], 0, 1));
    expected.push_back(alone.NextResults());
  }
  for (const uint32_t job : {2u, 3u}) {
    const bool nccl = job == 3;
    SCOPED_TRACE(nccl ? "rows by NCCL" : "rows by the links");
    OpenPipeline(TinyJob(job, method, &blobs_), job, nccl);
    const double sent_before = first.metrics.stage_sent_bytes.Value();
    for (uint32_t step = 0; step < steps.size(); ++step) {
      for (Member* stage : {&first, &last}) stage->agent->Receive(Work(job, step, steps[step], 0, 1));
      const v1::Results found = last.NextResults();
      EXPECT_EQ(LossesOf(found), LossesOf(expected[step])) << "step " << step;
      EXPECT_EQ(found.digest(), expected[step].digest());
    }
    EXPECT_EQ(static_cast<double>(communicators_.bytes()), nccl ? rows : 0);
    const double sent = first.metrics.stage_sent_bytes.Value() - sent_before;
    EXPECT_GE(sent, rows) << "counted whichever way they go";
    EXPECT_LT(sent, 1.01 * rows + 200);
  }
}

TEST_F(GpuAgentsTest, WhoLosesTheDeviceLeavesAtOnceAndBlamesNoJob) {
  Member& member = AddMember();
  const v1::OpenJob job = TinyJob(1, SmallMethod(false), &blobs_);
  member.Open(job);
  member.NextReady();
  member.agent->Receive(Work(1, 0, {}, 0, 1));
  member.NextResults();
  EXPECT_OK(member.agent->lost());
  const size_t sent = member.uplink->sent();

  kernels::cuda::LoseEmulatedGpu(gpus_.back().get());
  member.agent->Receive(Work(1, 0, {}, 0, 1));
  EXPECT_TRUE(member.uplink->Aborted());
  EXPECT_EQ(member.uplink->sent(), sent);
  EXPECT_TRUE(absl::IsUnavailable(member.agent->lost()));
  EXPECT_TRUE(member.agent->draining()) << "Connection dials again";
}

TEST_F(GpuAgentsTest, ACommunicatorLivesAsLongAsItsLink) {
  AddMember(&communicators_);
  AddMember(&communicators_);
  const v1::OpenJob job = TinyJob(1, SmallMethod(false), &blobs_);
  OpenPipeline(job, 1, true);
  const std::vector<double> expected = LossesOfPipeline(1);
  // The sender of three passes waits for the second to be taken when the last stage closes the job.
  for (int times = 0; times < 3; ++times) members_[0].agent->Receive(Work(1, 0, {}, 0, 1));
  members_[1].Close(1);
  members_[0].ExpectOnlyAnswersOf(2, &blobs_);
  members_[0].Close(1);
  OpenPipeline(job, 3, true);
  EXPECT_EQ(LossesOfPipeline(1), expected) << "a new pipeline has communicators of its own";
}

TEST_F(GpuAgentsTest, WhoIsThereFirstWaitsForTheOtherUntilTheLinkEnds) {
  AddMember(&communicators_);
  AddMember(&communicators_);
  OpenStage(TinyJob(1, SmallMethod(false), &blobs_), 1, 0, true);
  v1::StagePlan second;
  second.set_pipeline(1);
  second.set_index(1);
  const auto link = transport_.Accept(second, [] {});
  ASSERT_OK(link->Connect());
  ASSERT_OK_AND_ASSIGN(const v1::StageFrame frame, link->Receive());
  EXPECT_TRUE(frame.has_communicator()) << "it joins";
  link->End();
  members_[0].ExpectOnlyAnswersOf(2, &blobs_);
}

TEST_F(GpuAgentsTest, RowsThatAreAnnouncedAndDoNotComeAreTrouble) {
  AddMember(&communicators_);
  HastyClock clock;
  AddMember(&communicators_, &clock);
  OpenPipeline(TinyJob(1, SmallMethod(false), &blobs_), 1, true);
  communicators_.Stall();
  clock.Hurry();
  for (Member& member : members_) member.agent->Receive(Work(1, 0, {}, 0, 1));
  members_[1].NextTrouble(absl::StatusCode::kDeadlineExceeded,
                          "link of stage 2 of 2 to the previous stage: NCCL: the rows that it announced did not come "
                          "within 1m");
  members_[0].ExpectOnlyAnswersOf(2, &blobs_);
}

TEST_F(GpuAgentsTest, APlanWithCommunicatorsIsRefusedWhereThereAreNone) {
  AddMember();
  AddMember();
  OpenStage(TinyJob(1, SmallMethod(false), &blobs_), 1, 1, true);
  members_[1].NextTrouble(absl::StatusCode::kFailedPrecondition, "this worker has no NCCL");
}

INSTANTIATE_TEST_SUITE_P(Trained, GpuAgentTest, ::testing::Bool(),
                         [](const auto& deltas) { return deltas.param ? "ScalesAndUnquantized" : "Scales"; });

}  // namespace
}  // namespace qzo::worker
