#include "server/coordination_service.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <thread>

#include "base/digest.h"
#include "base/mutex.h"
#include "method/adapter.h"
#include "server/test_server.h"

namespace qzo::server {
namespace {

using ::qzo::testing::StatusIs;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using Job = v1::FineTuningJob;

// A worker that computes nothing: its losses are made up, but the same for the same question.
class ScriptedWorker {
 public:
  // With a stage address it plays a stage where it is told to: the last one answers, for all of them.
  ScriptedWorker(TestServer* server, const std::string& name, const std::string& stage_address = "",
                 int nccl_version = 0)
      : stream_(server->coordination->Work(&context_)) {
    v1::WorkerMessage message;
    v1::Attach& attach = *message.mutable_attach();
    attach.set_worker(name);
    attach.set_incarnation("1");
    attach.set_kind("fp32-1/cpu");
    attach.set_threads(2);
    attach.set_stage_address(stage_address);
    attach.set_nccl_version(nccl_version);
    stream_->Write(message);
    thread_ = std::thread([this] { Run(); });
  }
  ~ScriptedWorker() {
    context_.TryCancel();
    thread_.join();
  }
  ScriptedWorker(const ScriptedWorker&) = delete;
  ScriptedWorker& operator=(const ScriptedWorker&) = delete;

  // The server's name of it.
  std::string WaitForName() {
    base::MutexLock lock(&mu_);
    while (name_.empty()) changed_.Wait(&mu_);
    return name_;
  }
  void WaitForDrain() {
    base::MutexLock lock(&mu_);
    while (!drained_) changed_.Wait(&mu_);
  }
  v1::StagePlan WaitForStage() {
    base::MutexLock lock(&mu_);
    while (!stage_) changed_.Wait(&mu_);
    return *stage_;
  }
  absl::Status WaitForEnd() {
    base::MutexLock lock(&mu_);
    while (!end_) changed_.Wait(&mu_);
    return *end_;
  }

 private:
  static uint64_t DigestAt(uint32_t step) { return 1000 + step; }

  void Run() {
    for (v1::CoordinatorMessage message; stream_->Read(&message);) Answer(message);
    const absl::Status end = rpc::FromGrpc(stream_->Finish());
    base::MutexLock lock(&mu_);
    end_ = end;
    changed_.SignalAll();
  }

  void Answer(const v1::CoordinatorMessage& message) {
    v1::WorkerMessage answer;
    if (message.has_attached() || message.has_drain()) {
      base::MutexLock lock(&mu_);
      if (message.has_attached()) name_ = message.attached().worker();
      drained_ = drained_ || message.has_drain();
      changed_.SignalAll();
    } else if (message.has_open()) {
      const v1::StagePlan& stage = message.open().stage();
      answer.mutable_ready()->set_job(message.open().job());
      answer.mutable_ready()->set_step(message.open().step());
      // Of stages, the last one has it all, so that the sum is as of one.
      answers_ = stage.index() + 1 >= stage.count();
      answer.mutable_ready()->set_digest(answers_ ? DigestAt(message.open().step()) : 0);
      answer.mutable_ready()->set_pipeline(stage.pipeline());
      base::MutexLock lock(&mu_);
      if (message.open().has_stage()) stage_ = stage;
      changed_.SignalAll();
    } else if (!answers_) {
      return;
    } else if (message.has_work() && message.work().item_count() > 0) {
      const v1::Work& work = message.work();
      v1::Results& results = *answer.mutable_results();
      results.set_job(work.job());
      results.set_step(work.step());
      results.set_first_item(work.first_item());
      for (uint32_t i = 0; i < work.item_count(); ++i) {
        results.add_losses(2.0 + 0.1 * (work.first_item() + i));
        results.add_losses(2.0);
      }
      results.add_counts(4);
      results.set_digest(DigestAt(work.step()));
    } else if (message.has_eval_work()) {
      const v1::EvalWork& work = message.eval_work();
      v1::EvalResults& results = *answer.mutable_eval_results();
      results.set_job(work.job());
      results.set_step(work.step());
      results.set_split(work.split());
      results.set_first_item(work.first_item());
      for (uint32_t i = 0; i < work.item_count(); ++i) {
        auto& item = *results.add_items();
        item.set_loss_sum(10.0 - work.step());
        item.set_loss_count(10);
        item.set_rows(10);
        for (const int64_t count : {4, 1, 2, 3}) item.add_confusion(count);
      }
      results.set_digest(DigestAt(work.step()));
    }
    if (answer.message_case() != v1::WorkerMessage::MESSAGE_NOT_SET) stream_->Write(answer);
  }

