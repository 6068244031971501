#include "client/client.h"

#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <thread>

#include "base/digest.h"
#include "client/testing/fake_server.h"
#include "proto/grpc_status.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_dir.h"

namespace qzo::client {
namespace {

using ::qzo::testing::StatusIs;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr char kJob[] = "projects/default/jobs/j";

class ClientTest : public ::testing::Test {
 protected:
  ClientTest() : client_(server_.Channel(), Options()) {}

  ClientOptions Options() {
    ClientOptions options;
    options.interrupt = &interrupt_;
    options.pause = [this](absl::Duration wait) {
      pauses_.push_back(wait);
      return true;
    };
    return options;
  }

  std::vector<uint64_t> WatchSequences(uint64_t from) {
    std::vector<uint64_t> sequences;
    end_ = client_.Watch(kJob, from, absl::InfiniteDuration(), [&](const v1::WatchJobResponse& item) {
      if (item.has_event()) sequences.push_back(item.event().sequence());
      return true;
    });
    return sequences;
  }

  FakeServer server_;
  Interrupt interrupt_;
  std::vector<absl::Duration> pauses_;
  Client client_;
  absl::StatusOr<v1::FineTuningJob> end_ = absl::UnknownError("not watched");
};

TEST_F(ClientTest, WaitsAsLongAsAServerAsksThatRefusedTheCall) {
  server_.jobs.AddJob(kJob, v1::FineTuningJob::RUNNING);
  server_.jobs.FailNext(1,
                        rpc::ToGrpc(rpc::WithRetryDelay(absl::ResourceExhaustedError("too many"), absl::Seconds(7))));
  EXPECT_OK(client_.CancelJob(kJob)) << "though it is not a call to repeat otherwise";
  EXPECT_THAT(pauses_, ElementsAre(absl::Seconds(7)));
  server_.jobs.FailNext(1, grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_THAT(client_.CancelJob(kJob), StatusIs(absl::StatusCode::kResourceExhausted, ::testing::_)) << "no time given";
}

TEST_F(ClientTest, RetriesReadsWhileTheServerIsUnavailable) {
  server_.jobs.AddJob(kJob, v1::FineTuningJob::RUNNING);
  server_.jobs.FailNext(2, grpc::StatusCode::UNAVAILABLE);
  ASSERT_OK(client_.GetJob(kJob));
  EXPECT_THAT(pauses_, ElementsAre(absl::Milliseconds(200), absl::Milliseconds(400)));
}

TEST_F(ClientTest, GivesUpAfterFourAttempts) {
  server_.jobs.FailNext(100, grpc::StatusCode::UNAVAILABLE);
  EXPECT_THAT(client_.GetJob(kJob), StatusIs(absl::StatusCode::kUnavailable, HasSubstr("made to fail")));
  EXPECT_EQ(server_.jobs.calls(), 4);
}

TEST_F(ClientTest, RetriesNothingButUnavailable) {
  server_.jobs.FailNext(1, grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_THAT(client_.GetJob(kJob), StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("made to fail")));
  EXPECT_EQ(server_.jobs.calls(), 1);
}

TEST_F(ClientTest, RetriesACreateOnlyWithARequestId) {
  v1::CreateJobRequest request;
  request.set_parent("projects/default");
  server_.jobs.FailNext(1, grpc::StatusCode::UNAVAILABLE);
  EXPECT_THAT(client_.CreateJob(request), StatusIs(absl::StatusCode::kUnavailable, HasSubstr("made to fail")));
  request.set_request_id("r");
  server_.jobs.FailNext(1, grpc::StatusCode::UNAVAILABLE);
  EXPECT_OK(client_.CreateJob(request));
}

TEST_F(ClientTest, DoesNotRetryAChangeOfState) {
  server_.jobs.AddJob(kJob, v1::FineTuningJob::RUNNING);
  server_.jobs.FailNext(1, grpc::StatusCode::UNAVAILABLE);
  EXPECT_THAT(client_.CancelJob(kJob), StatusIs(absl::StatusCode::kUnavailable, HasSubstr("made to fail")));
}

TEST_F(ClientTest, ListsEveryPage) {
  for (int i = 0; i < 7; ++i)
    server_.jobs.AddJob(absl::StrCat("projects/default/jobs/j", i), v1::FineTuningJob::QUEUED);
  ASSERT_OK_AND_ASSIGN(const std::vector<v1::FineTuningJob> jobs, client_.ListJobs("projects/default"));
  EXPECT_EQ(jobs.size(), 7u);
  EXPECT_EQ(server_.jobs.calls(), 3) << "the fake's pages hold three";
}

TEST_F(ClientTest, ErrorsKeepTheirDetails) {
  const absl::Status status = client_.GetJob("projects/default/jobs/none").status();
  EXPECT_TRUE(absl::IsNotFound(status));
  EXPECT_EQ(rpc::ReasonOf(status), "NO_SUCH_JOB");
}

TEST_F(ClientTest, WatchSeesEveryEventOnceAcrossBrokenStreams) {
  server_.jobs.AddJob(kJob, v1::FineTuningJob::SUCCEEDED);
  server_.jobs.AddEvents(kJob, 9);
  server_.jobs.BreakStreamsAfter(4, grpc::StatusCode::UNAVAILABLE);
  server_.jobs.RepeatOnReconnect(2);
  EXPECT_THAT(WatchSequences(1), ElementsAre(1, 2, 3, 4, 5, 6, 7, 8, 9));
  ASSERT_OK(end_);
  EXPECT_EQ(end_->state(), v1::FineTuningJob::SUCCEEDED);
  EXPECT_GE(server_.jobs.watches(), 3);
}

TEST_F(ClientTest, WatchStartsWhereItIsTold) {
  server_.jobs.AddJob(kJob, v1::FineTuningJob::FAILED);
  server_.jobs.AddEvents(kJob, 5);
  EXPECT_THAT(WatchSequences(4), ElementsAre(4, 5));
  EXPECT_EQ(end_->state(), v1::FineTuningJob::FAILED);
}

TEST_F(ClientTest, WatchTakesAnEndedStreamForNothingBeforeTheJobHasEnded) {
  server_.jobs.AddJob(kJob, v1::FineTuningJob::RUNNING);
  server_.jobs.AddEvents(kJob, 2);
  server_.jobs.EndJobAtWatch(3, v1::FineTuningJob::CANCELLED);
  EXPECT_THAT(WatchSequences(1), ElementsAre(1, 2));
  ASSERT_OK(end_);
  EXPECT_EQ(end_->state(), v1::FineTuningJob::CANCELLED);
  EXPECT_EQ(server_.jobs.watches(), 3);
}

TEST_F(ClientTest, WatchReportsAnErrorThatIsNotTheConnections) {
  EXPECT_TRUE(WatchSequences(1).empty());
  EXPECT_TRUE(absl::IsNotFound(end_.status())) << end_.status();
  EXPECT_EQ(server_.jobs.watches(), 1);
}

TEST_F(ClientTest, WatchStopsWhenTheCallerHasSeenEnough) {
  server_.jobs.AddJob(kJob, v1::FineTuningJob::RUNNING);
  server_.jobs.AddEvents(kJob, 5);
  int seen = 0;
  ASSERT_OK_AND_ASSIGN(const v1::FineTuningJob job,
                       client_.Watch(kJob, 1, absl::InfiniteDuration(), [&](const auto&) { return ++seen < 2; }));
  EXPECT_EQ(seen, 2);
  EXPECT_EQ(job.state(), v1::FineTuningJob::RUNNING);
}

TEST_F(ClientTest, AnInterruptEndsAWatchInProgress) {
  server_.jobs.AddJob(kJob, v1::FineTuningJob::RUNNING);
  server_.jobs.AddEvents(kJob, 1);
  server_.jobs.HoldStreams();
  end_ = client_.Watch(kJob, 1, absl::InfiniteDuration(), [&](const auto&) {
    interrupt_.Trigger();
    return true;
  });
  EXPECT_TRUE(absl::IsCancelled(end_.status())) << end_.status();
}

TEST_F(ClientTest, WatchGivesUpAtItsTimeout) {
  server_.jobs.AddJob(kJob, v1::FineTuningJob::RUNNING);
  server_.jobs.HoldStreams();
  end_ = client_.Watch(kJob, 1, absl::Milliseconds(50), [](const auto&) { return true; });
  EXPECT_TRUE(absl::IsDeadlineExceeded(end_.status())) << end_.status();
}

class TransferTest : public ClientTest {
 protected:
  std::string WriteFile(const std::string& name, const std::string& bytes) {
    EXPECT_OK(base::RealFileSystem()->WriteDurably(dir_.File(name), bytes));
    return dir_.File(name);
  }
  const std::string big_ = std::string(5 << 19, 'q');  // two and a half chunks
  testing::TempDir dir_;
};

TEST_F(TransferTest, UploadsInChunksWithTheDigestFirst) {
  uint64_t progress = 0;
  UploadOptions options;
  options.id = "d";
  options.progress = [&](uint64_t done, uint64_t total) {
    EXPECT_EQ(total, big_.size());
    progress = done;
  };
  ASSERT_OK_AND_ASSIGN(const v1::Dataset dataset,
                       client_.UploadDataset("projects/default", WriteFile("d.jsonl", big_), options));
  EXPECT_EQ(dataset.name(), "projects/default/datasets/d");
  EXPECT_EQ(dataset.digest(), base::Sha256Hex(big_));
  EXPECT_EQ(server_.datasets.received(), big_);
  EXPECT_LE(server_.datasets.largest_chunk(), size_t{1} << 20);
  EXPECT_EQ(progress, big_.size());
}

TEST_F(TransferTest, RepeatsAnUploadThatWasCutOff) {
  server_.datasets.FailNext(1);
  ASSERT_OK(client_.UploadDataset("projects/default", WriteFile("d.jsonl", "{}\n"), {}));
  EXPECT_EQ(server_.datasets.received(), "{}\n");
}

TEST_F(TransferTest, SendsAModelOnlyOnce) {
  const std::string path = WriteFile("m.gguf", big_);
  ASSERT_OK_AND_ASSIGN(const v1::Model first, client_.UploadModel("projects/default", path, {}));
  const int64_t bytes = server_.models.bytes_received();
  EXPECT_EQ(bytes, static_cast<int64_t>(big_.size()));
  ASSERT_OK_AND_ASSIGN(const v1::Model second, client_.UploadModel("projects/default", path, {}));
  EXPECT_EQ(second.name(), first.name());
  EXPECT_EQ(server_.models.bytes_received(), bytes) << "the digest was enough";
}

TEST_F(TransferTest, DownloadsAppearWholeOrNotAtAll) {
  ASSERT_OK_AND_ASSIGN(v1::Model model, client_.UploadModel("projects/default", WriteFile("m.gguf", big_), {}));
  ASSERT_OK(client_.DownloadModel(model, dir_.File("copy.gguf"), nullptr));
  ASSERT_OK_AND_ASSIGN(const std::string copy, base::RealFileSystem()->Read(dir_.File("copy.gguf")));
  EXPECT_EQ(copy, big_);

  model.set_digest(base::Sha256Hex("something else"));
  EXPECT_THAT(client_.DownloadModel(model, dir_.File("bad.gguf"), nullptr),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("SHA-256")));
  EXPECT_FALSE(base::RealFileSystem()->Exists(dir_.File("bad.gguf")));
}

TEST_F(TransferTest, ADownloadStartsAnewAfterABreak) {
  ASSERT_OK_AND_ASSIGN(const v1::Model model, client_.UploadModel("projects/default", WriteFile("m.gguf", big_), {}));
  server_.models.BreakDownloads(1);
  ASSERT_OK(client_.DownloadModel(model, dir_.File("copy.gguf"), nullptr));
  ASSERT_OK_AND_ASSIGN(const std::string copy, base::RealFileSystem()->Read(dir_.File("copy.gguf")));
  EXPECT_EQ(copy, big_);
}

TEST(RequestId, IsAFreshUuid) {
  const std::string a = NewRequestId();
  EXPECT_EQ(a.size(), 36u);
  EXPECT_EQ(a[14], '4');
  EXPECT_EQ(std::count(a.begin(), a.end(), '-'), 4);
  EXPECT_NE(a, NewRequestId());
}

}  // namespace
}  // namespace qzo::client
