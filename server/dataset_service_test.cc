#include "server/dataset_service.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/digest.h"
#include "server/test_server.h"

namespace qzo::server {
namespace {

using ::qzo::testing::StatusIs;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

class DatasetServiceTest : public ::testing::Test {
 protected:
  absl::StatusOr<v1::Dataset> Get(const std::string& name) {
    v1::GetDatasetRequest request;
    request.set_name(name);
    return server_.Call(server_.datasets, &v1::DatasetService::Stub::GetDataset, request);
  }
  absl::Status Delete(const std::string& name) {
    v1::DeleteDatasetRequest request;
    request.set_name(name);
    return server_.Call(server_.datasets, &v1::DatasetService::Stub::DeleteDataset, request).status();
  }
  static v1::CreateDatasetRequest::Header Header(const std::string& id) {
    v1::CreateDatasetRequest::Header header;
    header.set_parent("projects/p");
    header.set_dataset_id(id);
    return header;
  }

  TestServer server_;
};

TEST_F(DatasetServiceTest, WhatWasUploadedCanBeGot) {
  const std::string rows = Rows(7);
  v1::CreateDatasetRequest::Header header = Header("train");
  header.set_display_name("Training rows");
  header.set_digest(base::Sha256Hex(rows));
  ASSERT_OK_AND_ASSIGN(const v1::Dataset made, server_.UploadDataset(header, rows));
  EXPECT_EQ(made.name(), "projects/p/datasets/train");
  EXPECT_EQ(made.display_name(), "Training rows");
  EXPECT_EQ(made.digest(), base::Sha256Hex(rows));
  EXPECT_EQ(made.bytes(), static_cast<int64_t>(rows.size()));
  EXPECT_EQ(made.rows(), 7);
  EXPECT_GT(made.create_time().seconds(), 0);
  ASSERT_OK_AND_ASSIGN(const v1::Dataset got, Get(made.name()));
  EXPECT_EQ(got.SerializeAsString(), made.SerializeAsString());
}

TEST_F(DatasetServiceTest, ARepeatedRequestMakesNothingNew) {
  v1::CreateDatasetRequest::Header header = Header("");
  header.set_request_id("once");
  ASSERT_OK_AND_ASSIGN(const v1::Dataset first, server_.UploadDataset(header, Rows(3)));
  ASSERT_OK_AND_ASSIGN(const v1::Dataset second, server_.UploadDataset(header, Rows(3)));
  EXPECT_EQ(second.uid(), first.uid());
}

TEST_F(DatasetServiceTest, AFileIsStoredOnceUnderAnyNumberOfNames) {
  ASSERT_OK_AND_ASSIGN(const v1::Dataset a, server_.UploadDataset("a", Rows(3)));
  ASSERT_OK_AND_ASSIGN(const v1::Dataset b, server_.UploadDataset("b", Rows(3)));
  EXPECT_EQ(a.digest(), b.digest());
  EXPECT_EQ(server_.CountBlobs(), 1u);
  ASSERT_OK(Delete(a.name()));
  EXPECT_EQ(server_.CountBlobs(), 1u) << "b still names it";
  ASSERT_OK(Delete(b.name()));
  EXPECT_EQ(server_.CountBlobs(), 0u);
}

TEST_F(DatasetServiceTest, WithoutAnIdTheDigestNamesIt) {
  ASSERT_OK_AND_ASSIGN(const v1::Dataset first, server_.UploadDataset("", Rows(3)));
  EXPECT_EQ(first.name(), "projects/p/datasets/data-" + base::Sha256Hex(Rows(3)).substr(0, 12));
  ASSERT_OK_AND_ASSIGN(const v1::Dataset again, server_.UploadDataset("", Rows(3)));
  EXPECT_EQ(again.uid(), first.uid());
}

TEST_F(DatasetServiceTest, ATakenIdIsRefusedAndLeavesNothing) {
  ASSERT_OK(server_.UploadDataset("a", Rows(3)));
  const absl::Status status = server_.UploadDataset("a", Rows(4)).status();
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kAlreadyExists, HasSubstr("projects/p/datasets/a")));
  EXPECT_EQ(rpc::ReasonOf(status), "DATASET_EXISTS");
  EXPECT_EQ(server_.CountBlobs(), 1u);
}