  bool answers_ = true;  // the reading thread's
  grpc::ClientContext context_;
  const std::unique_ptr<grpc::ClientReaderWriter<v1::WorkerMessage, v1::CoordinatorMessage>> stream_;
  base::Mutex mu_;
  base::CondVar changed_;
  std::string name_ ABSL_GUARDED_BY(mu_);
  bool drained_ ABSL_GUARDED_BY(mu_) = false;
  std::optional<v1::StagePlan> stage_ ABSL_GUARDED_BY(mu_);
  std::optional<absl::Status> end_ ABSL_GUARDED_BY(mu_);
  std::thread thread_;
};

class CoordinationServiceTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_OK(server_.UploadModel("stories", StoriesModel()));
    ASSERT_OK(server_.UploadDataset("train", Rows(40)));
    ASSERT_OK(server_.UploadDataset("held-out", Rows(70)));
  }
  absl::StatusOr<Job> Create(const std::string& id, uint32_t stages = 0) {
    v1::CreateJobRequest request = JobRequest(id);
    v1::JobSpec& spec = *request.mutable_job()->mutable_spec();
    spec.mutable_placement()->set_stages(stages);
    spec.set_validation_dataset("projects/p/datasets/held-out");
    spec.set_test_dataset("projects/p/datasets/held-out");
    spec.mutable_evaluation()->set_eval_steps(2);
    return server_.Call(server_.jobs, &v1::JobService::Stub::CreateJob, request);
  }

  struct Watched {
    std::vector<v1::WatchJobResponse> items;
    std::vector<uint64_t> sequences;
    absl::Status end;
  };
  // Watches until the stream ends, or `enough` items have come.
  Watched Watch(const std::string& name, uint64_t from, size_t enough = SIZE_MAX) {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(60));
    v1::WatchJobRequest request;
    request.set_name(name);
    request.set_from_sequence(from);
    const auto reader = server_.jobs->WatchJob(&context, request);
    Watched watched;
    for (v1::WatchJobResponse item; watched.items.size() < enough && reader->Read(&item);) {
      if (item.has_event()) watched.sequences.push_back(item.event().sequence());
      watched.items.push_back(item);
    }
    if (watched.items.size() >= enough) context.TryCancel();
    watched.end = rpc::FromGrpc(reader->Finish());
    return watched;
  }
  // A job that one worker has brought to its end.
  Job Finished(const std::string& id) {
    const absl::StatusOr<Job> created = Create(id);
    EXPECT_OK(created);
    ScriptedWorker worker(&server_, "w");
    EXPECT_OK(Watch(created->name(), 0).end);
    const absl::StatusOr<Job> job = server_.GetJob(created->name());
    EXPECT_OK(job);
    EXPECT_EQ(job->state(), Job::SUCCEEDED) << job->DebugString();
    return *job;
  }
  absl::StatusOr<std::string> DownloadAdapter(const std::string& name, std::optional<uint32_t> step) {
    grpc::ClientContext context;
    v1::DownloadAdapterRequest request;
    request.set_name(name);
    if (step) request.set_step(*step);
    return TestServer::ReadAll(server_.adapters->DownloadAdapter(&context, request));
  }
  absl::StatusOr<std::string> DownloadJournal(const std::string& name) {
    grpc::ClientContext context;
    v1::DownloadJournalRequest request;
    request.set_name(name);
    return TestServer::ReadAll(server_.jobs->DownloadJournal(&context, request));
  }
  absl::StatusOr<std::string> FetchBlob(const std::string& digest) {
    grpc::ClientContext context;
    v1::FetchBlobRequest request;
    request.set_digest(digest);
    return TestServer::ReadAll(server_.coordination->FetchBlob(&context, request));
  }

  TestServer server_;
};

