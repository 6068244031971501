#include "worker/connection.h"

#include <gmock/gmock.h>
#include <grpcpp/security/server_credentials.h>
#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>
#include <gtest/gtest.h>

#include <deque>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "base/digest.h"
#include "kernels/kernels.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_dir.h"
#include "worker/fakes.h"

namespace qzo::worker {
namespace {

using ::testing::SizeIs;

// A coordinator that says what the test makes it say. Thread-safe.
class ScriptedCoordinator final : public v1::Coordination::Service {
 public:
  ~ScriptedCoordinator() override {
    if (server_ != nullptr) Stop();
  }
  // 0 = any free port; returns the one in use.
  int Start(int port) {
    grpc::ServerBuilder builder;
    builder.AddListeningPort("127.0.0.1:" + std::to_string(port), grpc::InsecureServerCredentials(), &port);
    builder.RegisterService(this);
    server_ = builder.BuildAndStart();
    return port;
  }
  void Stop() { server_->Shutdown(std::chrono::system_clock::now()); }

  void Send(const v1::CoordinatorMessage& message) {
    base::MutexLock lock(&mu_);
    ASSERT_NE(stream_, nullptr);
    stream_->Write(message);
  }
  // Ends the stream with an error, as a coordinator does that steps down.
  void BreakStream() {
    base::MutexLock lock(&mu_);
    context_->TryCancel();
  }
  v1::WorkerMessage Next() {
    base::MutexLock lock(&mu_);
    while (received_.empty() && changed_.WaitFor(&mu_, absl::Minutes(1))) {
    }
    v1::WorkerMessage message;
    if (received_.empty()) return message;
    message = received_.front();
    received_.pop_front();
    return message;
  }
  std::string Add(const std::string& bytes) {
    base::MutexLock lock(&mu_);
    std::string digest = base::Sha256Hex(bytes);
    blobs_[digest] = bytes;
    return digest;
  }
  v1::PutSnapshotRequest::Header WaitForSnapshot(std::string* bytes) {
    base::MutexLock lock(&mu_);
    while (snapshot_.empty() && changed_.WaitFor(&mu_, absl::Minutes(1))) {
    }
    *bytes = snapshot_;
    return snapshot_header_;
  }

 private:
  using ServerStream = grpc::ServerReaderWriter<v1::CoordinatorMessage, v1::WorkerMessage>;

  grpc::Status Work(grpc::ServerContext* context, ServerStream* stream) override {
    {
      base::MutexLock lock(&mu_);
      stream_ = stream;
      context_ = context;
    }
    for (v1::WorkerMessage message; stream->Read(&message);) {
      base::MutexLock lock(&mu_);
      received_.push_back(message);
      changed_.SignalAll();
    }
    base::MutexLock lock(&mu_);
    stream_ = nullptr;
    return grpc::Status::OK;
  }
  grpc::Status FetchBlob(grpc::ServerContext*, const v1::FetchBlobRequest* request,
                         grpc::ServerWriter<v1::Chunk>* writer) override {
    std::string bytes;
    {
      base::MutexLock lock(&mu_);
      const auto found = blobs_.find(request->digest());
      if (found == blobs_.end()) return {grpc::StatusCode::NOT_FOUND, "no blob " + request->digest()};
      bytes = found->second;
    }
    constexpr size_t kPiece = 100'000;
    for (size_t at = 0; at < bytes.size(); at += kPiece) {
      v1::Chunk chunk;
      chunk.set_data(bytes.substr(at, kPiece));
      writer->Write(chunk);
    }
    return grpc::Status::OK;
  }
  grpc::Status PutSnapshot(grpc::ServerContext*, grpc::ServerReader<v1::PutSnapshotRequest>* reader,
                           v1::PutSnapshotResponse* response) override {
    v1::PutSnapshotRequest request;
    if (!reader->Read(&request) || !request.has_header()) return {grpc::StatusCode::INVALID_ARGUMENT, "no header"};
    const v1::PutSnapshotRequest::Header header = request.header();
    std::string bytes;
    while (reader->Read(&request)) bytes += request.data();
    base::MutexLock lock(&mu_);
    snapshot_header_ = header;
    snapshot_ = bytes;
    changed_.SignalAll();
    response->set_blob(base::Sha256Hex(bytes));
    return grpc::Status::OK;
  }

