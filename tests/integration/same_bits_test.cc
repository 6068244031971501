// The promise: one job, one result, bit for bit, whoever worked and whatever happened to them. Real processes; each
// test is compared with an undisturbed run on one worker.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/fs.h"
#include "tests/integration/disturbed_job.h"
#include "tests/support/small_disk.h"

namespace qzo::testing {
namespace {

using SameBits = DisturbedJob;

TEST_F(SameBits, WithTwoWorkers) {
  fleet_.StartWorker("a");
  fleet_.StartWorker("b");
  Submit();
  ExpectUndisturbedResult();
}

TEST_F(SameBits, WithThreeWorkersOneOfWhichIsKilledInTheMiddle) {
  for (const char* name : {"a", "b", "c"}) fleet_.StartWorker(name);
  Submit();
  WaitForStep(5);
  EXPECT_EQ(fleet_.StopWorker("b", SIGKILL), 128 + SIGKILL);
  ExpectUndisturbedResult();
}

TEST_F(SameBits, WithAWorkerThatComesLateAndOneThatDrains) {
  fleet_.StartWorker("a");
  Submit();
  WaitForStep(5);
  fleet_.StartWorker("late");
  ASSERT_TRUE(Eventually([&] { return fleet_.Job("job")["progress"].value("workers", 0) == 2; }));
  EXPECT_EQ(fleet_.StopWorker("a", SIGTERM), 0) << "a clean drain";
  ExpectUndisturbedResult();
}

TEST_F(SameBits, WithAWorkerOnAnotherProcessor) {
  const char* program = std::getenv("QZO_OTHER_WORKER");  // scripts/arm64-test.sh sets it
  if (program == nullptr) GTEST_SKIP() << "no worker for another processor";
  fleet_.StartWorker("a");
  fleet_.StartWorker("other", {}, program);
  ASSERT_TRUE(Eventually([&] { return fleet_.Ctl({"get", "workers", "other"}).code == 0; }));
  Submit({"placement.min_workers=2"});
  ExpectUndisturbedResult();
  const nlohmann::json other = nlohmann::json::parse(fleet_.Ctl({"get", "workers", "other", "-o", "json"}).out);
  EXPECT_NE(other.value("items", "0"), "0") << "it measured nothing";
}

TEST_F(SameBits, WithTheCoordinatorKilledAndStartedAgain) {
  fleet_.StartWorker("a");
  fleet_.StartWorker("b");
  Submit();
  WaitForStep(5);
  const uint32_t acknowledged = fleet_.Step("job");
  fleet_.KillServer(SIGKILL);
  fleet_.StartServer();
  EXPECT_GE(fleet_.Step("job"), acknowledged) << "an acknowledged step was lost";
  ExpectUndisturbedResult();
}

TEST_F(SameBits, WithPauseAndResume) {
  fleet_.StartWorker("a");
  Submit();
  WaitForStep(5);
  ASSERT_EQ(fleet_.Ctl({"pause", "job"}).code, 0);
  EXPECT_EQ(fleet_.State("job"), "PAUSED");
  EXPECT_EQ(fleet_.Ctl({"pause", "job"}).code, 8) << "pausing twice is a conflict";
  ASSERT_EQ(fleet_.Ctl({"resume", "job"}).code, 0);
  ExpectUndisturbedResult();
}

TEST(SameBitsOnASmallDisk, WithADiskThatWasFullForAWhile) {
  SmallDisk disk(12 << 20);
  if (!disk.mounted()) GTEST_SKIP() << "mounting a tmpfs needs root";
  Fleet fleet([&](const TempDir&) { return Fleet::Flags{.data_dir = disk.File("server")}; });
  fleet.StartWorker("a");
  ASSERT_EQ(fleet.Ctl({"submit", "-f", fleet.TinyJob("job", kSteps), "--detach"}).code, 0);
  ASSERT_TRUE(Eventually([&] { return fleet.Step("job") >= 5; }));

  const std::string filler = disk.File("filler");
  {
    std::ofstream out(filler, std::ios::binary);
    const std::string megabyte(1 << 20, 'x');
    while (out << megabyte << std::flush) {
    }
    out.clear();
    while (out << 'x' << std::flush) {  // to the last byte
    }
  }
  ASSERT_TRUE(Eventually([&] { return fleet.Job("job").value("reason", "") == "STORE_ERROR"; }))
      << fleet.Ctl({"logs", "job"}).out;
  EXPECT_THAT(fleet.Job("job").value("message", ""), ::testing::HasSubstr("full"));
  const uint32_t durable = fleet.Step("job");
  const CommandResult refused =
      fleet.Ctl({"upload", "model", TestFile("golden/models/stories260k/stories260K-F32.gguf")});
  EXPECT_EQ(refused.code, 9) << refused.errors;
  EXPECT_THAT(refused.errors, ::testing::HasSubstr("No space left"));
  EXPECT_LE(fleet.Step("job"), durable + 1) << "nothing is acknowledged that is not stored";

  ASSERT_EQ(::unlink(filler.c_str()), 0);
  fleet.ExpectSuccess("job");
  const Fleet::Result result = fleet.Download("job");
  EXPECT_TRUE(result.journal == Undisturbed().journal) << "the journals differ";
  EXPECT_TRUE(result.adapter == Undisturbed().adapter) << "the adapters differ";
}

TEST_F(SameBits, TheAdapterIsProvedFromItsJournal) {
  fleet_.StartWorker("a");
  Submit();
  ExpectUndisturbedResult();
  const CommandResult proof = fleet_.Ctl({"verify", fleet_.dir().File("job.safetensors"), "--model",
                                          TestFile("golden/models/stories260k/stories260K-Q4_1.gguf")});
  EXPECT_EQ(proof.code, 0) << proof.out << proof.errors;
}

}  // namespace
}  // namespace qzo::testing
