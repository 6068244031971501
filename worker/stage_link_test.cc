// Links between stages, whatever carries them, and what gRPC adds.
#include "worker/stage_link.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <latch>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "tests/support/certificates.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_dir.h"
#include "worker/grpc_stages.h"
#include "worker/stage_fakes.h"

namespace qzo::worker {
namespace {

using ::qzo::testing::StatusIs;
using ::testing::HasSubstr;

GrpcStages::Options Loopback() {
  GrpcStages::Options options;
  options.listen = "127.0.0.1:0";
  options.clock = base::SystemClock();
  return options;
}

std::unique_ptr<GrpcStages> Start(const GrpcStages::Options& options) {
  auto stages = GrpcStages::Start(options);
  EXPECT_OK(stages);
  return stages.ok() ? *std::move(stages) : nullptr;
}

// Of stage `index` of a pipeline of two.
v1::StagePlan Plan(uint32_t index, const std::string& next_address) {
  v1::StagePlan plan;
  plan.set_pipeline(7);
  plan.set_index(index);
  plan.set_count(2);
  plan.set_secret(std::string(32, 's'));
  plan.set_next_address(next_address);
  return plan;
}

v1::StageFrame Frame(uint32_t row, size_t bytes = 100) {
  v1::StageFrame frame;
  frame.mutable_rows()->set_row(row);
  frame.mutable_rows()->set_values(std::string(bytes, static_cast<char>(row)));
  return frame;
}

void ExpectInOrder(const absl::Status& status) {
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kCancelled, HasSubstr("the pipeline has ended")));
}

class StageLinkTest : public ::testing::TestWithParam<bool> {
 protected:
  StageLinkTest() {
    if (GetParam()) {
      grpc_[0] = Start(Loopback());
      grpc_[1] = Start(Loopback());
    }
  }
  StageTransport* transport(size_t i) {
    return GetParam() ? static_cast<StageTransport*>(grpc_[i].get()) : &in_process_;
  }
  std::unique_ptr<FrameSource> Accept() {
    return transport(1)->Accept(Plan(1, ""), [this] { source_ended_.count_down(); });
  }
  std::unique_ptr<FrameSink> Dial() {
    auto sink =
        transport(0)->Dial(Plan(0, GetParam() ? grpc_[1]->address() : "here"), [this] { sink_ended_.count_down(); });
    EXPECT_OK(sink);
    return *std::move(sink);
  }
  // Both ends of a link.
  std::pair<std::unique_ptr<FrameSink>, std::unique_ptr<FrameSource>> Link() {
    auto source = Accept();
    auto sink = Dial();
    EXPECT_OK(sink->Connect());
    EXPECT_OK(source->Connect());
    return {std::move(sink), std::move(source)};
  }

  std::latch source_ended_{1}, sink_ended_{1};
  InProcessStages in_process_;
  std::unique_ptr<GrpcStages> grpc_[2];
};

TEST_P(StageLinkTest, FramesArriveAsTheyWereSentInOrder) {
  const auto [sink, source] = Link();
  std::thread sender([&sink = sink] {
    for (uint32_t i = 0; i < 200; ++i) EXPECT_OK(sink->Send(Frame(i, 1 + 997 * (i % 50))));
  });
  for (uint32_t i = 0; i < 200; ++i) {
    ASSERT_OK_AND_ASSIGN(const v1::StageFrame frame, source->Receive());
    EXPECT_EQ(frame.SerializeAsString(), Frame(i, 1 + 997 * (i % 50)).SerializeAsString());
  }
  sender.join();
}

TEST_P(StageLinkTest, MoreThanTheBuffersHoldWaitsForTheReader) {
  const auto [sink, source] = Link();
  constexpr uint32_t kFrames = 160;  // of 1 MiB: more than both buffers and the wire take
  std::thread sender([&sink = sink] {
    for (uint32_t i = 0; i < kFrames; ++i) EXPECT_OK(sink->Send(Frame(i, 1 << 20)));
  });
  for (uint32_t i = 0; i < kFrames; ++i) {
    ASSERT_OK_AND_ASSIGN(const v1::StageFrame frame, source->Receive());
    EXPECT_EQ(frame.rows().row(), i);
  }
  sender.join();
}

TEST_P(StageLinkTest, EitherSideMayComeFirst) {
  auto sink = Dial();
  std::unique_ptr<FrameSource> source;
  std::thread late([&] {
    source = Accept();
    EXPECT_OK(source->Connect());
  });
  EXPECT_OK(sink->Connect());
  late.join();
  EXPECT_OK(sink->status());
  EXPECT_OK(source->status());
}

