// An agent with all that it needs, led by the tests of this folder as a coordinator would.
#ifndef QZO_WORKER_MEMBER_H_
#define QZO_WORKER_MEMBER_H_

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "tests/support/temp_dir.h"
#include "worker/agent.h"
#include "worker/fakes.h"

namespace qzo::worker {

struct Member {
  Member(StageTransport* transport, FakeBlobs* blobs, int64_t memory_bytes, kernels::cuda::Gpu* gpu = nullptr,
         const base::Clock* clock = base::SystemClock(), kernels::cuda::Communicators* communicators = nullptr)
      : cache(directory.File("cache"), base::RealFileSystem()) {
    Agent::Options options;
    options.kernels = &kernels::BestKernels();
    options.threads = 2;
    options.memory_bytes = memory_bytes;
    options.stages = transport;
    options.gpu = gpu;
    options.communicators = communicators;
    agent = std::make_unique<Agent>(options, &cache, blobs, blobs, clock, &metrics);
    agent->Connect(uplink);
  }
  void Open(const v1::OpenJob& open) {
    v1::CoordinatorMessage message;
    *message.mutable_open() = open;
    agent->Receive(message);
  }
  void Close(uint32_t job) {
    v1::CoordinatorMessage message;
    message.mutable_close()->set_job(job);
    agent->Receive(message);
  }
  v1::ReplicaReady NextReady() {
    const v1::WorkerMessage answer = uplink->Next();
    EXPECT_TRUE(answer.has_ready()) << answer.ShortDebugString();
    return answer.ready();
  }
  v1::Results NextResults() {
    const v1::WorkerMessage answer = uplink->Next();
    EXPECT_TRUE(answer.has_results()) << answer.ShortDebugString();
    return answer.results();
  }
  v1::JobTrouble NextTrouble(absl::StatusCode code, const std::string& text) {
    const v1::WorkerMessage answer = uplink->Next();
    EXPECT_TRUE(answer.has_trouble()) << answer.ShortDebugString();
    EXPECT_EQ(answer.trouble().status().code(), static_cast<int>(code)) << answer.ShortDebugString();
    EXPECT_THAT(answer.trouble().status().message(), ::testing::HasSubstr(text));
    return answer.trouble();
  }
  // That nothing came before the answer to another job.
  void ExpectOnlyAnswersOf(uint32_t job, FakeBlobs* blobs) {
    Open(TinyJob(job, TinyMethod(), blobs));
    EXPECT_EQ(NextReady().job(), job);
  }

  testing::TempDir directory;
  Metrics metrics{std::make_shared<prometheus::Registry>()};
  ModelCache cache;
  std::shared_ptr<RecordingUplink> uplink = std::make_shared<RecordingUplink>();
  std::unique_ptr<Agent> agent;
};

inline v1::CoordinatorMessage Work(uint32_t job, uint32_t step, const std::vector<float>& coefficients, uint32_t first,
                                   uint32_t count) {
  v1::CoordinatorMessage message;
  message.mutable_work()->set_job(job);
  message.mutable_work()->set_step(step);
  message.mutable_work()->mutable_coefficients()->Assign(coefficients.begin(), coefficients.end());
  message.mutable_work()->set_first_item(first);
  message.mutable_work()->set_item_count(count);
  return message;
}

}  // namespace qzo::worker

#endif  // QZO_WORKER_MEMBER_H_