  std::unique_ptr<grpc::Server> server_;
  base::Mutex mu_;
  base::CondVar changed_;
  ServerStream* stream_ ABSL_GUARDED_BY(mu_) = nullptr;
  grpc::ServerContext* context_ ABSL_GUARDED_BY(mu_) = nullptr;
  std::deque<v1::WorkerMessage> received_ ABSL_GUARDED_BY(mu_);
  std::map<std::string, std::string> blobs_ ABSL_GUARDED_BY(mu_);
  v1::PutSnapshotRequest::Header snapshot_header_ ABSL_GUARDED_BY(mu_);
  std::string snapshot_ ABSL_GUARDED_BY(mu_);
};

class ConnectionTest : public ::testing::Test {
 protected:
  // Starts a worker that dials 127.0.0.1:port.
  void StartWorker(int port) {
    const auto channel = MakeChannel({.server = "127.0.0.1:" + std::to_string(port)}).value();
    blobs_ = std::make_unique<BlobClient>(channel);
    Agent::Options options;
    options.kernels = &kernels::BestKernels();
    options.threads = 1;
    options.memory_bytes = int64_t{1} << 30;
    agent_ = std::make_unique<Agent>(options, &cache_, blobs_.get(), blobs_.get(), base::SystemClock(), &metrics_);
    Connection::Options connection_options;
    connection_options.attach.set_worker("w");
    connection_options.attach.set_incarnation(RandomIncarnation());
    connection_options.initial_backoff = absl::Milliseconds(10);
    connection_options.max_backoff = absl::Milliseconds(50);
    connection_ = std::make_unique<Connection>(connection_options, channel, agent_.get(), blobs_.get(), &metrics_);
    thread_ = std::thread([this] { connection_->Run(); });
  }
  ~ConnectionTest() override {
    if (!thread_.joinable()) return;
    connection_->Drain();
    thread_.join();
  }

  static v1::CoordinatorMessage Attached() {
    v1::CoordinatorMessage message;
    message.mutable_attached()->set_worker("workers/w");
    return message;
  }