TEST_F(CoordinationServiceTest, AWorkerBringsAJobToItsEndUnderTheWatchersEyes) {
  ASSERT_OK_AND_ASSIGN(const Job created, Create("j"));
  ScriptedWorker worker(&server_, "w");
  const Watched watched = Watch(created.name(), 0);
  ASSERT_OK(watched.end);
  ASSERT_TRUE(watched.items.front().has_job()) << "the first item carries the job";
  for (size_t i = 0; i < watched.sequences.size(); ++i) EXPECT_EQ(watched.sequences[i], i + 1) << "without gaps";
  const auto last =
      std::find_if(watched.items.rbegin(), watched.items.rend(), [](const auto& item) { return item.has_event(); });
  ASSERT_NE(last, watched.items.rend());
  EXPECT_EQ(last->event().state(), Job::SUCCEEDED);
  EXPECT_EQ(last->job().state(), Job::SUCCEEDED) << "an item about a change of state carries the job";
  ASSERT_OK_AND_ASSIGN(const Job job, server_.GetJob(created.name()));
  EXPECT_EQ(job.state(), Job::SUCCEEDED);
  EXPECT_EQ(job.progress().step(), 4u);
  EXPECT_EQ(job.progress().best_validation().step(), 4u);
  EXPECT_NE(job.adapter(), "");
}

TEST_F(CoordinationServiceTest, ThreeWorkersHoldOneModelBetweenThem) {
  ASSERT_OK_AND_ASSIGN(const Job created, Create("j", /*stages=*/3));
  EXPECT_EQ(created.plan().stages_size(), 3);
  ScriptedWorker a(&server_, "a", "10.0.0.1:1"), b(&server_, "b", "10.0.0.2:2"), whole(&server_, "whole"),
      c(&server_, "c", "10.0.0.3:3");
  const v1::StagePlan plans[] = {a.WaitForStage(), b.WaitForStage(), c.WaitForStage()};
  std::map<uint32_t, std::string> by_index;  // streams come in any order
  uint32_t layers = 0;
  for (const v1::StagePlan& plan : plans) {
    EXPECT_EQ(plan.pipeline(), plans[0].pipeline());
    EXPECT_EQ(plan.secret(), plans[0].secret());
    EXPECT_EQ(plan.secret().size(), 32u);
    EXPECT_EQ(plan.count(), 3u);
    EXPECT_GT(plan.pass_rows(), 0u);
    by_index[plan.index()] = plan.next_address();
    layers += plan.end_layer() - plan.first_layer();
  }
  EXPECT_EQ(layers, 5u);
  EXPECT_EQ(by_index.at(2), "") << "the last one";
  for (const uint32_t i : {0, 1}) {
    const auto next =
        std::find_if(std::begin(plans), std::end(plans), [&](auto& plan) { return plan.index() == i + 1; });
    EXPECT_EQ(by_index.at(i), absl::StrCat("10.0.0.", next - plans + 1, ":", next - plans + 1));
  }

  const Watched watched = Watch(created.name(), 0);
  ASSERT_OK(watched.end);
  ASSERT_OK_AND_ASSIGN(const Job job, server_.GetJob(created.name()));
  EXPECT_EQ(job.state(), Job::SUCCEEDED) << job.DebugString();
  EXPECT_EQ(job.pipelines_size(), 0) << "it has ended";
  const auto formed = std::find_if(watched.items.begin(), watched.items.end(), [](const auto& item) {
    return item.event().type() == "worker" && item.event().message().starts_with("pipeline of 3: layer");
  });
  EXPECT_NE(formed, watched.items.end());
}

TEST_F(CoordinationServiceTest, RowsTravelByNcclBetweenWorkersOfOneVersionOfIt) {
  constexpr struct {
    int versions[2];
    bool nccl;
  } kCases[] = {{{22809, 22809}, true}, {{22809, 22703}, false}, {{22809, 0}, false}, {{0, 0}, false}};
  for (const auto& [versions, nccl] : kCases) {
    ASSERT_OK_AND_ASSIGN(const Job created, Create(absl::StrCat("j-", versions[0], "-", versions[1]), /*stages=*/2));
    ScriptedWorker one(&server_, "one", "10.0.0.1:1", versions[0]), other(&server_, "other", "10.0.0.2:2", versions[1]);
    for (ScriptedWorker* worker : {&one, &other}) {
      const v1::StagePlan plan = worker->WaitForStage();
      EXPECT_EQ(plan.nccl_next(), nccl && plan.index() == 0) << plan.ShortDebugString();
      EXPECT_EQ(plan.nccl_previous(), nccl && plan.index() == 1) << plan.ShortDebugString();
    }
    ASSERT_OK(Watch(created.name(), 0).end);
  }
}

