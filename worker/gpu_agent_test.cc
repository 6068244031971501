// Workers on GPUs, which the emulator stands for: alone, and as the stages of a pipeline.
#include <gtest/gtest.h>

#include <deque>
#include <memory>
#include <vector>

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

// The parameter: whether unquantized tensors are trained, too.
class GpuAgentTest : public ::testing::TestWithParam<bool> {
 protected:
  Member& AddMember() {
    gpus_.push_back(kernels::cuda::MakeEmulatedGpu());
    return members_.emplace_back(&transport_, &blobs_, int64_t{1} << 30, gpus_.back().get());
  }

  FakeBlobs blobs_;
  InProcessStages transport_;
  std::deque<std::unique_ptr<kernels::cuda::Gpu>> gpus_;
  std::deque<Member> members_;
};

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
  const v1::OpenJob whole = TinyJob(1, method, &blobs_), job = TinyJob(2, method, &blobs_);
  Member& alone = AddMember();
  alone.Open(whole);
  alone.NextReady();
  constexpr uint32_t kCuts[] = {0, 2, 5};
  Member* stages[] = {&AddMember(), &AddMember()};
  for (size_t i = 2; i-- > 0;) {
    v1::OpenJob open = job;
    v1::StagePlan& plan = *open.mutable_stage();
    plan.set_pipeline(9);
    plan.set_index(static_cast<uint32_t>(i));
    plan.set_count(2);
    plan.set_first_layer(kCuts[i]);
    plan.set_end_layer(kCuts[i + 1]);
    plan.set_secret(std::string(32, 's'));
    plan.set_pass_rows(60);  // a lane a pass
    if (i == 0) plan.set_next_address("here");
    stages[i]->Open(open);
  }
  for (Member* stage : stages) stage->NextReady();
  const std::vector<std::vector<float>> steps = {{}, {0.02f}};
  for (uint32_t step = 0; step < steps.size(); ++step) {
    alone.agent->Receive(Work(1, step, steps[step], 0, 1));
    for (Member* stage : stages) stage->agent->Receive(Work(2, step, steps[step], 0, 1));
    const v1::Results expected = alone.NextResults(), found = stages[1]->NextResults();
    EXPECT_EQ(LossesOf(found), LossesOf(expected)) << "step " << step;
    EXPECT_EQ(found.digest(), expected.digest());
  }
}

INSTANTIATE_TEST_SUITE_P(Trained, GpuAgentTest, ::testing::Bool(),
                         [](const auto& deltas) { return deltas.param ? "ScalesAndUnquantized" : "Scales"; });

}  // namespace
}  // namespace qzo::worker