  testing::TempDir directory_;
  ModelCache cache_{directory_.File("cache"), base::RealFileSystem()};
  Metrics metrics_{std::make_shared<prometheus::Registry>()};
  std::unique_ptr<BlobClient> blobs_;
  std::unique_ptr<Agent> agent_;
  std::unique_ptr<Connection> connection_;
  std::thread thread_;
};

TEST_F(ConnectionTest, AStepTravelsInTensOfBytes) {
  ScriptedCoordinator coordinator;
  StartWorker(coordinator.Start(0));
  EXPECT_EQ(coordinator.Next().attach().worker(), "w");
  coordinator.Send(Attached());

  method::MethodSpec method = TinyMethod();
  method.probes = 8;
  method.micro_batches = 1;
  v1::CoordinatorMessage message;
  *message.mutable_open() = TinyJob(1, method, &coordinator);
  coordinator.Send(message);
  v1::WorkerMessage answer = coordinator.Next();
  ASSERT_TRUE(answer.has_ready()) << answer.ShortDebugString();

  message.mutable_work()->set_job(1);
  message.mutable_work()->set_step(1);
  for (int probe = 0; probe < 8; ++probe)
    message.mutable_work()->add_coefficients(0.01f * static_cast<float>(probe - 4));
  message.mutable_work()->set_first_item(3);
  message.mutable_work()->set_item_count(1);
  EXPECT_LE(message.ByteSizeLong(), 64u);
  coordinator.Send(message);
  answer = coordinator.Next();
  ASSERT_TRUE(answer.has_results()) << answer.ShortDebugString();
  EXPECT_THAT(answer.results().losses(), SizeIs(2));
  EXPECT_LE(answer.ByteSizeLong(), 64u);

  // The snapshot of the replica is what its digest says.
  message.mutable_snapshot()->set_job(1);
  coordinator.Send(message);
  std::string bytes;
  const v1::PutSnapshotRequest::Header header = coordinator.WaitForSnapshot(&bytes);
  EXPECT_EQ(header.step(), 1u);
  EXPECT_EQ(header.digest(), answer.results().digest());
  v1::OpenJob again = TinyJob(2, method, &coordinator);
  again.set_snapshot_blob(coordinator.Add(bytes));
  again.set_snapshot_step(1);
  again.set_step(1);
  *message.mutable_open() = again;
  coordinator.Send(message);
  EXPECT_EQ(coordinator.Next().ready().digest(), header.digest());
}

TEST_F(ConnectionTest, ABlobThatTheCoordinatorLacksIsTroubleOfTheJob) {
  ScriptedCoordinator coordinator;
  StartWorker(coordinator.Start(0));
  ASSERT_TRUE(coordinator.Next().has_attach());
  v1::CoordinatorMessage message;
  *message.mutable_open() = TinyJob(1, TinyMethod(), &coordinator);
  message.mutable_open()->mutable_spec()->set_base_model_digest(std::string(64, 'a'));
  coordinator.Send(message);
  const v1::WorkerMessage answer = coordinator.Next();
  ASSERT_TRUE(answer.has_trouble()) << answer.ShortDebugString();
  EXPECT_EQ(answer.trouble().status().code(), static_cast<int>(absl::StatusCode::kNotFound));
}

TEST_F(ConnectionTest, AWorkerComesBackToARestartedCoordinator) {
  auto first = std::make_unique<ScriptedCoordinator>();
  const int port = first->Start(0);
  StartWorker(port);
  const v1::WorkerMessage hello = first->Next();
  ASSERT_TRUE(hello.has_attach());
  first->Send(Attached());
  first->Stop();
  first.reset();

  ScriptedCoordinator second;
  ASSERT_EQ(second.Start(port), port);
  const v1::WorkerMessage again = second.Next();
  EXPECT_EQ(again.attach().incarnation(), hello.attach().incarnation()) << "the process is the same";
  EXPECT_GE(metrics_.reconnects.Value(), 1);
  second.BreakStream();
  EXPECT_TRUE(second.Next().has_attach());
}

TEST_F(ConnectionTest, ADrainLeavesTheCoordinatorAndEndsRun) {
  ScriptedCoordinator coordinator;
  StartWorker(coordinator.Start(0));
  ASSERT_TRUE(coordinator.Next().has_attach());
  coordinator.Send(Attached());
  v1::CoordinatorMessage open;
  *open.mutable_open() = TinyJob(1, TinyMethod(), &coordinator);
  coordinator.Send(open);
  ASSERT_TRUE(coordinator.Next().has_ready());  // so the worker has seen Attached, too
  EXPECT_EQ(metrics_.attached.Value(), 1);
  connection_->Drain();
  EXPECT_TRUE(coordinator.Next().has_leaving());
  thread_.join();
  EXPECT_EQ(metrics_.attached.Value(), 0);
}

TEST_F(ConnectionTest, TheCoordinatorMayAskForADrain) {
  ScriptedCoordinator coordinator;
  StartWorker(coordinator.Start(0));
  ASSERT_TRUE(coordinator.Next().has_attach());
  v1::CoordinatorMessage drain;
  drain.mutable_drain();
  coordinator.Send(drain);
  EXPECT_TRUE(coordinator.Next().has_leaving());
  thread_.join();
}

TEST_F(ConnectionTest, ADrainWithoutACoordinatorEndsRunAtOnce) {
  ScriptedCoordinator coordinator;
  const int port = coordinator.Start(0);
  coordinator.Stop();
  StartWorker(port);
  connection_->Drain();
  thread_.join();
}

TEST(Incarnation, IsNewEveryTime) {
  EXPECT_THAT(RandomIncarnation(), SizeIs(32));
  EXPECT_NE(RandomIncarnation(), RandomIncarnation());
}

}  // namespace
}  // namespace qzo::worker
