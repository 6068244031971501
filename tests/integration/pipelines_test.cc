// A model held by several workers, each some of its layers, gives the bits of one worker that holds it all. Real
// processes; activations travel over gRPC on loopback.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <limits>

#include "tests/integration/disturbed_job.h"

namespace qzo::testing {
namespace {

using ::testing::HasSubstr;

class Pipelines : public DisturbedJob {
 protected:
  void Submit(int stages) { DisturbedJob::Submit({"placement.stages=" + std::to_string(stages)}); }
  // The workers of its first pipeline, in the order of stages.
  std::vector<std::string> Members() {
    std::vector<std::string> members;
    const nlohmann::json job = fleet_.Job("job");
    if (!job.contains("pipelines")) return members;
    for (const auto& stage : job["pipelines"][0]["stages"]) {
      members.push_back(stage.value("worker", "").substr(std::string("workers/").size()));
    }
    return members;
  }
};

TEST_F(Pipelines, OfThreeWorkers) {
  for (const char* name : {"a", "b", "c"}) fleet_.StartWorker(name);
  Submit(3);
  WaitForStep(2);
  EXPECT_EQ(Members().size(), 3u);
  EXPECT_THAT(fleet_.Ctl({"describe", "job", "job"}).out, HasSubstr("Pipeline: "));
  ExpectUndisturbedResult();
  EXPECT_THAT(fleet_.Ctl({"events", "job"}).out, HasSubstr("pipeline of 3: layer"));
  double fastest = std::numeric_limits<double>::infinity();
  const nlohmann::json events = nlohmann::json::parse(fleet_.Ctl({"events", "job", "-o", "json"}).out, nullptr, false);
  for (const auto& event : events["events"]) {
    if (event.contains("step")) fastest = std::min(fastest, event["step"].value("seconds", fastest));
  }
  EXPECT_LT(fastest, 1) << "no stage waits for its own results";
}

TEST_F(Pipelines, WhoseMiddleStageIsKilledWhileThereIsASpareWorker) {
  for (const char* name : {"a", "b", "c", "d"}) fleet_.StartWorker(name);
  ASSERT_TRUE(Eventually([&] { return fleet_.Ctl({"get", "workers", "-o", "name"}).out.size() > 36; }));
  Submit(3);
  WaitForStep(4);
  const std::vector<std::string> before = Members();
  ASSERT_EQ(before.size(), 3u);
  EXPECT_EQ(fleet_.StopWorker(before[1], SIGKILL), 128 + SIGKILL);
  ExpectUndisturbedResult();
  EXPECT_THAT(fleet_.Ctl({"events", "job"}).out, HasSubstr("a pipeline ended at stage"));
}

TEST_F(Pipelines, WhoseFirstStageDrainsAndIsReplacedByALateWorker) {
  for (const char* name : {"a", "b"}) fleet_.StartWorker(name);
  Submit(2);
  WaitForStep(4);
  const std::vector<std::string> before = Members();
  ASSERT_EQ(before.size(), 2u);
  EXPECT_EQ(fleet_.StopWorker(before[0], SIGTERM), 0) << "a clean drain";
  ASSERT_TRUE(Eventually([&] { return fleet_.Job("job").value("reason", "") == "WAITING_FOR_WORKERS"; }));
  EXPECT_THAT(fleet_.Job("job").value("message", ""), HasSubstr("1 attached"));
  fleet_.StartWorker("late");
  ExpectUndisturbedResult();
}

TEST_F(Pipelines, TwoOfThemAreReplicasAndOutliveTheCoordinator) {
  for (const char* name : {"a", "b", "c", "d"}) fleet_.StartWorker(name);
  Submit(2);
  WaitForStep(2);
  ASSERT_TRUE(Eventually([&] { return fleet_.Job("job")["progress"].value("workers", 0) == 2; }));
  fleet_.KillServer(SIGKILL);
  fleet_.StartServer();
  ExpectUndisturbedResult();
}

// F32 weighs 1.0 MiB; small items keep the activations below that.
TEST(PipelinesByThemselves, HoldWhatNoWorkerHolds) {
  const auto run = [](const std::vector<std::pair<std::string, std::string>>& workers, int expected_stages) {
    Fleet fleet;
    for (const auto& [name, memory] : workers) fleet.StartWorker(name, {"--memory", memory});
    const CommandResult submitted =
        fleet.Ctl({"submit", "-f", fleet.TinyJob("job", 8, ", micro_batches: 8"), "--set",
                   "base_model=" + TestFile("golden/models/stories260k/stories260K-F32.gguf"), "--detach"});
    EXPECT_EQ(submitted.code, 0) << submitted.errors;
    fleet.ExpectSuccess("job");
    const std::string events = fleet.Ctl({"events", "job"}).out;
    EXPECT_EQ(events.find("pipeline of ") != std::string::npos, expected_stages > 1) << events;
    return fleet.Download("job");
  };
  const Fleet::Result whole = run({{"large", "64MiB"}}, 1);
  const Fleet::Result shared = run({{"a", "1000KB"}, {"b", "1000KB"}, {"c", "1000KB"}}, 3);
  EXPECT_FALSE(whole.journal.empty());
  EXPECT_TRUE(whole.journal == shared.journal) << "the journals differ";
}

TEST(PipelinesByThemselves, WaitForMemoryAndSayHowMuchIsMissing) {
  Fleet fleet;
  fleet.StartWorker("a", {"--memory", "300KB"});
  fleet.StartWorker("b", {"--memory", "300KB"});
  const CommandResult submitted =
      fleet.Ctl({"submit", "-f", fleet.TinyJob("job", 8, ", micro_batches: 8"), "--set",
                 "base_model=" + TestFile("golden/models/stories260k/stories260K-F32.gguf"), "--detach"});
  EXPECT_EQ(submitted.code, 0) << submitted.errors;
  EXPECT_TRUE(Eventually([&] { return fleet.Job("job").value("reason", "") == "WAITING_FOR_MEMORY"; }))
      << fleet.Job("job").dump();
  EXPECT_THAT(fleet.Job("job").value("message", ""), HasSubstr("are missing"));
}

}  // namespace
}  // namespace qzo::testing
