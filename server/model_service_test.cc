#include "server/model_service.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/digest.h"
#include "server/test_server.h"

namespace qzo::server {
namespace {

using ::qzo::testing::StatusIs;
using ::testing::HasSubstr;

class ModelServiceTest : public ::testing::Test {
 protected:
  absl::StatusOr<v1::Model> Get(const std::string& name) {
    v1::GetModelRequest request;
    request.set_name(name);
    return server_.Call(server_.models, &v1::ModelService::Stub::GetModel, request);
  }
  absl::Status Delete(const std::string& name) {
    v1::DeleteModelRequest request;
    request.set_name(name);
    return server_.Call(server_.models, &v1::ModelService::Stub::DeleteModel, request).status();
  }
  absl::StatusOr<std::string> Download(const std::string& name) {
    grpc::ClientContext context;
    v1::DownloadModelRequest request;
    request.set_name(name);
    return TestServer::ReadAll(server_.models->DownloadModel(&context, request));
  }

  TestServer server_;
};

TEST_F(ModelServiceTest, AModelIsDescribedAndComesBackAsItWas) {
  const std::string file = StoriesModel();
  ASSERT_FALSE(file.empty());
  ASSERT_OK_AND_ASSIGN(const v1::Model made, server_.UploadModel("stories", file));
  EXPECT_EQ(made.name(), kModelName);
  EXPECT_EQ(made.digest(), base::Sha256Hex(file));
  EXPECT_EQ(made.bytes(), static_cast<int64_t>(file.size()));
  EXPECT_EQ(made.architecture(), "llama");
  EXPECT_EQ(made.layers(), 5);
  EXPECT_EQ(made.embedding_length(), 64);
  EXPECT_EQ(made.vocabulary(), 512);
  EXPECT_GT(made.tensor_types().at("Q4_0"), 0);
  EXPECT_GT(made.group_multipliers(), made.channel_multipliers());
  ASSERT_OK_AND_ASSIGN(const v1::Model got, Get(kModelName));
  EXPECT_EQ(got.digest(), made.digest());
  ASSERT_OK_AND_ASSIGN(const std::string downloaded, Download(kModelName));
  EXPECT_TRUE(downloaded == file);
}

TEST_F(ModelServiceTest, AKnownDigestNeedsNoData) {
  const std::string file = StoriesModel();
  v1::CreateModelRequest::Header header;
  header.set_parent("projects/p");
  header.set_model_id("again");
  header.set_digest(base::Sha256Hex(file));
  const absl::Status unknown = server_.UploadModel(header, "").status();
  EXPECT_THAT(unknown, StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("send it")));
  EXPECT_EQ(rpc::ReasonOf(unknown), "DATA_NEEDED");
  ASSERT_OK(server_.UploadModel("stories", file));
  ASSERT_OK_AND_ASSIGN(const v1::Model again, server_.UploadModel(header, ""));
  EXPECT_EQ(again.name(), "projects/p/models/again");
  EXPECT_EQ(server_.CountBlobs(), 1u);
}

TEST_F(ModelServiceTest, AFileThatIsNoModelIsRefusedAndNotKept) {
  EXPECT_THAT(server_.UploadModel("m", "GGUF, or perhaps not"),
              StatusIs(absl::StatusCode::kInvalidArgument, ::testing::_));
  EXPECT_THAT(server_.UploadModel("m", StoriesModel().substr(0, 100'000)),
              StatusIs(absl::StatusCode::kInvalidArgument, ::testing::_));
  EXPECT_THAT(server_.UploadModel("m", ""), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("no bytes came")));
  EXPECT_EQ(server_.CountBlobs(), 0u);
  EXPECT_THAT(Get("projects/p/models/m"), StatusIs(absl::StatusCode::kNotFound, ::testing::_));
}

TEST_F(ModelServiceTest, NamesAreUniqueAndRequestsRepeatable) {
  v1::CreateModelRequest::Header header;
  header.set_parent("projects/p");
  header.set_model_id("stories");
  header.set_request_id("once");
  ASSERT_OK_AND_ASSIGN(const v1::Model first, server_.UploadModel(header, StoriesModel()));
  ASSERT_OK_AND_ASSIGN(const v1::Model second, server_.UploadModel(header, StoriesModel()));
  EXPECT_EQ(second.uid(), first.uid());
  EXPECT_THAT(server_.UploadModel("stories", StoriesModel("Q8_0")),
              StatusIs(absl::StatusCode::kAlreadyExists, HasSubstr(kModelName)));
  EXPECT_EQ(server_.CountBlobs(), 1u);
  ASSERT_OK(server_.UploadModel("", StoriesModel("Q8_0")));
  ASSERT_OK_AND_ASSIGN(auto list, server_.Call(server_.models, &v1::ModelService::Stub::ListModels, [] {
    v1::ListModelsRequest request;
    request.set_parent("projects/p");
    return request;
  }()));
  ASSERT_EQ(list.models_size(), 2);
  EXPECT_EQ(list.models(0).name(), "projects/p/models/model-" + base::Sha256Hex(StoriesModel("Q8_0")).substr(0, 12));
}

TEST_F(ModelServiceTest, DeletedModelsAreGone) {
  ASSERT_OK(server_.UploadModel("stories", StoriesModel()));
  ASSERT_OK(Delete(kModelName));
  EXPECT_EQ(server_.CountBlobs(), 0u);
  EXPECT_THAT(Get(kModelName), StatusIs(absl::StatusCode::kNotFound, HasSubstr(kModelName)));
  EXPECT_THAT(Download(kModelName), StatusIs(absl::StatusCode::kNotFound, HasSubstr(kModelName)));
  EXPECT_THAT(Delete(kModelName), StatusIs(absl::StatusCode::kNotFound, ::testing::_));
}

TEST_F(ModelServiceTest, AModelInUseStays) {
  ASSERT_OK(server_.UploadModel("stories", StoriesModel()));
  ASSERT_OK(server_.UploadDataset("train", Rows(20)));
  ASSERT_OK(server_.Call(server_.jobs, &v1::JobService::Stub::CreateJob, JobRequest("j")));
  const absl::Status status = Delete(kModelName);
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("a job that has not ended uses it")));
  EXPECT_EQ(rpc::ReasonOf(status), "MODEL_IN_USE");
}

}  // namespace
}  // namespace qzo::server
