#include "worker/serving.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <deque>

#include "kernels/kernels.h"
#include "model/graph/generator.h"
#include "proto/grpc_status.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_dir.h"
#include "worker/agent.h"
#include "worker/fakes.h"

namespace qzo::worker {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class RecordingServingUplink final : public ServingUplink {
 public:
  void Send(const v1::ServingMessage& message) override {
    base::MutexLock lock(&mu_);
    messages_[message.request()].push_back(message);
    changed_.SignalAll();
  }
  // Waits for the last answer to a request; the text, or what came instead.
  v1::ServingMessage Last(uint64_t request, std::string* text = nullptr) {
    base::MutexLock lock(&mu_);
    auto& messages = messages_[request];
    const auto ended = [&] {
      return !messages.empty() && (!messages.back().has_text() || messages.back().text().finish() != 0);
    };
    while (!ended() && changed_.WaitFor(&mu_, absl::Minutes(1))) {
    }
    if (!ended()) return {};
    if (text != nullptr) {
      for (const v1::ServingMessage& message : messages) *text += message.text().text();
    }
    return messages.back();
  }
  size_t Count(uint64_t request) {
    base::MutexLock lock(&mu_);
    return messages_[request].size();
  }

 private:
  base::Mutex mu_;
  base::CondVar changed_;
  std::map<uint64_t, std::vector<v1::ServingMessage>> messages_ ABSL_GUARDED_BY(mu_);
};

class ServingTest : public ::testing::Test {
 protected:
  ServingTest() { Restart(int64_t{1} << 30); }

  void Restart(int64_t memory_bytes) {
    agent_.reset();
    cache_ = std::make_unique<ModelCache>(directory_.File("cache"), base::RealFileSystem());
    Agent::Options options;
    options.kernels = &kernels::BestKernels();
    options.threads = 2;
    options.memory_bytes = memory_bytes;
    agent_ = std::make_unique<Agent>(options, cache_.get(), &blobs_, &blobs_, base::SystemClock(), &metrics_);
  }

  // An adapter of one step with this coefficient, as a blob.
  std::string AddAdapter(float coefficient) {
    method::Adapter adapter;
    adapter.base_model_digest = model_digest_;
    adapter.spec = TinyMethod();
    adapter.spec.probes = 1;
    adapter.tensors = model_->info().trained;
    adapter.step = 1;
    adapter.task_json = R"({"kind":"CLASSIFICATION","prompt":"{text} It was","options":[" big"," little"]})";
    adapter.journal = {{.d = {0.5f}, .coefficients = {coefficient}}};
    return blobs_.Add(method::EncodeAdapter(adapter));
  }
  v1::ServingRequest Request(uint64_t id, const std::string& adapter) {
    v1::ServingRequest request;
    request.set_request(id);
    request.set_model_digest(model_digest_);
    request.set_adapter_blob(adapter);
    request.mutable_generate()->set_prompt("Once upon a time");
    request.mutable_generate()->mutable_sampling()->set_max_tokens(24);
    return request;
  }
  void Ask(const v1::ServingRequest& request) { agent_->serving()->Receive(request, uplink_); }
  std::string TextOf(const v1::ServingRequest& request) {
    Ask(request);
    std::string text;
    EXPECT_TRUE(uplink_->Last(request.request(), &text).has_text());
    return text;
  }

