// TLS between real servers and channels: who is let in, and what happens when certificates are replaced.
#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include "base/fs.h"
#include "proto/dial.h"
#include "proto/grpc_status.h"
#include "qzo/v1/job.grpc.pb.h"
#include "server/credentials.h"
#include "server/server.h"
#include "server/tokens.h"
#include "tests/support/certificates.h"
#include "tests/support/processes.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_dir.h"

namespace qzo::server {
namespace {

using ::qzo::testing::Authority;
using ::qzo::testing::StatusIs;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr char kThisHost[] = "IP:127.0.0.1";

class TlsTest : public ::testing::Test {
 protected:
  TlsTest() {
    options_.listen = "127.0.0.1:0";
    options_.data_directory = directory_.File("data");
    options_.metrics_address = "";
    options_.tls_refresh = absl::Seconds(1);
    options_.tls = authority_.Issue("server", kThisHost);
    options_.tls.ca.clear();
  }
  void Start() {
    absl::StatusOr<std::unique_ptr<Server>> server = Server::Start(options_);
    ASSERT_OK(server);
    server_ = *std::move(server);
  }
  // A call over a connection of its own.
  absl::Status Call(const rpc::TlsFiles& files) {
    grpc::ChannelArguments arguments;
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    const auto channel =
        rpc::Dial({.server = server_->local_address(), .tls = files, .token_file = token_file_}, arguments);
    if (!channel.ok()) return channel.status();
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(30));
    v1::ListJobsRequest request;
    request.set_parent("projects/p");
    v1::ListJobsResponse response;
    return rpc::FromGrpc(v1::JobService::NewStub(*channel)->ListJobs(&context, request, &response));
  }
  rpc::TlsFiles Trusting(const Authority& authority) { return {authority.path(), "", ""}; }

