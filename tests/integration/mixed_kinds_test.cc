// Workers of different arithmetic in one job that pins none: their losses differ in the last digits, their replicas do
// not, and what the journal says replays bit for bit whoever measured. Real processes.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/integration/fleet.h"

namespace qzo::testing {
namespace {

using ::testing::HasSubstr;

uint64_t Items(Fleet& fleet, const std::string& worker) {
  const nlohmann::json shown =
      nlohmann::json::parse(fleet.Ctl({"get", "workers", worker, "-o", "json"}).out, nullptr, false);
  return std::stoull(shown.value("items", "0"));
}

TEST(MixedKinds, TrainOneJobWhoseJournalIsProved) {
  Fleet fleet;
  fleet.StartWorker("integer", {"--arithmetic", "int16"});
  fleet.StartWorker("float", {"--arithmetic", "fp32"});
  ASSERT_TRUE(Eventually([&] { return fleet.Ctl({"get", "workers", "float"}).code == 0; }));
  ASSERT_TRUE(Eventually([&] { return fleet.Ctl({"get", "workers", "integer"}).code == 0; }));
  ASSERT_EQ(fleet.Ctl({"submit", "-f", fleet.TinyJob("job", 30), "--set", "placement.min_workers=2", "--detach"}).code,
            0);
  fleet.ExpectSuccess("job");
  EXPECT_GT(Items(fleet, "integer"), 0u);
  EXPECT_GT(Items(fleet, "float"), 0u);
  const std::string events = fleet.Ctl({"events", "job"}).out;
  EXPECT_THAT(events, ::testing::Not(HasSubstr("disagree"))) << "replicas of all kinds are the same";
  EXPECT_THAT(events, ::testing::Not(HasSubstr("differ")));
  EXPECT_FALSE(fleet.Download("job").journal.empty());
  const CommandResult proof = fleet.Ctl({"verify", fleet.dir().File("job.safetensors"), "--model",
                                         TestFile("golden/models/stories260k/stories260K-Q4_1.gguf")});
  EXPECT_EQ(proof.code, 0) << proof.out << proof.errors;
}

TEST(MixedKinds, AJobThatPinsAKindIsServedByItAlone) {
  Fleet fleet;
  fleet.StartWorker("integer", {"--arithmetic", "int16"});
  fleet.StartWorker("float", {"--arithmetic", "fp32"});
  ASSERT_TRUE(Eventually([&] { return fleet.Ctl({"get", "workers", "integer"}).code == 0; }));
  ASSERT_TRUE(Eventually([&] { return fleet.Ctl({"get", "workers", "float"}).code == 0; }));
  const nlohmann::json worker =
      nlohmann::json::parse(fleet.Ctl({"get", "workers", "float", "-o", "json"}).out, nullptr, false);
  ASSERT_EQ(fleet
                .Ctl({"submit", "-f", fleet.TinyJob("job", 10), "--set", "placement.kind=" + worker.value("kind", ""),
                      "--detach"})
                .code,
            0);
  fleet.ExpectSuccess("job");
  EXPECT_EQ(Items(fleet, "integer"), 0u);
  EXPECT_GT(Items(fleet, "float"), 0u);
}

}  // namespace
}  // namespace qzo::testing
