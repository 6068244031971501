#include "server/token_service.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include "absl/strings/ascii.h"
#include "server/test_server.h"
#include "server/tokens.h"

namespace qzo::server {
namespace {

using ::qzo::testing::StatusIs;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using Stub = v1::TokenService::Stub;

v1::CreateTokenRequest Request(const std::string& parent, const std::string& id, v1::Token::Role role) {
  v1::CreateTokenRequest request;
  request.set_parent(parent);
  request.set_token_id(id);
  request.mutable_token()->set_role(role);
  return request;
}

template <typename Request>
Request Named(const std::string& name) {
  Request request;
  request.set_name(name);
  return request;
}

TEST(Secrets, AreRandomAndRecognizable) {
  EXPECT_THAT(NewSecret(), ::testing::MatchesRegex("qzo_[0-9a-f]{64}"));
  EXPECT_NE(NewSecret(), NewSecret());
}

TEST(Secrets, TheAdministratorsIsMadeOnceAndForItsOwnerAlone) {
  const testing::TempDir directory;
  ASSERT_OK_AND_ASSIGN(const std::string made, ReadOrMakeSecret(directory.File("admin")));
  struct stat info {};
  ASSERT_EQ(::stat(directory.File("admin").c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0600u);
  EXPECT_EQ(ReadOrMakeSecret(directory.File("admin")).value_or(""), made);
  ASSERT_OK(base::RealFileSystem()->WriteDurably(directory.File("other"), "hunter2"));
  EXPECT_THAT(
      ReadOrMakeSecret(directory.File("other")),
      StatusIs(absl::StatusCode::kInvalidArgument, ::testing::AllOf(HasSubstr("other"), Not(HasSubstr("hunter2")))));
}

TEST(TokenService, TokensAreMadeShownAndRevoked) {
  TestServer server;
  ASSERT_OK_AND_ASSIGN(const v1::CreateTokenResponse made,
                       server.Call(server.tokens, &Stub::CreateToken, Request("projects/p", "ci", v1::Token::VIEWER)));
  EXPECT_EQ(made.token().name(), "projects/p/tokens/ci");
  EXPECT_THAT(server.Call(server.tokens, &Stub::CreateToken, Request("projects/p", "ci", v1::Token::VIEWER)),
              StatusIs(absl::StatusCode::kAlreadyExists, HasSubstr("tokens/ci")));
  ASSERT_OK_AND_ASSIGN(const v1::Token shown,
                       server.Call(server.tokens, &Stub::GetToken, Named<v1::GetTokenRequest>("projects/p/tokens/ci")));
  EXPECT_EQ(shown.DebugString(), made.token().DebugString());
  ASSERT_OK(server.Call(server.tokens, &Stub::CreateToken, Request("projects/-", "w", v1::Token::WORKER)));
  v1::ListTokensRequest list;
  list.set_parent("projects/p");
  ASSERT_OK_AND_ASSIGN(v1::ListTokensResponse of_p, server.Call(server.tokens, &Stub::ListTokens, list));
  EXPECT_EQ(of_p.tokens_size(), 1);
  list.set_parent("projects/-");
  ASSERT_OK_AND_ASSIGN(const v1::ListTokensResponse all, server.Call(server.tokens, &Stub::ListTokens, list));
  EXPECT_EQ(all.tokens_size(), 2);
  ASSERT_OK(server.Call(server.tokens, &Stub::RevokeToken, Named<v1::RevokeTokenRequest>("projects/p/tokens/ci")));
  EXPECT_THAT(server.Call(server.tokens, &Stub::GetToken, Named<v1::GetTokenRequest>("projects/p/tokens/ci")),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("tokens/ci")));
  server.secret = made.secret();
  EXPECT_THAT(server.GetJob("projects/p/jobs/j"), StatusIs(absl::StatusCode::kUnauthenticated, HasSubstr("revoked")));
}

TEST(TokenService, OnLoopbackATokenIsOptionalButCounts) {
  TestServer server;
  EXPECT_THAT(server.GetJob("projects/q/jobs/j"), StatusIs(absl::StatusCode::kNotFound, HasSubstr("jobs/j")));
  server.secret = server.NewToken("p", "v", v1::Token::VIEWER);
  v1::ListJobsRequest request;
  request.set_parent("projects/q");
  EXPECT_THAT(server.Call(server.jobs, &v1::JobService::Stub::ListJobs, request),
              StatusIs(absl::StatusCode::kPermissionDenied, HasSubstr("project p")));
}

TEST(TokenService, TokensSurviveARestartAndTheStoreHoldsNoSecret) {
  TestServer server;
  const std::string secret = server.NewToken("p", "v", v1::Token::VIEWER);
  server.Stop();
  for (const auto& entry : std::filesystem::recursive_directory_iterator(server.directory().path())) {
    if (!entry.is_regular_file()) continue;
    const std::string bytes = base::RealFileSystem()->Read(entry.path().string()).value_or("");
    EXPECT_THAT(bytes, Not(HasSubstr(secret.substr(4)))) << entry.path();
  }
  server.Start();
  server.secret = secret;
  EXPECT_THAT(server.GetJob("projects/p/jobs/j"), StatusIs(absl::StatusCode::kNotFound, HasSubstr("jobs/j")));
}

TEST(TokenService, BadRequestsAreNamed) {
  TestServer server;
  const auto create = [&](const v1::CreateTokenRequest& request) {
    return std::string(server.Call(server.tokens, &Stub::CreateToken, request).status().message());
  };
  EXPECT_THAT(create(Request("projects/p", "x", v1::Token::ROLE_UNSPECIFIED)), HasSubstr("token.role"));
  EXPECT_THAT(create(Request("projects/p", "x", v1::Token::WORKER)), HasSubstr("every project"));
  EXPECT_THAT(create(Request("projects/p", "No", v1::Token::VIEWER)), HasSubstr("token_id"));
  EXPECT_THAT(create(Request("p", "x", v1::Token::VIEWER)), HasSubstr("parent"));
  v1::CreateTokenRequest late = Request("projects/p", "x", v1::Token::VIEWER);
  late.mutable_token()->mutable_expire_time()->set_seconds(1);
  EXPECT_THAT(create(late), HasSubstr("token.expire_time"));
}

}  // namespace
}  // namespace qzo::server