TEST_F(DatasetServiceTest, EveryBadLineIsNamedAndNothingIsKept) {
  const absl::Status status = server_.UploadDataset("bad", "{\"a\":1}\n[1]\n{\"a\":1\n\n{\"a\":\"\xff\"}\n").status();
  ASSERT_THAT(status, StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("4 bad rows of 5")));
  EXPECT_EQ(rpc::ReasonOf(status), "BAD_ROWS");
  ASSERT_TRUE(rpc::BadRequestOf(status).has_value());
  std::vector<std::string> fields;
  const google::rpc::BadRequest details = *rpc::BadRequestOf(status);
  for (const auto& violation : details.field_violations()) fields.push_back(violation.field());
  ASSERT_EQ(fields.size(), 4u);
  EXPECT_THAT(fields[0], HasSubstr("bad:2:"));
  EXPECT_THAT(fields[3], HasSubstr("bad:5:7")) << "the column of the byte that is not UTF-8";
  EXPECT_EQ(server_.CountBlobs(), 0u);
  EXPECT_THAT(Get("projects/p/datasets/bad"), StatusIs(absl::StatusCode::kNotFound, ::testing::_));
}

TEST_F(DatasetServiceTest, OfManyBadLinesTwentyAreShown) {
  std::string rows;
  for (int i = 0; i < 100; ++i) rows += "x\n";
  const absl::Status status = server_.UploadDataset("bad", rows).status();
  ASSERT_TRUE(rpc::BadRequestOf(status).has_value());
  const google::rpc::BadRequest details = *rpc::BadRequestOf(status);
  const auto& violations = details.field_violations();
  ASSERT_EQ(violations.size(), 21);
  EXPECT_EQ(violations[20].description(), "80 more bad rows of 100");
}

TEST_F(DatasetServiceTest, UploadsThatAreNoneAreRefused) {
  EXPECT_THAT(server_.UploadDataset("a", ""), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("no bytes came")));
  EXPECT_THAT(server_.UploadDataset("A", Rows(1)),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("dataset_id")));
  v1::CreateDatasetRequest::Header header = Header("a");
  header.set_parent("p");
  EXPECT_THAT(server_.UploadDataset(header, Rows(1)),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("parent")));
  header = Header("a");
  header.set_digest(std::string(64, '0'));
  EXPECT_THAT(server_.UploadDataset(header, Rows(1)), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("0000")));
  header.set_digest("beef");
  EXPECT_THAT(server_.UploadDataset(header, Rows(1)),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("digest")));
  header = Header("a");
  header.set_request_id(std::string(65, 'x'));
  EXPECT_THAT(server_.UploadDataset(header, Rows(1)),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("request_id")));
  EXPECT_EQ(server_.CountBlobs(), 0u);
}

TEST_F(DatasetServiceTest, TheHeaderComesFirstAndOnce) {
  for (const bool header_first : {false, true}) {
    grpc::ClientContext context;
    v1::Dataset response;
    const auto writer = server_.datasets->CreateDataset(&context, &response);
    v1::CreateDatasetRequest request;
    if (header_first) {
      *request.mutable_header() = Header("a");
      writer->Write(request);
      writer->Write(request);
    } else {
      request.set_data("{}");
      writer->Write(request);
    }
    writer->WritesDone();
    EXPECT_THAT(rpc::FromGrpc(writer->Finish()), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("header: ")));
  }
}

TEST_F(DatasetServiceTest, ChunksAreBounded) {
  grpc::ClientContext context;
  v1::Dataset response;
  const auto writer = server_.datasets->CreateDataset(&context, &response);
  v1::CreateDatasetRequest request;
  *request.mutable_header() = Header("a");
  writer->Write(request);
  request.set_data(std::string((1 << 20) + 1, ' '));
  writer->Write(request);
  writer->WritesDone();
  EXPECT_THAT(rpc::FromGrpc(writer->Finish()), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("1048576")));
}

TEST_F(DatasetServiceTest, ABrokenOffUploadLeavesNothing) {
  {
    grpc::ClientContext context;
    v1::Dataset response;
    const auto writer = server_.datasets->CreateDataset(&context, &response);
    v1::CreateDatasetRequest request;
    *request.mutable_header() = Header("a");
    ASSERT_TRUE(writer->Write(request));
    request.set_data(Rows(100));
    ASSERT_TRUE(writer->Write(request));
    context.TryCancel();
    EXPECT_THAT(rpc::FromGrpc(writer->Finish()), StatusIs(absl::StatusCode::kCancelled, ::testing::_));
  }
  server_.Stop();  // waits for every call
  EXPECT_EQ(server_.CountBlobs(), 0u);
  server_.Start();
  EXPECT_THAT(Get("projects/p/datasets/a"), StatusIs(absl::StatusCode::kNotFound, ::testing::_));
}

