#include "server/server.h"

#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "base/fs.h"
#include "proto/grpc_status.h"
#include "qzo/v1/model.grpc.pb.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_dir.h"

namespace qzo::server {
namespace {

using ::qzo::testing::StatusIs;
using ::testing::AllOf;
using ::testing::HasSubstr;

class ServerTest : public ::testing::Test {
 protected:
  Server::Options OptionsIn(const std::string& directory) const {
    Server::Options options;
    options.listen = "127.0.0.1:0";
    options.data_directory = directory_.File(directory);
    options.metrics_address = "";
    return options;
  }
  static absl::StatusOr<v1::Model> GetModel(Server* server, const std::string& name) {
    const auto stub =
        v1::ModelService::NewStub(grpc::CreateChannel(server->local_address(), grpc::InsecureChannelCredentials()));
    grpc::ClientContext context;
    v1::GetModelRequest request;
    request.set_name(name);
    v1::Model model;
    const grpc::Status status = stub->GetModel(&context, request, &model);
    if (!status.ok()) return rpc::FromGrpc(status);
    return model;
  }

  testing::TempDir directory_;
};

TEST_F(ServerTest, APortInUseIsNamed) {
  ASSERT_OK_AND_ASSIGN(const auto first, Server::Start(OptionsIn("a")));
  Server::Options options = OptionsIn("b");
  options.listen = first->local_address();
  EXPECT_THAT(Server::Start(options), StatusIs(absl::StatusCode::kUnavailable, HasSubstr(first->local_address())));
  options = OptionsIn("c");
  options.metrics_address = first->local_address();
  EXPECT_THAT(Server::Start(options),
              StatusIs(absl::StatusCode::kUnavailable, AllOf(HasSubstr(first->local_address()), HasSubstr("metrics"))));
}

TEST_F(ServerTest, ADataDirectoryHasOneServer) {
  ASSERT_OK_AND_ASSIGN(auto first, Server::Start(OptionsIn("a")));
  EXPECT_THAT(Server::Start(OptionsIn("a")),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr(directory_.File("a"))));
  first.reset();
  EXPECT_OK(Server::Start(OptionsIn("a")));
}

TEST_F(ServerTest, ADirectoryThatCannotBeMadeIsNamed) {
  ASSERT_OK(base::RealFileSystem()->WriteDurably(directory_.File("file"), "x"));
  EXPECT_THAT(Server::Start(OptionsIn("file/data")).status().message(), HasSubstr(directory_.File("file/data")));
}

TEST_F(ServerTest, BeyondLoopbackItMustBeTold) {
  Server::Options options = OptionsIn("a");
  options.listen = "0.0.0.0:0";
  EXPECT_THAT(Server::Start(options), StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("--insecure")));
  options.insecure = true;
  EXPECT_OK(Server::Start(options));
}

TEST_F(ServerTest, ModelsAreImportedUnderTheirFilesNames) {
  Server::Options options = OptionsIn("a");
  options.import_models = {testing::TestFile("golden/models/stories260k/stories260K-Q4_0.gguf")};
  for (int start = 1; start <= 2; ++start) {
    ASSERT_OK_AND_ASSIGN(const auto server, Server::Start(options));
    ASSERT_OK_AND_ASSIGN(const v1::Model model, GetModel(server.get(), "projects/default/models/stories260k-q4-0"));
    EXPECT_EQ(model.layers(), 5) << "start " << start;
  }
  const std::string impostor = directory_.File("stories260K-Q4_0.gguf");
  ASSERT_OK_AND_ASSIGN(
      const std::string other,
      base::RealFileSystem()->Read(testing::TestFile("golden/models/stories260k/stories260K-Q8_0.gguf")));
  ASSERT_OK(base::RealFileSystem()->WriteDurably(impostor, other));
  options.import_models = {impostor};
  EXPECT_THAT(Server::Start(options), StatusIs(absl::StatusCode::kAlreadyExists, HasSubstr(impostor)));
  options.import_models = {directory_.File("none.gguf")};
  EXPECT_THAT(Server::Start(options), StatusIs(absl::StatusCode::kNotFound, HasSubstr("none.gguf")));
}

TEST_F(ServerTest, MetricsAreServedWhereTheyShould) {
  Server::Options options = OptionsIn("a");
  options.metrics_address = "127.0.0.1:0";
  EXPECT_OK(Server::Start(options));
  options.metrics_address = "256.0.0.1:9464";
  EXPECT_THAT(Server::Start(options), StatusIs(absl::StatusCode::kUnavailable, HasSubstr("256.0.0.1:9464")));
}

}  // namespace
}  // namespace qzo::server