TEST_P(StageLinkTest, TheSendersEndReachesTheReceiver) {
  auto [sink, source] = Link();
  ASSERT_OK(sink->Send(Frame(1)));
  ASSERT_OK(source->Receive());
  sink->End();
  source_ended_.wait();
  ExpectInOrder(source->status());
  ExpectInOrder(source->Receive().status());
  ExpectInOrder(sink->Send(Frame(2)));
  EXPECT_FALSE(sink_ended_.try_wait()) << "it knows";
}

TEST_P(StageLinkTest, TheReceiversEndReachesTheSender) {
  auto [sink, source] = Link();
  source->End();
  sink_ended_.wait();
  ExpectInOrder(sink->status());
  ExpectInOrder(sink->Send(Frame(2)));
  ExpectInOrder(source->Receive().status());
  EXPECT_FALSE(source_ended_.try_wait()) << "it knows";
}

TEST_P(StageLinkTest, AnEndWakesWhoeverWaitsForANeighbour) {
  auto source = Accept();
  std::thread expecting([&] { ExpectInOrder(source->Connect()); });
  source->End();
  expecting.join();
  auto sink = Dial();
  std::thread dialing([&] { ExpectInOrder(sink->Connect()); });
  sink->End();
  dialing.join();
}

TEST_P(StageLinkTest, AnEndWakesWhoeverWaitsForAFrame) {
  auto [sink, source] = Link();
  std::thread reader([&source = source] { ExpectInOrder(source->Receive().status()); });
  source->End();
  reader.join();
}

INSTANTIATE_TEST_SUITE_P(Transports, StageLinkTest, ::testing::Bool(),
                         [](const auto& grpc) { return grpc.param ? "Grpc" : "InProcess"; });

class GrpcStagesTest : public ::testing::Test {
 protected:
  absl::StatusOr<std::unique_ptr<FrameSink>> Dial(GrpcStages* from, const v1::StagePlan& plan) {
    return from->Dial(plan, [this] { sink_ended_.count_down(); });
  }
  std::latch source_ended_{1}, sink_ended_{1};
};

TEST_F(GrpcStagesTest, AnotherSecretIsRefused) {
  const auto first = Start(Loopback()), second = Start(Loopback());
  const auto source = second->Accept(Plan(1, ""), [] {});
  v1::StagePlan plan = Plan(0, second->address());
  plan.set_secret(std::string(32, 't'));
  ASSERT_OK_AND_ASSIGN(const auto sink, Dial(first.get(), plan));
  EXPECT_THAT(sink->Connect(), StatusIs(absl::StatusCode::kPermissionDenied, HasSubstr("secret")));
  EXPECT_OK(source->status()) << "a stranger ends nothing";
}

TEST_F(GrpcStagesTest, AStageIsFedOnce) {
  const auto first = Start(Loopback()), second = Start(Loopback());
  const auto source = second->Accept(Plan(1, ""), [] {});
  ASSERT_OK_AND_ASSIGN(const auto sink, Dial(first.get(), Plan(0, second->address())));
  ASSERT_OK(sink->Connect());
  ASSERT_OK_AND_ASSIGN(const auto again, Dial(first.get(), Plan(0, second->address())));
  EXPECT_THAT(again->Connect(), StatusIs(absl::StatusCode::kAlreadyExists, HasSubstr("another call")));
  ASSERT_OK(sink->Send(Frame(1)));
  EXPECT_EQ(source->Receive()->rows().row(), 1u);
}

TEST_F(GrpcStagesTest, AStageThatStaysAwayIsGivenUp) {
  GrpcStages::Options hasty = Loopback();
  hasty.dial_timeout = absl::ZeroDuration();
  const auto first = Start(hasty);
  std::string address;
  {
    const auto second = Start(Loopback());
    address = second->address();
    ASSERT_OK_AND_ASSIGN(const auto unexpected, Dial(first.get(), Plan(0, address)));
    EXPECT_THAT(unexpected->Connect(), StatusIs(absl::StatusCode::kUnavailable, HasSubstr("no such stage")));
  }
  ASSERT_OK_AND_ASSIGN(const auto nobody, Dial(first.get(), Plan(0, address)));
  EXPECT_THAT(nobody->Connect(), StatusIs(absl::StatusCode::kUnavailable, HasSubstr(address)));
}