TEST_F(DatasetServiceTest, WithTaskAndModelEveryRowIsRenderedAndCounted) {
  ASSERT_OK(server_.UploadModel("stories", StoriesModel()));
  v1::CreateDatasetRequest::Header header = Header("a");
  *header.mutable_task() = SentimentTask();
  EXPECT_THAT(server_.UploadDataset(header, Rows(5)),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("model: missing")));
  header.set_model(kModelName);
  ASSERT_OK_AND_ASSIGN(const v1::Dataset made, server_.UploadDataset(header, Rows(5)));
  EXPECT_THAT(made.report().label_counts(), ElementsAre(3, 2));
  EXPECT_GT(made.report().tokens(), 5 * 3);
  EXPECT_GT(made.report().longest_row_tokens(), 3);
  header.set_dataset_id("b");
  const absl::Status status = server_.UploadDataset(header, Rows(1) + "{\"text\":\"x\"}\n").status();
  ASSERT_THAT(status, StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("label")));
  EXPECT_THAT(rpc::BadRequestOf(status)->field_violations(0).field(), HasSubstr("b:2:"));
  header.mutable_task()->clear_options();
  EXPECT_THAT(server_.UploadDataset(header, Rows(1)),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("task.options")));
  header.set_model("projects/p/models/other");
  EXPECT_THAT(server_.UploadDataset(header, Rows(1)), StatusIs(absl::StatusCode::kNotFound, HasSubstr("models/other")));
}

TEST_F(DatasetServiceTest, ValidateOnlyStoresNothing) {
  v1::CreateDatasetRequest::Header header = Header("a");
  header.set_validate_only(true);
  ASSERT_OK_AND_ASSIGN(const v1::Dataset would_be, server_.UploadDataset(header, Rows(5)));
  EXPECT_EQ(would_be.rows(), 5);
  EXPECT_THAT(Get("projects/p/datasets/a"), StatusIs(absl::StatusCode::kNotFound, ::testing::_));
  EXPECT_EQ(server_.CountBlobs(), 0u);
}

TEST_F(DatasetServiceTest, ListsPageNewestFirst) {
  for (const char* id : {"a", "b", "c"}) ASSERT_OK(server_.UploadDataset(id, Rows(1)));
  v1::ListDatasetsRequest request;
  request.set_parent("projects/-");
  request.set_page_size(2);
  ASSERT_OK_AND_ASSIGN(auto page, server_.Call(server_.datasets, &v1::DatasetService::Stub::ListDatasets, request));
  ASSERT_EQ(page.datasets_size(), 2);
  EXPECT_EQ(page.datasets(0).name(), "projects/p/datasets/c");
  ASSERT_NE(page.next_page_token(), "");
  request.set_page_token(page.next_page_token());
  ASSERT_OK_AND_ASSIGN(page, server_.Call(server_.datasets, &v1::DatasetService::Stub::ListDatasets, request));
  ASSERT_EQ(page.datasets_size(), 1);
  EXPECT_EQ(page.datasets(0).name(), "projects/p/datasets/a");
  EXPECT_EQ(page.next_page_token(), "");
  for (const char* token : {"x", "cWE", "!"}) {
    request.set_page_token(token);
    EXPECT_THAT(server_.Call(server_.datasets, &v1::DatasetService::Stub::ListDatasets, request),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("page_token")))
        << token;
  }
  request.clear_page_token();
  request.set_page_size(-1);
  EXPECT_THAT(server_.Call(server_.datasets, &v1::DatasetService::Stub::ListDatasets, request),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("page_size")));
}

TEST_F(DatasetServiceTest, MissingAndMalformedNames) {
  const absl::Status status = Get("projects/p/datasets/none").status();
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kNotFound, HasSubstr("projects/p/datasets/none")));
  EXPECT_EQ(rpc::ReasonOf(status), "DATASET_NOT_FOUND");
  EXPECT_THAT(Get("none"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("projects/{project}/datasets/{dataset}")));
  EXPECT_THAT(Delete("projects/p/datasets/none"), StatusIs(absl::StatusCode::kNotFound, ::testing::_));
}

}  // namespace
}  // namespace qzo::server
