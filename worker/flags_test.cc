#include "worker/flags.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <string>
#include <vector>

#include "kernels/kernels.h"
#include "worker/process.h"

namespace qzo::worker {
namespace {

using ::testing::HasSubstr;

class FlagsTest : public ::testing::Test {
 protected:
  std::optional<Flags> Parse(std::vector<const char*> arguments) {
    arguments.insert(arguments.begin(), "qzo-worker");
    ::testing::internal::CaptureStderr();
    std::optional<Flags> flags = ParseFlags(static_cast<int>(arguments.size()), arguments.data(), &exit_code_);
    error_ = ::testing::internal::GetCapturedStderr();
    return flags;
  }
  int exit_code_ = -1;
  std::string error_;
};

TEST_F(FlagsTest, DefaultsAreUsable) {
  const std::optional<Flags> flags = Parse({});
  ASSERT_TRUE(flags.has_value());
  EXPECT_EQ(flags->endpoint.server, "127.0.0.1:7070");
  EXPECT_EQ(flags->name, IdFrom(flags->name));
  EXPECT_EQ(flags->arithmetic, kernels::Arithmetic::kInt16);
  EXPECT_NE(kernels::FindKernels(flags->kernels), nullptr);
  EXPECT_EQ(flags->memory_bytes, static_cast<uint64_t>(AvailableMemoryBytes()));
  EXPECT_GT(flags->memory_bytes, 0u);
  EXPECT_EQ(flags->metrics_address, "");
}

TEST_F(FlagsTest, SizesAreWrittenAsPeopleWriteThem) {
  EXPECT_EQ(Parse({"--memory", "8GiB"})->memory_bytes, uint64_t{8} << 30);
  EXPECT_EQ(Parse({"--memory=500MB"})->memory_bytes, 500'000'000u);
  EXPECT_FALSE(Parse({"--memory=lots"}).has_value());
  EXPECT_EQ(exit_code_, 2);
  EXPECT_FALSE(Parse({"--memory=0"}).has_value());
}

TEST_F(FlagsTest, AFlagWinsOverTheEnvironment) {
  ::setenv("QZO_SERVER", "127.0.0.1:1", 1);
  ::setenv("QZO_THREADS", "3", 1);
  const std::optional<Flags> flags = Parse({"--server", "127.0.0.1:2"});
  ::unsetenv("QZO_SERVER");
  ::unsetenv("QZO_THREADS");
  ASSERT_TRUE(flags.has_value());
  EXPECT_EQ(flags->endpoint.server, "127.0.0.1:2");
  EXPECT_EQ(flags->threads, 3);
}

TEST_F(FlagsTest, UnknownKernelsListThoseThatAreHere) {
  EXPECT_FALSE(Parse({"--kernels=referense"}).has_value());
  EXPECT_EQ(exit_code_, 2);
  EXPECT_THAT(error_, HasSubstr("did you mean 'reference'"));
  EXPECT_THAT(error_, HasSubstr("auto, reference"));
  EXPECT_EQ(Parse({"--kernels=reference"})->kernels, "reference");
  EXPECT_EQ(Parse({"--arithmetic=int8"})->arithmetic, kernels::Arithmetic::kInt8);
  EXPECT_FALSE(Parse({"--arithmetic=int4"}).has_value());
}

TEST_F(FlagsTest, BadFlagsExitWithTwo) {
  for (const char* bad : {"--no-such-flag", "--threads=-1", "--name=Not An Id", "--model=/no/such/file",
                          "--max-rows=-1", "--log-level=loud", "--log-format=xml"}) {
    exit_code_ = -1;
    EXPECT_FALSE(Parse({bad}).has_value()) << bad;
    EXPECT_EQ(exit_code_, 2) << bad;
    EXPECT_NE(error_, "") << bad;
  }
}

TEST_F(FlagsTest, HelpAndVersionEndWell) {
  for (const char* flag : {"--help", "--version"}) {
    ::testing::internal::CaptureStdout();
    EXPECT_FALSE(Parse({flag}).has_value());
    EXPECT_NE(::testing::internal::GetCapturedStdout(), "");
    EXPECT_EQ(exit_code_, 0);
  }
}

TEST(IdFrom, KeepsWhatAnIdMayHold) {
  EXPECT_EQ(IdFrom("Node-7.example"), "node-7-example");
  EXPECT_EQ(IdFrom("7-of-nine_"), "of-nine");
  EXPECT_EQ(IdFrom("123"), "worker");
  EXPECT_EQ(IdFrom(std::string(80, 'a')), std::string(63, 'a'));
}

TEST_F(FlagsTest, AnEmptyMetricsAddressIsNone) {
  const auto flags = Parse({"--metrics-address=", "--name", "w"});
  ASSERT_TRUE(flags.has_value()) << error_;
  EXPECT_EQ(flags->metrics_address, "");
  EXPECT_EQ(flags->name, "w");
}

TEST_F(FlagsTest, MetricsBeyondThisMachineAreAskedFor) {
  EXPECT_FALSE(Parse({"--metrics-address=0.0.0.0:9465"}).has_value());
  EXPECT_THAT(error_, HasSubstr("--metrics-open"));
  EXPECT_EQ(Parse({"--metrics-address=0.0.0.0:9465", "--metrics-open"})->metrics_address, "0.0.0.0:9465");
}

TEST_F(FlagsTest, StagesListenOnThisMachineUnlessToldOtherwise) {
  EXPECT_EQ(Parse({})->stage_address, "127.0.0.1:0");
  EXPECT_EQ(Parse({"--server=qzo.example:7070", "--insecure"})->stage_address, "") << "they could not reach each other";
  EXPECT_EQ(Parse({"--stage-address="})->stage_address, "");
  EXPECT_FALSE(Parse({"--stage-address=10.0.0.7:7072"}).has_value());
  EXPECT_EQ(exit_code_, 2);
  EXPECT_THAT(error_, HasSubstr("clear text"));
  EXPECT_EQ(Parse({"--stage-address=10.0.0.7:7072", "--insecure"})->stage_address, "10.0.0.7:7072");
  EXPECT_FALSE(Parse({"--stage-address=0.0.0.0:7072", "--insecure"}).has_value());
  EXPECT_THAT(error_, HasSubstr("--stage-advertise"));
  const auto flags = Parse({"--stage-address=0.0.0.0:7072", "--stage-advertise=w1:7072", "--insecure"});
  ASSERT_TRUE(flags.has_value()) << error_;
  EXPECT_EQ(flags->stage_advertise, "w1:7072");
  EXPECT_FALSE(Parse({"--stage-address=", "--stage-advertise=w1:7072"}).has_value());
}

TEST_F(FlagsTest, RowsTravelByNcclBetweenGpusOnNetworksThatAreTrusted) {
  EXPECT_EQ(Parse({})->stage_transport, "grpc");
  EXPECT_EQ(Parse({"--stage-transport=nccl", "--insecure"})->stage_transport, "nccl");
  EXPECT_FALSE(Parse({"--stage-transport=nccl"}).has_value()) << "on loopback too: NCCL chooses interfaces itself";
  EXPECT_THAT(error_, HasSubstr("pass --insecure on a network that you trust"));
  EXPECT_FALSE(Parse({"--stage-transport=nccl", "--insecure", "--device=cpu"}).has_value());
  EXPECT_THAT(error_, HasSubstr("not with --device cpu"));
  EXPECT_FALSE(Parse({"--stage-transport=nccl", "--insecure", "--stage-address="}).has_value());
  EXPECT_THAT(error_, HasSubstr("nccl without --stage-address"));
  EXPECT_FALSE(Parse({"--stage-transport=rdma"}).has_value());
}

TEST(Process, ItsPeakIsMoreThanAMegabyte) { EXPECT_GT(PeakResidentBytes(), 1 << 20); }

}  // namespace
}  // namespace qzo::worker
