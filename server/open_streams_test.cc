// Streams end with the token that opened them: one of every kind over a real server, and a clock that the test moves.
#include "server/open_streams.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <deque>
#include <functional>

#include "qzo/v1/inference.grpc.pb.h"
#include "server/test_server.h"
#include "tests/support/fake_clock.h"
#include "tests/support/processes.h"

namespace qzo::server {
namespace {

using ::qzo::testing::StatusIs;
using ::testing::_;
using Role = v1::Token;

class OpenStreamsTest : public ::testing::Test {
 protected:
  static constexpr absl::Duration kLife = absl::Minutes(1);

  OpenStreamsTest() {
    admin_ = server_.secret = server_.AdminSecret();
    EXPECT_OK(server_.UploadModel("stories", StoriesModel()));
    EXPECT_OK(server_.UploadDataset("train", Rows(8)));
    EXPECT_OK(server_.Call(server_.jobs, &v1::JobService::Stub::CreateJob, JobRequest("j")));
    const absl::StatusOr<v1::Dataset> large = server_.UploadDataset("large", LargeRows(24));
    EXPECT_OK(large);
    large_ = large.value_or(v1::Dataset()).digest();
  }

  // An open stream; `end` reads to its end.
  struct Open {
    std::string name;
    std::function<absl::Status()> end;
  };
  grpc::ClientContext* NewContext() {
    contexts_.emplace_back();
    server_.Prepare(&contexts_.back(), absl::Minutes(2));
    return &contexts_.back();
  }
  template <typename Message, typename Stream>
  static Open ReadToEnd(const std::string& name, std::unique_ptr<Stream> stream) {
    return {name, [stream = std::shared_ptr<Stream>(std::move(stream))] {
              for (Message message; stream->Read(&message);) {
              }
              return rpc::FromGrpc(stream->Finish());
            }};
  }

  Open Watch() {
    v1::WatchJobRequest request;
    request.set_name("projects/p/jobs/j");
    auto stream = server_.jobs->WatchJob(NewContext(), request);
    v1::WatchJobResponse item;
    EXPECT_TRUE(stream->Read(&item));
    return ReadToEnd<v1::WatchJobResponse>("watch", std::move(stream));
  }
  // Of a file that does not fit into what client and server hold between them.
  Open Download() {
    v1::FetchBlobRequest request;
    request.set_digest(large_);
    auto stream = server_.coordination->FetchBlob(NewContext(), request);
    v1::Chunk chunk;
    EXPECT_TRUE(stream->Read(&chunk));
    return ReadToEnd<v1::Chunk>("download", std::move(stream));
  }
  Open Upload() {
    const size_t blobs = server_.CountBlobs();
    const auto response = std::make_shared<v1::Dataset>();
    const std::shared_ptr<grpc::ClientWriter<v1::CreateDatasetRequest>> stream =
        server_.datasets->CreateDataset(NewContext(), response.get());
    v1::CreateDatasetRequest request;
    request.mutable_header()->set_parent("projects/p");
    EXPECT_TRUE(stream->Write(request));
    request.set_data("{\"a\":1}\n");
    EXPECT_TRUE(stream->Write(request));
    EXPECT_TRUE(testing::Eventually([&] { return server_.CountBlobs() > blobs; }));
    return {"upload", [stream, response] { return rpc::FromGrpc(stream->Finish()); }};
  }
  Open Work() {
    auto stream = server_.coordination->Work(NewContext());
    v1::WorkerMessage message;
    message.mutable_attach()->set_worker("w");
    message.mutable_attach()->set_incarnation("1");
    message.mutable_attach()->set_kind("fp32-1/cpu");
    EXPECT_TRUE(stream->Write(message));
    v1::CoordinatorMessage attached;
    EXPECT_TRUE(stream->Read(&attached));
    return ReadToEnd<v1::CoordinatorMessage>("work", std::move(stream));
  }
  // A worker that serves, and a text that it has begun.
  std::vector<Open> ServeAndGenerate() {
    auto worker = serving_->Serve(NewContext());
    v1::ServingMessage message;
    message.mutable_hello()->set_worker("w");
    message.mutable_hello()->set_slots(1);
    EXPECT_TRUE(worker->Write(message));
    v1::GenerateRequest request;
    request.set_parent("projects/p");
    request.set_model(kModelName);
    request.set_prompt("Once");
    // The server may hear calls before it hears the worker: one that is kept waiting has reached it.
    for (absl::Status probe; !absl::IsDeadlineExceeded(probe);) {
      grpc::ClientContext context;
      server_.Prepare(&context, absl::Milliseconds(200));
      const auto stream = inference_->Generate(&context, request);
      v1::GenerateResponse response;
      EXPECT_FALSE(stream->Read(&response));
      probe = rpc::FromGrpc(stream->Finish());
      EXPECT_TRUE(absl::IsDeadlineExceeded(probe) || absl::IsUnavailable(probe)) << probe;
    }
    v1::ServingRequest seen;
    EXPECT_TRUE(worker->Read(&seen) && worker->Read(&seen)) << "begun and cancelled";
    auto caller = inference_->Generate(NewContext(), request);
    EXPECT_TRUE(worker->Read(&seen));
    message.set_request(seen.request());
    message.mutable_text()->set_text(" upon");
    EXPECT_TRUE(worker->Write(message));
    v1::GenerateResponse response;
    EXPECT_TRUE(caller->Read(&response));
    std::vector<Open> both;
    both.push_back(ReadToEnd<v1::GenerateResponse>("generate", std::move(caller)));
    both.push_back(ReadToEnd<v1::ServingRequest>("serve", std::move(worker)));
    return both;
  }
  // With the caller's secret.
  std::vector<Open> OneOfEachKind() {
    std::vector<Open> streams = ServeAndGenerate();
    for (Open stream : {Watch(), Upload(), Work(), Download()}) streams.push_back(std::move(stream));
    return streams;
  }
  void ExpectEnded(const std::vector<Open>& streams, const std::string& reason) {
    for (const Open& stream : streams) {
      const absl::Status status = stream.end();
      EXPECT_TRUE(absl::IsUnauthenticated(status)) << stream.name << ": " << status;
      EXPECT_EQ(rpc::ReasonOf(status), reason) << stream.name;
    }
  }