TEST_F(GrpcStagesTest, ALostSenderIsALoss) {
  auto first = Start(Loopback()), second = Start(Loopback());
  const auto source = second->Accept(Plan(1, ""), [this] { source_ended_.count_down(); });
  ASSERT_OK_AND_ASSIGN(const auto sink, Dial(first.get(), Plan(0, second->address())));
  ASSERT_OK(sink->Connect());
  first->Shutdown();
  source_ended_.wait();
  EXPECT_THAT(source->status(), StatusIs(absl::StatusCode::kUnavailable, HasSubstr("lost")));
}

TEST_F(GrpcStagesTest, ALostReceiverIsALoss) {
  auto first = Start(Loopback()), second = Start(Loopback());
  const auto source = second->Accept(Plan(1, ""), [] {});
  ASSERT_OK_AND_ASSIGN(const auto sink, Dial(first.get(), Plan(0, second->address())));
  ASSERT_OK(sink->Connect());
  second->Shutdown();
  sink_ended_.wait();
  EXPECT_THAT(sink->Send(Frame(1)), StatusIs(absl::StatusCode::kUnavailable, HasSubstr("lost")));
}

TEST_F(GrpcStagesTest, WithCertificatesLinksAreEncryptedAtBothEnds) {
  const testing::TempDir directory;
  testing::Authority authority(directory.path(), "authority"), other(directory.path(), "other");
  GrpcStages::Options options = Loopback();
  options.tls = authority.Issue("worker", "IP:127.0.0.1");
  const auto first = Start(options), second = Start(options);
  const auto source = second->Accept(Plan(1, ""), [] {});
  options.tls = other.Issue("stranger", "IP:127.0.0.1");
  options.dial_timeout = absl::ZeroDuration();
  const auto stranger = Start(options);
  ASSERT_OK_AND_ASSIGN(const auto refused, Dial(stranger.get(), Plan(0, second->address())));
  EXPECT_THAT(refused->Connect(), StatusIs(absl::StatusCode::kUnavailable, HasSubstr(second->address())));
  GrpcStages::Options clear = Loopback();
  clear.dial_timeout = absl::ZeroDuration();
  const auto in_the_clear = Start(clear);
  ASSERT_OK_AND_ASSIGN(const auto unencrypted, Dial(in_the_clear.get(), Plan(0, second->address())));
  EXPECT_THAT(unencrypted->Connect(), StatusIs(absl::StatusCode::kUnavailable, HasSubstr(second->address())));

  ASSERT_OK_AND_ASSIGN(const auto sink, Dial(first.get(), Plan(0, second->address())));
  ASSERT_OK(sink->Connect());
  ASSERT_OK(sink->Send(Frame(5)));
  EXPECT_EQ(source->Receive()->rows().row(), 5u);
}

TEST_F(GrpcStagesTest, WorkersWithoutNamesOfTheirOwnShareACertificatesName) {
  const testing::TempDir directory;
  testing::Authority authority(directory.path(), "authority");
  GrpcStages::Options options = Loopback();
  options.tls = authority.Issue("worker", "DNS:qzo-worker");
  options.dial_timeout = absl::ZeroDuration();
  const auto by_host = Start(options);
  options.tls_name = "qzo-worker";
  const auto first = Start(options), second = Start(options);
  const auto source = second->Accept(Plan(1, ""), [] {});
  ASSERT_OK_AND_ASSIGN(const auto wrong, Dial(by_host.get(), Plan(0, second->address())));
  EXPECT_THAT(wrong->Connect(), StatusIs(absl::StatusCode::kUnavailable, HasSubstr(second->address())));
  ASSERT_OK_AND_ASSIGN(const auto sink, Dial(first.get(), Plan(0, second->address())));
  EXPECT_OK(sink->Connect());
}

TEST_F(GrpcStagesTest, RefusesAddressesThatItShouldNotOrCannotUse) {
  GrpcStages::Options options = Loopback();
  options.listen = "0.0.0.0:0";
  EXPECT_THAT(GrpcStages::Start(options).status(),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("clear text")));
  const auto stages = Start(Loopback());
  options.listen = stages->address();
  EXPECT_THAT(GrpcStages::Start(options).status(),
              StatusIs(absl::StatusCode::kUnavailable, HasSubstr("cannot listen")));
  options = Loopback();
  options.advertise = "worker-1.example:0";
  EXPECT_THAT(Start(options)->address(), ::testing::MatchesRegex("worker-1.example:[1-9][0-9]*"));
}

}  // namespace
}  // namespace qzo::worker
