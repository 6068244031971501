// Generate and Score through a real server, with a worker that says what the test makes it say.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "proto/grpc_status.h"
#include "qzo/v1/inference.grpc.pb.h"
#include "server/test_server.h"

namespace qzo::server {
namespace {

using ::qzo::testing::StatusIs;
using ::testing::_;
using ::testing::HasSubstr;

class InferenceServiceTest : public ::testing::Test {
 protected:
  InferenceServiceTest() {
    EXPECT_OK(server_.UploadModel("stories", StoriesModel()));
    Attach();
  }
  void Attach() {
    worker_context_ = std::make_unique<grpc::ClientContext>();
    worker_context_->set_deadline(absl::ToChronoTime(absl::Now() + absl::Minutes(1)));
    worker_ = serving_->Serve(worker_context_.get());
    v1::ServingMessage hello;
    hello.mutable_hello()->set_worker("w");
    hello.mutable_hello()->set_slots(2);
    EXPECT_TRUE(worker_->Write(hello));
    // The server may hear calls before it hears the worker: one that is kept waiting has reached it.
    for (absl::Status probe; !absl::IsDeadlineExceeded(probe);) {
      grpc::ClientContext context;
      context.set_deadline(absl::ToChronoTime(absl::Now() + absl::Milliseconds(200)));
      const auto stream = inference_->Generate(&context, Request());
      v1::GenerateResponse response;
      EXPECT_FALSE(stream->Read(&response));
      probe = rpc::FromGrpc(stream->Finish());
      ASSERT_TRUE(absl::IsDeadlineExceeded(probe) || absl::IsUnavailable(probe)) << probe;
    }
    v1::ServingRequest begun, cancelled;
    EXPECT_TRUE(worker_->Read(&begun) && worker_->Read(&cancelled));
    EXPECT_TRUE(cancelled.has_cancel());
  }
  v1::GenerateRequest Request() {
    v1::GenerateRequest request;
    request.set_parent("projects/p");
    request.set_model(kModelName);
    request.set_prompt("Once");
    return request;
  }
  // A call that is refused at once.
  absl::Status Refusal(const v1::GenerateRequest& request) {
    grpc::ClientContext context;
    server_.Prepare(&context, absl::Seconds(30));
    const auto stream = inference_->Generate(&context, request);
    v1::GenerateResponse response;
    EXPECT_FALSE(stream->Read(&response));
    return rpc::FromGrpc(stream->Finish());
  }
  std::unique_ptr<grpc::ClientReader<v1::GenerateResponse>> Begin(grpc::ClientContext* context,
                                                                  v1::ServingRequest* seen) {
    server_.Prepare(context, absl::Seconds(30));
    auto stream = inference_->Generate(context, Request());
    EXPECT_TRUE(worker_->Read(seen));
    return stream;
  }
  void Say(uint64_t request, const std::string& text, v1::GenerateResponse::Finish finish) {
    v1::ServingMessage message;
    message.set_request(request);
    message.mutable_text()->set_text(text);
    message.mutable_text()->set_finish(finish);
    EXPECT_TRUE(worker_->Write(message));
  }