TEST_F(CoordinationServiceTest, AJobInStagesSaysWhichWorkersItLacks) {
  ASSERT_OK_AND_ASSIGN(const Job created, Create("j", /*stages=*/2));
  ScriptedWorker whole(&server_, "whole"), stage(&server_, "stage", "10.0.0.1:1");
  whole.WaitForName();
  stage.WaitForName();
  ASSERT_OK_AND_ASSIGN(const Job job, server_.GetJob(created.name()));
  EXPECT_EQ(job.state(), Job::QUEUED);
  EXPECT_EQ(job.reason(), "WAITING_FOR_WORKERS");
  EXPECT_THAT(job.message(), HasSubstr("needs 2 workers of one kind"));
  EXPECT_THAT(job.message(), HasSubstr("1 attached"));
  v1::GetWorkerRequest get;
  get.set_name("workers/stage");
  ASSERT_OK_AND_ASSIGN(const v1::Worker worker,
                       server_.Call(server_.workers, &v1::WorkerService::Stub::GetWorker, get));
  EXPECT_EQ(worker.stage_address(), "10.0.0.1:1");
}

TEST_F(CoordinationServiceTest, AWatchContinuesWhereTheLastOneBroke) {
  const Job job = Finished("j");
  const Watched all = Watch(job.name(), 1);
  ASSERT_GT(all.sequences.size(), 3u);
  const Watched broken = Watch(job.name(), 1, 2);
  EXPECT_THAT(broken.end, StatusIs(absl::StatusCode::kCancelled, ::testing::_));
  const Watched rest = Watch(job.name(), 3);
  EXPECT_OK(rest.end);
  EXPECT_EQ(rest.sequences.front(), 3u);
  EXPECT_EQ(rest.sequences.size(), all.sequences.size() - 2);
  const Watched nothing_new = Watch(job.name(), all.sequences.back() + 1);
  EXPECT_OK(nothing_new.end);
  EXPECT_TRUE(nothing_new.sequences.empty());
  ASSERT_EQ(nothing_new.items.size(), 1u);
  EXPECT_EQ(nothing_new.items[0].job().state(), Job::SUCCEEDED);
  EXPECT_THAT(Watch("projects/p/jobs/none", 0).end, StatusIs(absl::StatusCode::kNotFound, ::testing::_));
  EXPECT_THAT(Watch("none", 0).end, StatusIs(absl::StatusCode::kInvalidArgument, ::testing::_));
}

TEST_F(CoordinationServiceTest, ASilentJobGivesSignsOfLife) {
  ASSERT_OK_AND_ASSIGN(const Job job, Create("j"));
  const Watched watched = Watch(job.name(), 100, 4);
  ASSERT_EQ(watched.items.size(), 4u);
  EXPECT_TRUE(watched.sequences.empty());
}

TEST_F(CoordinationServiceTest, AWatchEndsWithTheJobsDeletion) {
  ASSERT_OK_AND_ASSIGN(const Job job, Create("j"));
  std::thread deleter([&] {
    v1::DeleteJobRequest request;
    request.set_name(job.name());
    request.set_force(true);
    EXPECT_OK(server_.Call(server_.jobs, &v1::JobService::Stub::DeleteJob, request));
  });
  EXPECT_THAT(Watch(job.name(), 1).end, StatusIs(absl::StatusCode::kNotFound, HasSubstr(job.name())));
  deleter.join();
}

TEST_F(CoordinationServiceTest, JournalAndEvaluationsAreThere) {
  const Job job = Finished("j");
  ASSERT_OK_AND_ASSIGN(const std::string bytes, DownloadJournal(job.name()));
  ASSERT_OK_AND_ASSIGN(const method::JournalChunk journal, method::DecodeJournal(bytes));
  EXPECT_EQ(journal.records.size(), 4u);
  EXPECT_THAT(DownloadJournal("projects/p/jobs/none"), StatusIs(absl::StatusCode::kNotFound, ::testing::_));
  v1::ListEvaluationsRequest request;
  request.set_parent(job.name());
  ASSERT_OK_AND_ASSIGN(const auto list, server_.Call(server_.jobs, &v1::JobService::Stub::ListEvaluations, request));
  std::vector<std::string> seen;
  for (const auto& evaluation : list.evaluations())
    seen.push_back(absl::StrCat(evaluation.split(), "@", evaluation.step()));
  std::sort(seen.begin(), seen.end());
  EXPECT_THAT(seen, ElementsAre("test@0", "test@4", "validation@0", "validation@2", "validation@4"));
  EXPECT_DOUBLE_EQ(list.evaluations(0).accuracy(), 0.7);
}

