// What a project may hold, over a real server.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "server/test_server.h"
#include "tests/support/processes.h"

namespace qzo::server {
namespace {

using ::qzo::testing::StatusIs;
using ::testing::HasSubstr;

class QuotaTest : public ::testing::Test {
 protected:
  void Start(uint64_t project_bytes, int project_jobs) {
    server_ = std::make_unique<TestServer>([=](Server::Options* options) {
      options->project_bytes = project_bytes;
      options->project_jobs = project_jobs;
    });
  }
  // A dataset of exactly so many bytes.
  static std::string File(size_t bytes) {
    const std::string row = R"({"text":""})";
    return row.substr(0, 9) + std::string(bytes - row.size() - 1, 'a') + "\"}\n";
  }
  absl::Status Upload(const std::string& id, size_t bytes, const std::string& project = "p") {
    v1::CreateDatasetRequest::Header header;
    header.set_parent("projects/" + project);
    header.set_dataset_id(id);
    return server_->UploadDataset(header, File(bytes)).status();
  }
  absl::Status DeleteDataset(const std::string& id) {
    v1::DeleteDatasetRequest request;
    request.set_name("projects/p/datasets/" + id);
    return server_->Call(server_->datasets, &v1::DatasetService::Stub::DeleteDataset, request).status();
  }
  static void ExpectFull(const absl::Status& status) {
    EXPECT_THAT(status, StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("projects/p would hold more than")));
    EXPECT_EQ(rpc::ReasonOf(status), "PROJECT_FULL");
  }

  std::unique_ptr<TestServer> server_;
};

TEST_F(QuotaTest, AProjectHoldsSoManyBytes) {
  Start(10'000, 0);
  ASSERT_OK(Upload("a", 6'000));
  ExpectFull(Upload("b", 4'001));
  EXPECT_EQ(server_->CountBlobs(), 1u) << "nothing is left of the one that did not fit";
  EXPECT_OK(Upload("b", 4'000, "q")) << "another project";
  EXPECT_OK(Upload("b", 3'999));
  EXPECT_OK(Upload("c", 1'000, "q"));
  ExpectFull(Upload("c", 100));
  ASSERT_OK(DeleteDataset("a"));
  EXPECT_OK(Upload("c", 6'001));
  server_->Stop();
  server_->Start();
  ExpectFull(Upload("d", 100));
}

TEST_F(QuotaTest, FilesOnTheirWayCount) {
  Start(2'000'000, 0);
  grpc::ClientContext context;
  server_->Prepare(&context, absl::Seconds(60));
  v1::Dataset response;
  const auto stream = server_->datasets->CreateDataset(&context, &response);
  v1::CreateDatasetRequest request;
  request.mutable_header()->set_parent("projects/p");
  ASSERT_TRUE(stream->Write(request));
  request.set_data(File(1'000'000));
  ASSERT_TRUE(stream->Write(request));
  EXPECT_TRUE(testing::Eventually([&] {
    const absl::Status status = Upload("b", 1'000'001);
    if (!status.ok()) ExpectFull(status);
    return !status.ok() || !DeleteDataset("b").ok();
  })) << "once the first is known to have come";
  stream->WritesDone();
  EXPECT_TRUE(stream->Finish().ok());
  ExpectFull(Upload("b", 1'000'001));
  EXPECT_OK(Upload("b", 1'000'000));
}

TEST_F(QuotaTest, ModelsCountHoweverTheyCame) {
  const std::string file = StoriesModel();
  Start(2 * file.size(), 0);
  ASSERT_OK(server_->UploadModel("a", file));
  v1::CreateModelRequest::Header header;
  header.set_parent("projects/p");
  header.set_model_id("b");
  header.set_digest(server_->UploadModel("a2", file)->digest());
  ExpectFull(server_->UploadModel(header, "").status());
  v1::DeleteModelRequest gone;
  gone.set_name("projects/p/models/a2");
  ASSERT_OK(server_->Call(server_->models, &v1::ModelService::Stub::DeleteModel, gone));
  EXPECT_OK(server_->UploadModel(header, "")) << "by its digest";
}

TEST_F(QuotaTest, AProjectHasSoManyJobsThatHaveNotEnded) {
  Start(0, 1);
  ASSERT_OK(server_->UploadModel("stories", StoriesModel()));
  ASSERT_OK(server_->UploadDataset("train", Rows(8)));
  const auto create = [this](const std::string& id) {
    v1::CreateJobRequest request = JobRequest(id);
    request.set_request_id("request-" + id);
    return server_->Call(server_->jobs, &v1::JobService::Stub::CreateJob, request).status();
  };
  const auto steer = [this](auto method, auto request, const std::string& id) {
    request.set_name("projects/p/jobs/" + id);
    return server_->Call(server_->jobs, method, request).status();
  };
  using Stub = v1::JobService::Stub;
  ASSERT_OK(create("a"));
  EXPECT_OK(create("a")) << "the same request again";
  const absl::Status refused = create("b");
  EXPECT_THAT(refused, StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("projects/p has 1 job that")));
  EXPECT_EQ(rpc::ReasonOf(refused), "TOO_MANY_JOBS");
  ASSERT_OK(steer(&Stub::PauseJob, v1::PauseJobRequest(), "a"));
  EXPECT_EQ(rpc::ReasonOf(create("b")), "TOO_MANY_JOBS") << "it has not ended";
  ASSERT_OK(steer(&Stub::CancelJob, v1::CancelJobRequest(), "a"));
  EXPECT_OK(create("b"));
  EXPECT_EQ(rpc::ReasonOf(steer(&Stub::RetryJob, v1::RetryJobRequest(), "a")), "TOO_MANY_JOBS");
  ASSERT_OK(steer(&Stub::CancelJob, v1::CancelJobRequest(), "b"));
  EXPECT_OK(steer(&Stub::RetryJob, v1::RetryJobRequest(), "a"));
}

}  // namespace
}  // namespace qzo::server