  testing::FakeClock clock_;
  TestServer server_{[this](Server::Options* options) {
    RequireTokens(options);
    options->clock = &clock_;
    options->calls_per_second = 0;
    options->housekeeping = absl::Milliseconds(10);
  }};
  const std::unique_ptr<v1::InferenceService::Stub> inference_ = v1::InferenceService::NewStub(server_.channel);
  const std::unique_ptr<v1::Serving::Stub> serving_ = v1::Serving::NewStub(server_.channel);
  std::string admin_;
  std::string large_;
  std::deque<grpc::ClientContext> contexts_;
};

TEST_F(OpenStreamsTest, EveryStreamEndsWhenItsTokenExpires) {
  const size_t blobs = server_.CountBlobs();
  const std::string lasting = server_.NewToken("-", "lasting", Role::ADMIN, clock_.Now() + 2 * kLife);
  server_.secret = server_.NewToken("-", "brief", Role::ADMIN, clock_.Now() + kLife);
  const std::vector<Open> streams = OneOfEachKind();
  server_.secret = lasting;
  const Open other = Watch();
  grpc::ClientContext* const others_context = &contexts_.back();
  clock_.Advance(kLife);
  ExpectEnded(streams, "TOKEN_EXPIRED");
  EXPECT_TRUE(testing::Eventually([&] { return server_.CountBlobs() == blobs; })) << "nothing is left of the upload";
  others_context->TryCancel();
  EXPECT_THAT(other.end(), StatusIs(absl::StatusCode::kCancelled, _)) << "by its caller, not by the server";
}

TEST_F(OpenStreamsTest, EveryStreamEndsWhenItsTokenIsRevoked) {
  const size_t blobs = server_.CountBlobs();
  server_.secret = server_.NewToken("-", "leaked", Role::ADMIN);
  const std::vector<Open> streams = OneOfEachKind();
  server_.secret = admin_;
  ASSERT_OK(server_.RevokeToken("projects/-/tokens/leaked"));
  server_.NewToken("-", "leaked", Role::ADMIN);  // another one, whatever its name
  ExpectEnded(streams, "TOKEN_REVOKED");
  EXPECT_TRUE(testing::Eventually([&] { return server_.CountBlobs() == blobs; }));
}

TEST_F(OpenStreamsTest, WhoDoesNotReadIsBrokenOffAfterAWhile) {
  server_.secret = server_.NewToken("-", "brief", Role::ADMIN, clock_.Now() + kLife);
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_HTTP2_BDP_PROBE, 0);  // the first chunk is larger than the window, which stays as it is
  const auto stub = v1::Coordination::NewStub(grpc::CreateCustomChannel(
      absl::StrCat("unix:", server_.directory().File("socket")), grpc::InsecureChannelCredentials(), arguments));
  v1::FetchBlobRequest request;
  request.set_digest(large_);
  auto stream = stub->FetchBlob(NewContext(), request);
  stream->WaitForInitialMetadata();  // comes with the first chunk's beginning
  const Open download = ReadToEnd<v1::Chunk>("download", std::move(stream)), watch = Watch();
  clock_.Advance(kLife);
  ExpectEnded({watch}, "TOKEN_EXPIRED");
  EXPECT_TRUE(TestServer::Maps(large_)) << "it is still being sent, as far as the server knows";
  clock_.Advance(OpenStreams::kGrace);
  EXPECT_TRUE(testing::Eventually([&] { return !TestServer::Maps(large_); }));
  // What it hears depends on what gRPC had still to send when the stream was broken off.
  EXPECT_THAT(download.end(), ::testing::AnyOf(StatusIs(absl::StatusCode::kCancelled, _),
                                               StatusIs(absl::StatusCode::kUnauthenticated, _)));
}

TEST_F(OpenStreamsTest, AServerThatLeavesEndsTheEndlessOnes) {
  const Open watch = Watch(), work = Work();
  server_.Stop();
  for (const Open& stream : {watch, work}) {
    EXPECT_THAT(stream.end(), StatusIs(absl::StatusCode::kUnavailable, ::testing::HasSubstr("shutting down")));
  }
}

TEST(OpenStreams, EndlessOnesThatComeAfterTheEndEndAtOnceAndNoneTwice) {
  testing::FakeClock clock;
  OpenStreams streams(&clock);
  int gone = 0, open = 0, finite = 0, late = 0;
  const auto stream = [](int* ends, bool endless) {
    return OpenStreams::Stream{.end = [ends](const absl::Status&) { ++*ends; }, .endless = endless};
  };
  { const OpenStreams::Entry entry(&streams, stream(&gone, true)); }
  const OpenStreams::Entry entry(&streams, stream(&open, true)), download(&streams, stream(&finite, false));
  streams.CloseAll();
  streams.CloseAll();
  const OpenStreams::Entry after(&streams, stream(&late, true));
  EXPECT_EQ(gone, 0);
  EXPECT_EQ(open, 1);
  EXPECT_EQ(finite, 0);
  EXPECT_EQ(late, 1);
}

}  // namespace
}  // namespace qzo::server