TEST_F(CoordinationServiceTest, AdaptersComeFromAnyCommittedStep) {
  const Job job = Finished("j");
  ASSERT_OK_AND_ASSIGN(const std::string at_two, DownloadAdapter(job.name(), 2));
  ASSERT_OK_AND_ASSIGN(const method::Adapter adapter, method::DecodeAdapter(at_two));
  EXPECT_EQ(adapter.step, 2u);
  EXPECT_EQ(adapter.journal.size(), 2u);
  EXPECT_EQ(adapter.base_model_digest, base::Sha256Hex(StoriesModel()));
  EXPECT_EQ(adapter.job, job.name());
  EXPECT_THAT(adapter.task_json, HasSubstr("{text}"));
  ASSERT_OK_AND_ASSIGN(const std::string best, DownloadAdapter(job.name(), std::nullopt));
  EXPECT_EQ(method::DecodeAdapter(best)->step, 4u);
  const absl::Status beyond = DownloadAdapter(job.name(), 5).status();
  EXPECT_THAT(beyond, StatusIs(absl::StatusCode::kOutOfRange, HasSubstr("4 steps")));
  EXPECT_EQ(rpc::ReasonOf(beyond), "STEP_NOT_COMMITTED");
}

TEST_F(CoordinationServiceTest, AnAdapterOutlivesItsJobAndItsModel) {
  const Job job = Finished("j");
  v1::GetAdapterRequest get;
  get.set_name(job.adapter());
  ASSERT_OK_AND_ASSIGN(const v1::Adapter adapter,
                       server_.Call(server_.adapters, &v1::AdapterService::Stub::GetAdapter, get));
  EXPECT_EQ(adapter.job(), job.name());
  EXPECT_EQ(adapter.step(), 4u);
  EXPECT_EQ(adapter.multipliers(), job.plan().multipliers());
  v1::DeleteJobRequest delete_job;
  delete_job.set_name(job.name());
  ASSERT_OK(server_.Call(server_.jobs, &v1::JobService::Stub::DeleteJob, delete_job));
  v1::DeleteModelRequest delete_model;
  delete_model.set_name(kModelName);
  ASSERT_OK(server_.Call(server_.models, &v1::ModelService::Stub::DeleteModel, delete_model));
  ASSERT_OK_AND_ASSIGN(const std::string bytes, DownloadAdapter(adapter.name(), std::nullopt));
  EXPECT_EQ(static_cast<int64_t>(bytes.size()), adapter.bytes());
  ASSERT_OK_AND_ASSIGN(const method::Adapter decoded, method::DecodeAdapter(bytes));
  EXPECT_EQ(decoded.step, 4u);
  EXPECT_EQ(decoded.replica_digest, 1004u);
  EXPECT_THAT(DownloadAdapter(adapter.name(), 1), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("step")));

  v1::ListAdaptersRequest list;
  list.set_parent("projects/p");
  ASSERT_OK_AND_ASSIGN(const auto page, server_.Call(server_.adapters, &v1::AdapterService::Stub::ListAdapters, list));
  ASSERT_EQ(page.adapters_size(), 1);
  EXPECT_EQ(page.adapters(0).name(), adapter.name());
  const size_t blobs = server_.CountBlobs();
  v1::DeleteAdapterRequest remove;
  remove.set_name(adapter.name());
  ASSERT_OK(server_.Call(server_.adapters, &v1::AdapterService::Stub::DeleteAdapter, remove));
  EXPECT_EQ(server_.CountBlobs(), blobs - 1);
  EXPECT_THAT(DownloadAdapter(adapter.name(), std::nullopt), StatusIs(absl::StatusCode::kNotFound, ::testing::_));
}