  testing::TempDir directory_;
  Authority authority_{directory_.path(), "authority"};
  Authority stranger_{directory_.path(), "stranger"};
  Server::Options options_;
  std::string token_file_;
  std::unique_ptr<Server> server_;
};

TEST_F(TlsTest, TheServerProvesWhoItIs) {
  Start();
  EXPECT_OK(Call(Trusting(authority_)));
  EXPECT_THAT(Call(Trusting(stranger_)), StatusIs(absl::StatusCode::kUnavailable, ::testing::_));
  EXPECT_THAT(Call({}), StatusIs(absl::StatusCode::kUnavailable, ::testing::_)) << "clear text";
}

TEST_F(TlsTest, ACertificateOfAnotherHostIsRefused) {
  options_.tls = authority_.Issue("server", "DNS:elsewhere.example");
  options_.tls.ca.clear();
  Start();
  EXPECT_THAT(Call(Trusting(authority_)), StatusIs(absl::StatusCode::kUnavailable, ::testing::_));
}

TEST_F(TlsTest, ClientsProveWhoTheyAreWhereAnAuthorityIsNamed) {
  options_.tls.ca = authority_.path();
  Start();
  EXPECT_OK(Call(authority_.Issue("viewer", "URI:spiffe://test/qzo/viewer/p")));
  EXPECT_OK(Call(authority_.Issue("admin", "URI:spiffe://test/qzo/admin")));
  EXPECT_THAT(Call(authority_.Issue("other", "URI:spiffe://test/qzo/viewer/q")),
              StatusIs(absl::StatusCode::kPermissionDenied, HasSubstr("of project q")));
  EXPECT_THAT(Call(authority_.Issue("worker", "URI:spiffe://test/qzo/worker")),
              StatusIs(absl::StatusCode::kPermissionDenied, HasSubstr("is WORKER")));
  for (const char* without_role : {"URI:spiffe://test/somebody", "URI:spiffe://test/qzo/king", "DNS:admin"}) {
    EXPECT_THAT(Call(authority_.Issue("guest", without_role)),
                StatusIs(absl::StatusCode::kUnauthenticated, HasSubstr("certificate")));
  }
  EXPECT_THAT(Call(Trusting(authority_)), StatusIs(absl::StatusCode::kUnauthenticated, HasSubstr("certificate")));
  rpc::TlsFiles impostor = stranger_.Issue("impostor", "URI:spiffe://test/qzo/admin");
  impostor.ca = authority_.path();
  EXPECT_THAT(Call(impostor), StatusIs(absl::StatusCode::kUnavailable, ::testing::_));
}

TEST_F(TlsTest, ATokenDoesWithoutACertificate) {
  options_.admin_token_file = directory_.File("admin");
  Start();
  EXPECT_THAT(Call(Trusting(authority_)), StatusIs(absl::StatusCode::kUnauthenticated, HasSubstr("--token-file")));
  token_file_ = options_.admin_token_file;
  EXPECT_OK(Call(Trusting(authority_)));
  ASSERT_OK(base::RealFileSystem()->WriteDurably(directory_.File("wrong"), NewSecret()));
  token_file_ = directory_.File("wrong");
  EXPECT_THAT(Call(Trusting(authority_)), StatusIs(absl::StatusCode::kUnauthenticated, HasSubstr("not known")));
  token_file_ = directory_.File("none");
  EXPECT_THAT(Call(Trusting(authority_)), StatusIs(absl::StatusCode::kNotFound, HasSubstr("none")));
}

TEST_F(TlsTest, ReplacedCertificatesAreUsedWithoutARestart) {
  Start();
  ASSERT_OK(Call(Trusting(authority_)));
  const rpc::TlsFiles other = stranger_.Issue("other", kThisHost);
  std::filesystem::rename(other.key, options_.tls.key);
  std::filesystem::rename(other.cert, options_.tls.cert);
  EXPECT_TRUE(testing::Eventually([this] { return Call(Trusting(stranger_)).ok(); }));
  EXPECT_THAT(Call(Trusting(authority_)), StatusIs(absl::StatusCode::kUnavailable, ::testing::_));
}

TEST_F(TlsTest, FilesThatCannotBeUsedAreNamed) {
  const rpc::TlsFiles good = options_.tls;
  options_.tls.cert = directory_.File("none.pem");
  EXPECT_THAT(Server::Start(options_), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("none.pem")));
  options_.tls = good;
  options_.tls.key = authority_.Issue("other", kThisHost).key;
  EXPECT_THAT(Server::Start(options_), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("other.key")));
  options_.tls.key.clear();
  EXPECT_THAT(Server::Start(options_), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("without its key")));
  options_.tls = good;
  options_.tls.ca = good.key;
  EXPECT_THAT(Server::Start(options_), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("authorities")));
  options_.tls = {good.cert, "", ""};
  EXPECT_THAT(Server::Start(options_), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("--tls-cert")));
}

TEST_F(TlsTest, BeyondLoopbackTakesEncryptionAndAuthentication) {
  const rpc::TlsFiles both = authority_.Issue("server", kThisHost);
  const rpc::TlsFiles encrypted = {"", both.cert, both.key};
  EXPECT_THAT(CheckListen({.address = "0.0.0.0:1"}),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("clear text")));
  EXPECT_THAT(CheckListen({.address = "0.0.0.0:1", .tls = encrypted}),
              StatusIs(absl::StatusCode::kFailedPrecondition, Not(HasSubstr("clear text"))));
  EXPECT_FALSE(CheckListen({.address = "0.0.0.0:1", .tokens = true}).ok()) << "secrets in clear text";
  EXPECT_OK(CheckListen({.address = "0.0.0.0:1", .tls = both}));
  EXPECT_OK(CheckListen({.address = "0.0.0.0:1", .tls = encrypted, .tokens = true}));
  EXPECT_OK(CheckListen({.address = "0.0.0.0:1", .insecure = true}));
  EXPECT_OK(CheckListen({.address = "127.0.0.1:1"}));
}

}  // namespace
}  // namespace qzo::server
