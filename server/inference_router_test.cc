#include "server/inference_router.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <vector>

#include "proto/grpc_status.h"
#include "tests/support/status_matchers.h"

namespace qzo::server {
namespace {

using ::qzo::testing::StatusIs;
using ::testing::_;
using ::testing::IsEmpty;
using ::testing::SizeIs;

class RouterTest : public ::testing::Test {
 protected:
  struct Worker {
    uint64_t id = 0;
    std::vector<v1::ServingRequest> sent = {};
  };
  struct Call {
    uint64_t id = 0;
    std::vector<v1::ServingMessage> answers = {};
  };

  std::shared_ptr<Worker> Add(uint32_t slots) {
    auto worker = std::make_shared<Worker>();
    v1::ServingHello hello;
    hello.set_slots(slots);
    worker->id =
        router_.AddWorker(hello, [worker](const v1::ServingRequest& request) { worker->sent.push_back(request); });
    return worker;
  }
  absl::StatusOr<std::shared_ptr<Call>> Begin(const std::string& model) {
    auto call = std::make_shared<Call>();
    v1::ServingRequest request;
    request.set_model_digest(model);
    request.mutable_generate()->set_prompt("a");
    const absl::StatusOr<uint64_t> id =
        router_.Begin(request, [call](const v1::ServingMessage& message) { call->answers.push_back(message); });
    if (!id.ok()) return id.status();
    call->id = *id;
    return call;
  }
  void Say(const Worker& worker, uint64_t request, const std::string& text,
           v1::GenerateResponse::Finish finish = v1::GenerateResponse::FINISH_UNSPECIFIED) {
    v1::ServingMessage message;
    message.set_request(request);
    message.mutable_text()->set_text(text);
    message.mutable_text()->set_finish(finish);
    router_.Receive(worker.id, message);
  }
  void Fail(const Worker& worker, uint64_t request, const absl::Status& status) {
    v1::ServingMessage message;
    message.set_request(request);
    *message.mutable_error() = rpc::ToProto(status);
    router_.Receive(worker.id, message);
  }

  InferenceRouter router_;
};

TEST_F(RouterTest, WithoutWorkersItSaysSo) {
  EXPECT_THAT(Begin("m"), StatusIs(absl::StatusCode::kUnavailable, _));
  EXPECT_EQ(rpc::ReasonOf(Begin("m").status()), "NO_WORKER");
}

TEST_F(RouterTest, RequestsGoWhereTheirModelIsAndElseWhereThereIsLeastToDo) {
  const auto a = Add(4), b = Add(4);
  ASSERT_OK_AND_ASSIGN(const auto first, Begin("m"));
  const auto& with_m = a->sent.empty() ? b : a;
  const auto& idle = a->sent.empty() ? a : b;
  ASSERT_OK(Begin("m"));
  EXPECT_THAT(with_m->sent, SizeIs(2));
  ASSERT_OK(Begin("other"));
  EXPECT_THAT(idle->sent, SizeIs(1));
  Say(*with_m, first->id, "x", v1::GenerateResponse::STOP);
  ASSERT_OK(Begin("third"));
  EXPECT_THAT(a->sent.size() + b->sent.size(), 4u);
}

TEST_F(RouterTest, SlotsBoundWhatAWorkerIsGivenAndComeFreeAgain) {
  const auto worker = Add(2);
  ASSERT_OK_AND_ASSIGN(const auto first, Begin("m"));
  ASSERT_OK_AND_ASSIGN(const auto second, Begin("m"));
  const absl::Status full = Begin("m").status();
  EXPECT_THAT(full, StatusIs(absl::StatusCode::kResourceExhausted, _));
  EXPECT_EQ(rpc::ReasonOf(full), "SERVING_FULL");
  EXPECT_TRUE(rpc::RetryDelayOf(full).has_value());
  Say(*worker, first->id, "x", v1::GenerateResponse::LENGTH);
  ASSERT_OK(Begin("m"));
  router_.Cancel(second->id);
  EXPECT_TRUE(worker->sent.back().has_cancel());
  ASSERT_OK(Begin("m"));
}

TEST_F(RouterTest, ARequestOfALostWorkerBeginsAnewUnlessItsTextHasBegun) {
  auto a = Add(4);
  ASSERT_OK_AND_ASSIGN(const auto silent, Begin("m"));
  ASSERT_OK_AND_ASSIGN(const auto begun, Begin("m"));
  const auto b = Add(4);
  Say(*a, begun->id, "Once");
  router_.RemoveWorker(a->id);
  ASSERT_THAT(b->sent, SizeIs(1));
  EXPECT_EQ(b->sent[0].request(), silent->id);
  ASSERT_THAT(begun->answers, SizeIs(2));
  EXPECT_EQ(rpc::FromProto(begun->answers[1].error()).code(), absl::StatusCode::kUnavailable);
  Say(*a, silent->id, "late");
  EXPECT_THAT(silent->answers, IsEmpty()) << "it is another worker's";
  Say(*b, silent->id, "Once", v1::GenerateResponse::STOP);
  EXPECT_THAT(silent->answers, SizeIs(1));
}

TEST_F(RouterTest, AWorkerThatLeavesGetsNothingNewAndWhatItRefusesGoesElsewhereOnce) {
  const auto a = Add(4), b = Add(4);
  ASSERT_OK_AND_ASSIGN(const auto call, Begin("m"));
  const auto& first = a->sent.empty() ? b : a;
  const auto& second = a->sent.empty() ? a : b;
  router_.Retire(first->id);
  Fail(*first, call->id, absl::UnavailableError("leaving"));
  ASSERT_THAT(second->sent, SizeIs(1));
  Fail(*second, call->id, absl::UnavailableError("leaving, too"));
  ASSERT_THAT(call->answers, SizeIs(1));
  EXPECT_EQ(call->answers[0].error().message(), "leaving, too");
  ASSERT_OK(Begin("m"));
  EXPECT_THAT(first->sent, SizeIs(1));
}

TEST_F(RouterTest, OtherErrorsAreTheCallersAndNothingFollowsThem) {
  const auto worker = Add(4);
  Add(4);
  ASSERT_OK_AND_ASSIGN(const auto call, Begin("m"));
  const auto& taken = *worker;
  Fail(taken, call->id, absl::InvalidArgumentError("no such role"));
  Say(taken, call->id, "more");
  ASSERT_THAT(call->answers, SizeIs(1));
  EXPECT_EQ(rpc::FromProto(call->answers[0].error()).code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(RouterTest, TheSinkOfACancelledRequestHearsNothing) {
  const auto worker = Add(4);
  ASSERT_OK_AND_ASSIGN(const auto call, Begin("m"));
  router_.Cancel(call->id);
  Say(*worker, call->id, "x");
  router_.RemoveWorker(worker->id);
  router_.Cancel(call->id);
  EXPECT_THAT(call->answers, IsEmpty());
}

}  // namespace
}  // namespace qzo::server