  TestServer server_;
  const std::unique_ptr<v1::InferenceService::Stub> inference_ = v1::InferenceService::NewStub(server_.channel);
  const std::unique_ptr<v1::Serving::Stub> serving_ = v1::Serving::NewStub(server_.channel);
  std::unique_ptr<grpc::ClientContext> worker_context_;
  std::unique_ptr<grpc::ClientReaderWriter<v1::ServingMessage, v1::ServingRequest>> worker_;
};

TEST_F(InferenceServiceTest, PiecesOfATextComeInOrder) {
  grpc::ClientContext context;
  v1::ServingRequest seen;
  const auto stream = Begin(&context, &seen);
  EXPECT_EQ(seen.generate().prompt(), "Once");
  EXPECT_EQ(seen.model_digest().size(), 64u);
  EXPECT_EQ(seen.adapter_blob(), "");
  Say(seen.request(), " upon", v1::GenerateResponse::FINISH_UNSPECIFIED);
  Say(seen.request(), " a time", v1::GenerateResponse::STOP);
  std::string text;
  v1::GenerateResponse response;
  while (stream->Read(&response)) text += response.text();
  EXPECT_TRUE(stream->Finish().ok());
  EXPECT_EQ(text, " upon a time");
  EXPECT_EQ(response.finish(), v1::GenerateResponse::STOP);
}

TEST_F(InferenceServiceTest, ACallerThatLeavesIsToldTheWorker) {
  grpc::ClientContext context;
  v1::ServingRequest seen;
  const auto stream = Begin(&context, &seen);
  Say(seen.request(), "x", v1::GenerateResponse::FINISH_UNSPECIFIED);
  v1::GenerateResponse response;
  ASSERT_TRUE(stream->Read(&response));
  context.TryCancel();
  v1::ServingRequest cancel;
  ASSERT_TRUE(worker_->Read(&cancel));
  EXPECT_TRUE(cancel.has_cancel());
  EXPECT_EQ(cancel.request(), seen.request());
}

TEST_F(InferenceServiceTest, AWorkerThatIsLostInTheMiddleEndsTheCall) {
  grpc::ClientContext context;
  v1::ServingRequest seen;
  const auto stream = Begin(&context, &seen);
  Say(seen.request(), "x", v1::GenerateResponse::FINISH_UNSPECIFIED);
  v1::GenerateResponse response;
  ASSERT_TRUE(stream->Read(&response));
  worker_context_->TryCancel();
  EXPECT_FALSE(stream->Read(&response));
  EXPECT_THAT(rpc::FromGrpc(stream->Finish()), StatusIs(absl::StatusCode::kUnavailable, HasSubstr("is gone")));
}

TEST_F(InferenceServiceTest, ScoresComeAsTheWorkerGaveThemAndSoDoItsErrors) {
  v1::ScoreRequest request;
  request.set_parent("projects/p");
  request.set_model(kModelName);
  *request.mutable_task() = SentimentTask();
  request.add_rows("{}");
  for (const bool fails : {false, true}) {
    grpc::ClientContext context;
    server_.Prepare(&context, absl::Seconds(30));
    grpc::CompletionQueue queue;
    const auto call = inference_->AsyncScore(&context, request, &queue);
    v1::ScoreResponse response;
    grpc::Status status;
    call->Finish(&response, &status, nullptr);
    v1::ServingRequest seen;
    ASSERT_TRUE(worker_->Read(&seen));
    EXPECT_EQ(seen.score().rows_size(), 1);
    v1::ServingMessage answer;
    answer.set_request(seen.request());
    if (fails)
      *answer.mutable_error() = rpc::ToProto(absl::InvalidArgumentError("row 1: text is missing"));
    else
      answer.mutable_scores()->add_rows()->set_label(1);
    ASSERT_TRUE(worker_->Write(answer));
    void* tag = nullptr;
    bool ok = false;
    ASSERT_TRUE(queue.Next(&tag, &ok));
    if (fails) {
      EXPECT_THAT(rpc::FromGrpc(status), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("row 1")));
    } else {
      ASSERT_TRUE(status.ok()) << status.error_message();
      EXPECT_EQ(response.rows(0).label(), 1u);
    }
  }
}

TEST_F(InferenceServiceTest, WrongRequestsNameTheFieldThatIsWrong) {
  const auto invalid = absl::StatusCode::kInvalidArgument;
  v1::GenerateRequest request = Request();
  request.set_adapter("projects/p/adapters/a");
  EXPECT_THAT(Refusal(request), StatusIs(invalid, HasSubstr("a model or an adapter")));
  request = Request();
  request.clear_input();
  EXPECT_THAT(Refusal(request), StatusIs(invalid, HasSubstr("prompt")));
  request = Request();
  request.mutable_sampling()->set_max_tokens(5000);
  EXPECT_THAT(Refusal(request), StatusIs(invalid, HasSubstr("max_tokens")));
  request = Request();
  request.set_parent("p");
  EXPECT_THAT(Refusal(request), StatusIs(invalid, HasSubstr("parent")));
  request = Request();
  request.set_model("projects/p/models/none");
  EXPECT_THAT(Refusal(request), StatusIs(absl::StatusCode::kNotFound, HasSubstr("none")));
}

TEST_F(InferenceServiceTest, AServerThatStopsEndsCallsAndWorkersStreams) {
  grpc::ClientContext context;
  v1::ServingRequest seen;
  const auto stream = Begin(&context, &seen);
  server_.Stop();
  v1::GenerateResponse response;
  EXPECT_FALSE(stream->Read(&response));
  EXPECT_THAT(rpc::FromGrpc(stream->Finish()), StatusIs(absl::StatusCode::kUnavailable, _));
  while (worker_->Read(&seen)) EXPECT_TRUE(seen.has_cancel());
  EXPECT_THAT(rpc::FromGrpc(worker_->Finish()), StatusIs(absl::StatusCode::kUnavailable, _));
}

}  // namespace
}  // namespace qzo::server
