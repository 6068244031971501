#include "server/model_service.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>

#include "base/digest.h"
#include "base/sha256sums.h"
#include "base/status_macros.h"
#include "server/test_server.h"
#include "tests/support/tiny_checkpoint.h"

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

// A checkpoint directory, sent file by file.
class SeveralFilesTest : public ModelServiceTest {
 protected:
  SeveralFilesTest() {
    files_ = testing::TinyCheckpoint("gptq").Files(2);
    files_["tokenizer.json"] = testing::TinyCheckpoint::Tokenizer();
  }
  std::string List() const {
    std::vector<base::FileDigest> listed;
    for (const auto& [name, bytes] : files_) listed.push_back({.name = name, .digest = base::Sha256Hex(bytes)});
    return base::WriteSha256Sums(listed);
  }
  absl::StatusOr<std::vector<std::string>> Missing(const std::string& list) {
    v1::FindMissingFilesRequest request;
    request.set_parent("projects/p");
    request.set_file_list(list);
    QZO_ASSIGN_OR_RETURN(const auto answer,
                         server_.Call(server_.models, &v1::ModelService::Stub::FindMissingFiles, request));
    return std::vector<std::string>(answer.files().begin(), answer.files().end());
  }
  absl::StatusOr<v1::Model> Send(const std::string& id, const std::string& list,
                                 const std::vector<std::pair<std::string, std::string>>& files) {
    grpc::ClientContext context;
    server_.Prepare(&context, absl::Seconds(60));
    v1::Model response;
    const auto writer = server_.models->CreateModel(&context, &response);
    v1::CreateModelRequest header;
    header.mutable_header()->set_parent("projects/p");
    header.mutable_header()->set_model_id(id);
    header.mutable_header()->set_file_list(list);
    writer->Write(header);
    for (const auto& [name, bytes] : files) {
      v1::CreateModelRequest begin, data;
      begin.set_file(name);
      writer->Write(begin);
      for (std::string_view rest = bytes; !rest.empty(); rest.remove_prefix(std::min<size_t>(100'000, rest.size()))) {
        data.set_data(std::string(rest.substr(0, 100'000)));
        writer->Write(data);
      }
    }
    writer->WritesDone();
    const grpc::Status status = writer->Finish();
    if (!status.ok()) return rpc::FromGrpc(status);
    return response;
  }
  std::vector<std::pair<std::string, std::string>> All() const { return {files_.begin(), files_.end()}; }
  absl::StatusOr<std::string> DownloadFile(const std::string& name, const std::string& file) {
    grpc::ClientContext context;
    v1::DownloadModelRequest request;
    request.set_name(name);
    request.set_file(file);
    return TestServer::ReadAll(server_.models->DownloadModel(&context, request));
  }

  std::map<std::string, std::string> files_;
};

TEST_F(SeveralFilesTest, AreOneModelKnownByTheirList) {
  ASSERT_OK_AND_ASSIGN(const auto missing, Missing(List()));
  EXPECT_EQ(missing.size(), files_.size());
  ASSERT_OK_AND_ASSIGN(const v1::Model made, Send("tiny", List(), All()));
  EXPECT_EQ(made.digest(), base::Sha256Hex(List()));
  EXPECT_EQ(made.architecture(), "llama");
  EXPECT_EQ(made.tensor_types().at("GPTQ4"), 7);
  EXPECT_GT(made.group_multipliers(), made.channel_multipliers());
  ASSERT_EQ(made.files_size(), static_cast<int>(files_.size()));
  int64_t bytes = 0;
  for (const v1::Model::File& file : made.files()) {
    EXPECT_EQ(DownloadFile(made.name(), file.name()).value(), files_.at(file.name()));
    bytes += file.bytes();
  }
  EXPECT_EQ(made.bytes(), bytes);
  EXPECT_EQ(Download(made.name()).value(), List());
  EXPECT_THAT(DownloadFile(made.name(), "passwd"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("'passwd' is no file of")));
}

TEST_F(SeveralFilesTest, WhatOneModelHasAnotherNeedNotSend) {
  ASSERT_OK(Send("first", List(), All()));
  EXPECT_TRUE(Missing(List()).value().empty());
  const size_t before = server_.CountBlobs();
  files_["generation_config.json"] = "{}";
  EXPECT_EQ(Missing(List()).value(), std::vector<std::string>{"generation_config.json"});
  ASSERT_OK(Send("second", List(), {{"generation_config.json", "{}"}}));
  EXPECT_EQ(server_.CountBlobs(), before + 2) << "the new file and the list";
  ASSERT_OK(Delete("projects/p/models/first"));
  EXPECT_EQ(server_.CountBlobs(), before + 1) << "the first list is gone, its files serve the second";
  EXPECT_OK(DownloadFile("projects/p/models/second", "config.json"));
  ASSERT_OK(Delete("projects/p/models/second"));
  EXPECT_EQ(server_.CountBlobs(), 0u);
}

TEST_F(SeveralFilesTest, LeaveNothingWhenOneIsWrong) {
  const auto expect_refused = [&](const std::string& list, const std::vector<std::pair<std::string, std::string>>& sent,
                                  absl::StatusCode code, const char* why) {
    EXPECT_THAT(Send("m", list, sent), StatusIs(code, HasSubstr(why)));
    EXPECT_EQ(server_.CountBlobs(), 0u) << why;
  };
  constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;
  const auto all = All();
  auto some = all;
  some.pop_back();
  expect_refused(List(), some, absl::StatusCode::kFailedPrecondition, "send it");
  auto other = all;
  other[0].second += " ";
  expect_refused(List(), other, kInvalid, "has SHA-256");
  auto twice = all;
  twice.push_back(all[0]);
  expect_refused(List(), twice, kInvalid, "expected a name of file_list, once");
  expect_refused(List(), {{"stranger", "x"}}, kInvalid, "'stranger' was sent");
  expect_refused("not a list", {}, kInvalid, "file_list");
  files_["README.md"] = "no part of a model";
  expect_refused(List(), All(), kInvalid, "'README.md' is no part of the model");
  files_.erase("README.md");
  files_["config.json"] = "{}";
  expect_refused(List(), All(), kInvalid, "config.json");
}

TEST_F(SeveralFilesTest, ADirectoryOfTheServersMachineIsImported) {
  testing::TempDir there;
  const std::string directory = there.File("tiny.model");
  ASSERT_OK(base::RealFileSystem()->CreateDirectories(directory));
  for (const auto& [name, bytes] : files_) {
    ASSERT_OK(base::RealFileSystem()->WriteDurably(directory + "/" + name, bytes));
  }
  TestServer importing([&](Server::Options* options) { options->import_models = {directory + "/"}; });
  v1::GetModelRequest request;
  request.set_name("projects/default/models/tiny");
  ASSERT_OK_AND_ASSIGN(const v1::Model model,
                       importing.Call(importing.models, &v1::ModelService::Stub::GetModel, request));
  EXPECT_EQ(model.digest(), base::Sha256Hex(List()));
  EXPECT_EQ(importing.CountBlobs(), files_.size() + 1);
}

}  // namespace
}  // namespace qzo::server