  testing::TempDir directory_;
  FakeBlobs blobs_;
  const std::string model_digest_ = blobs_.Add(TinyModel());
  const std::unique_ptr<model::Model> model_ =
      model::Model::Load(testing::TestFile("golden/models/stories260k/stories260K-Q4_1.gguf")).value();
  Metrics metrics_{std::make_shared<prometheus::Registry>()};
  std::unique_ptr<ModelCache> cache_;
  std::unique_ptr<Agent> agent_;
  std::shared_ptr<RecordingServingUplink> uplink_ = std::make_shared<RecordingServingUplink>();
};

TEST_F(ServingTest, ATextIsThatOfTheGeneratorAndSaysWhatItTook) {
  kernels::ThreadPool pool(1);
  model::PlainLane lane;
  model::Generator generator(*model_, kernels::BestKernels(), &pool, kernels::Arithmetic::kInt16, &lane);
  std::vector<int32_t> prompt = model_->tokenizer().Encode("Once upon a time", false).value();
  prompt.insert(prompt.begin(), *model_->tokenizer().bos());
  std::vector<int32_t> ids;
  ASSERT_OK(generator.Generate(prompt, {.max_tokens = 24}, [&](int32_t id) { return ids.push_back(id), true; }));
  std::string text;
  Ask(Request(1, ""));
  const v1::GenerateResponse last = uplink_->Last(1, &text).text();
  EXPECT_EQ(text, model_->tokenizer().Decode(ids, false).value());
  EXPECT_EQ(last.finish(), v1::GenerateResponse::LENGTH);
  EXPECT_EQ(last.tokens(), 24u);
  EXPECT_EQ(last.prompt_tokens(), prompt.size());
  EXPECT_GT(uplink_->Count(1), 5u) << "pieces come as they are written";
}

TEST_F(ServingTest, AdaptersShareTheBaseModelAndTextsAreWrittenTogether) {
  const std::string one = AddAdapter(0.3f), other = AddAdapter(-0.3f);
  const std::string plain = TextOf(Request(1, "")), first = TextOf(Request(2, one)), second = TextOf(Request(3, other));
  EXPECT_NE(first, plain);
  EXPECT_NE(first, second);
  const int fetched = blobs_.fetches(one);
  for (uint64_t round = 0; round < 3; ++round) {
    Ask(Request(10 + round, one));
    Ask(Request(20 + round, ""));
    Ask(Request(30 + round, other));
  }
  for (uint64_t round = 0; round < 3; ++round) {
    std::string texts[3];
    for (uint64_t i = 0; i < 3; ++i) uplink_->Last(10 * (i + 1) + round, &texts[i]);
    EXPECT_THAT(texts, ElementsAre(first, plain, second));
  }
  EXPECT_EQ(blobs_.fetches(model_digest_), 1);
  EXPECT_EQ(blobs_.fetches(one), fetched + 3) << "kilobytes; what is made of them is kept";
}

TEST_F(ServingTest, OptionsAreScoredAsTheAdaptersTaskHasThem) {
  v1::ServingRequest request = Request(1, AddAdapter(0.05f));
  request.mutable_score()->add_rows(R"({"text":"The dog saw a house."})");
  request.mutable_score()->add_rows(R"({"text":"The ant sat down."})");
  Ask(request);
  const v1::ServingMessage answer = uplink_->Last(1);
  ASSERT_EQ(answer.scores().rows_size(), 2) << answer.ShortDebugString();
  EXPECT_THAT(answer.scores().labels(), ElementsAre("big", "little"));
  for (const auto& row : answer.scores().rows()) {
    EXPECT_NEAR(row.probabilities(0) + row.probabilities(1), 1.0, 1e-12);
    EXPECT_EQ(row.label(), row.log_probabilities(0) >= row.log_probabilities(1) ? 0u : 1u);
  }
}

TEST_F(ServingTest, AConversationIsContinuedWithTheModelsTurn) {
  v1::ServingRequest request = Request(1, "");
  auto* messages = request.mutable_generate()->mutable_conversation()->mutable_messages();
  v1::ChatMessage* message = messages->Add();
  message->set_role("user");
  message->set_content("Tell me a story.");
  std::string text;
  Ask(request);
  EXPECT_TRUE(uplink_->Last(1, &text).has_text());
  EXPECT_NE(text, "");
  message->set_role("nobody");
  request.set_request(2);
  Ask(request);
  EXPECT_THAT(uplink_->Last(2).error().message(), HasSubstr("nobody"));
}

TEST_F(ServingTest, WhatCannotBeServedIsAnErrorOfThatRequestAlone) {
  v1::ServingRequest request = Request(1, "");
  request.mutable_score()->add_rows("{}");
  Ask(request);
  EXPECT_THAT(uplink_->Last(1).error().message(), HasSubstr("task"));
  request = Request(2, blobs_.Add("no adapter"));
  Ask(request);
  EXPECT_TRUE(uplink_->Last(2).has_error());
  request = Request(3, "");
  request.set_model_digest(std::string(64, 'a'));
  Ask(request);
  EXPECT_EQ(rpc::FromProto(uplink_->Last(3).error()).code(), absl::StatusCode::kNotFound);
  request = Request(4, "");
  request.mutable_generate()->mutable_sampling()->set_temperature(-1);
  Ask(request);
  EXPECT_THAT(uplink_->Last(4).error().message(), HasSubstr("temperature"));
  EXPECT_NE(TextOf(Request(5, "")), "");
  Restart(/*memory_bytes=*/1000);
  Ask(Request(6, ""));
  EXPECT_EQ(rpc::FromProto(uplink_->Last(6).error()).code(), absl::StatusCode::kResourceExhausted);
}

TEST_F(ServingTest, NothingIsWrittenForThoseWhoHaveLeft) {
  v1::ServingRequest request = Request(1, "");
  request.mutable_generate()->mutable_sampling()->set_max_tokens(480);
  blobs_.SetGate(/*closed=*/true);
  Ask(request);
  v1::ServingRequest cancel;
  cancel.set_request(1);
  cancel.mutable_cancel();
  Ask(cancel);
  blobs_.SetGate(/*closed=*/false);
  EXPECT_NE(TextOf(Request(2, "")), "");
  EXPECT_EQ(uplink_->Count(1), 0u);
  request.set_request(3);
  Ask(request);
  agent_->serving()->Forget(uplink_);
  agent_->serving()->WaitUntilIdle();
}

TEST_F(ServingTest, AWorkerThatLeavesAnswersWhatItHasAndTakesNothingNew) {
  Ask(Request(1, ""));
  agent_->serving()->Retire();
  Ask(Request(2, ""));
  EXPECT_EQ(rpc::FromProto(uplink_->Last(2).error()).code(), absl::StatusCode::kUnavailable);
  agent_->serving()->WaitUntilIdle();
  EXPECT_EQ(uplink_->Last(1).text().finish(), v1::GenerateResponse::LENGTH);
}

}  // namespace
}  // namespace qzo::worker