TEST_F(CoordinationServiceTest, WorkersAreSeenAndDrained) {
  ScriptedWorker a(&server_, "w");
  ASSERT_EQ(a.WaitForName(), "workers/w");
  ScriptedWorker b(&server_, "w");
  ASSERT_EQ(b.WaitForName(), "workers/w-2") << "names are made unique";
  v1::ListWorkersRequest list;
  list.set_page_size(1);
  ASSERT_OK_AND_ASSIGN(auto page, server_.Call(server_.workers, &v1::WorkerService::Stub::ListWorkers, list));
  ASSERT_EQ(page.workers_size(), 1);
  EXPECT_EQ(page.workers(0).name(), "workers/w");
  list.set_page_token(page.next_page_token());
  ASSERT_OK_AND_ASSIGN(page, server_.Call(server_.workers, &v1::WorkerService::Stub::ListWorkers, list));
  ASSERT_EQ(page.workers_size(), 1);
  EXPECT_EQ(page.workers(0).name(), "workers/w-2");
  EXPECT_EQ(page.workers(0).kind(), "fp32-1/cpu");
  EXPECT_EQ(page.next_page_token(), "");

  v1::DrainWorkerRequest drain;
  drain.set_name("workers/w");
  ASSERT_OK_AND_ASSIGN(const v1::Worker drained,
                       server_.Call(server_.workers, &v1::WorkerService::Stub::DrainWorker, drain));
  EXPECT_EQ(drained.state(), v1::Worker::DRAINING);
  a.WaitForDrain();
  v1::GetWorkerRequest get;
  get.set_name("workers/none");
  EXPECT_THAT(server_.Call(server_.workers, &v1::WorkerService::Stub::GetWorker, get),
              StatusIs(absl::StatusCode::kNotFound, ::testing::_));
  get.set_name("w");
  EXPECT_THAT(server_.Call(server_.workers, &v1::WorkerService::Stub::GetWorker, get),
              StatusIs(absl::StatusCode::kInvalidArgument, ::testing::_));
}

TEST_F(CoordinationServiceTest, AStreamBeginsWithAttachAndHoldsOne) {
  for (const bool attach_twice : {false, true}) {
    grpc::ClientContext context;
    const auto stream = server_.coordination->Work(&context);
    v1::WorkerMessage message;
    if (attach_twice) {
      message.mutable_attach()->set_worker("w");
      message.mutable_attach()->set_incarnation("1");
      message.mutable_attach()->set_kind("k");
      stream->Write(message);
    } else {
      message.mutable_leaving();
    }
    stream->Write(message);
    v1::CoordinatorMessage received;
    while (stream->Read(&received)) {
    }
    EXPECT_THAT(rpc::FromGrpc(stream->Finish()), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("Attach")));
  }
}

TEST_F(CoordinationServiceTest, BlobsAreFetchedByDigest) {
  const std::string rows = Rows(40);
  ASSERT_OK_AND_ASSIGN(const std::string fetched, FetchBlob(base::Sha256Hex(rows)));
  EXPECT_EQ(fetched, rows);
  EXPECT_THAT(FetchBlob(std::string(64, '0')), StatusIs(absl::StatusCode::kNotFound, ::testing::_));
  EXPECT_THAT(FetchBlob("../../etc/passwd"), StatusIs(absl::StatusCode::kInvalidArgument, ::testing::_));
}

TEST_F(CoordinationServiceTest, ASnapshotThatNobodyWantsIsNotKept) {
  const size_t blobs = server_.CountBlobs();
  grpc::ClientContext context;
  v1::PutSnapshotResponse response;
  const auto writer = server_.coordination->PutSnapshot(&context, &response);
  v1::PutSnapshotRequest request;
  request.mutable_header()->set_job("projects/p/jobs/none");
  writer->Write(request);
  request.set_data("multipliers");
  writer->Write(request);
  writer->WritesDone();
  EXPECT_THAT(rpc::FromGrpc(writer->Finish()), StatusIs(absl::StatusCode::kNotFound, ::testing::_));
  EXPECT_EQ(server_.CountBlobs(), blobs);
}

TEST_F(CoordinationServiceTest, AStoppingServerEndsItsStreams) {
  ASSERT_OK_AND_ASSIGN(const Job job, Create("j"));
  ScriptedWorker worker(&server_, "w");
  worker.WaitForName();
  v1::WatchJobRequest request;
  request.set_name(job.name());
  request.set_from_sequence(1'000'000);
  grpc::ClientContext context;
  const auto reader = server_.jobs->WatchJob(&context, request);
  v1::WatchJobResponse item;
  ASSERT_TRUE(reader->Read(&item));
  server_.Stop();
  EXPECT_THAT(worker.WaitForEnd(), StatusIs(absl::StatusCode::kUnavailable, ::testing::_));
  while (reader->Read(&item)) {
  }
  const absl::Status end = rpc::FromGrpc(reader->Finish());
  EXPECT_TRUE(absl::IsUnavailable(end) || end.ok()) << end << ": OK only when the job had come to its end before";
}

}  // namespace
}  // namespace qzo::server
