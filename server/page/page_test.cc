// The status page of a real server, over HTTP: what is shown, to whom, and what never is.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <httplib.h>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "server/test_server.h"
#include "server/tokens.h"
#include "tests/support/certificates.h"

namespace qzo::server {
namespace {

using ::qzo::testing::Authority;
using ::qzo::testing::StatusIs;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

httplib::Headers Bearer(const std::string& secret) { return {{"Authorization", "Bearer " + secret}}; }

class PageTest : public ::testing::Test {
 protected:
  static std::unique_ptr<TestServer> NewServer(bool with_tokens) {
    return std::make_unique<TestServer>([with_tokens](Server::Options* options) {
      options->page_address = "127.0.0.1:0";
      if (with_tokens) options->admin_token_file = options->data_directory + "/../admin";
    });
  }
  void Start(bool with_tokens) {
    server_ = NewServer(with_tokens);
    if (with_tokens) {
      const auto secret = base::RealFileSystem()->Read(server_->directory().File("admin"));
      ASSERT_OK(secret);
      server_->secret = std::string(absl::StripAsciiWhitespace(*secret));
    }
    client_ = std::make_unique<httplib::Client>("127.0.0.1", server_->page_port());
  }
  void CreateJob(const std::string& id, const std::string& display_name) {
    if (!server_->GetJob("projects/p/jobs/none").ok() && id == "a") {
      ASSERT_OK(server_->UploadModel("stories", StoriesModel()));
      ASSERT_OK(server_->UploadDataset("train", Rows(8)));
    }
    v1::CreateJobRequest request = JobRequest(id);
    request.mutable_job()->set_display_name(display_name);
    ASSERT_OK(server_->Call(server_->jobs, &v1::JobService::Stub::CreateJob, request));
  }
  httplib::Response Get(const std::string& path, const httplib::Headers& headers = {}) {
    httplib::Result result = client_->Get(path.c_str(), headers);
    EXPECT_TRUE(result) << path << ": " << httplib::to_string(result.error());
    return result ? *result : httplib::Response();
  }

  std::unique_ptr<TestServer> server_;
  std::unique_ptr<httplib::Client> client_;
};

TEST_F(PageTest, JobsAndWorkersAreListedAndAJobHasAPageOfItsOwn) {
  Start(/*with_tokens=*/false);
  EXPECT_THAT(Get("/").body, HasSubstr("There are no jobs."));
  CreateJob("a", "my <first> job");
  const httplib::Response list = Get("/");
  EXPECT_EQ(list.status, 200);
  EXPECT_THAT(list.body, AllOf(HasSubstr("href=\"/projects/p/jobs/a\""), HasSubstr("my &lt;first&gt; job"),
                               HasSubstr("QUEUED"), Not(HasSubstr("Sign out"))));
  const httplib::Response job = Get("/projects/p/jobs/a");
  EXPECT_EQ(job.status, 200);
  EXPECT_THAT(job.body, AllOf(HasSubstr("QUEUED"), HasSubstr("stories"), HasSubstr("CLASSIFICATION"),
                              HasSubstr("2 probes"), Not(HasSubstr("<first>"))));
  EXPECT_THAT(Get("/workers").body, HasSubstr("0 are attached"));
}

TEST_F(PageTest, AnAdapterIsDownloaded) {
  Start(/*with_tokens=*/false);
  CreateJob("a", "");
  const httplib::Response file = Get("/projects/p/jobs/a/adapter");
  ASSERT_EQ(file.status, 200) << file.body;
  EXPECT_EQ(file.get_header_value("Content-Disposition"), "attachment; filename=\"a.safetensors\"");
  v1::DownloadAdapterRequest request;
  request.set_name("projects/p/jobs/a");
  grpc::ClientContext context;
  ASSERT_OK_AND_ASSIGN(const std::string bytes,
                       TestServer::ReadAll(server_->adapters->DownloadAdapter(&context, request)));
  EXPECT_EQ(file.body, bytes);
}

TEST_F(PageTest, EveryAnswerIsKeptFromScriptsFramesAndCaches) {
  Start(/*with_tokens=*/true);
  for (const char* path : {"/", "/workers", "/style.css", "/refresh.js", "/nothing", "/projects/p/jobs/x"}) {
    const httplib::Response answer = Get(path);
    EXPECT_THAT(answer.get_header_value("Content-Security-Policy"),
                AllOf(HasSubstr("default-src 'none'"), HasSubstr("frame-ancestors 'none'"), Not(HasSubstr("unsafe"))))
        << path;
    EXPECT_EQ(answer.get_header_value("X-Content-Type-Options"), "nosniff") << path;
    EXPECT_EQ(answer.get_header_value("Cache-Control"), "no-store") << path;
  }
  // Nothing comes from elsewhere.
  for (const char* path : {"/", "/style.css", "/refresh.js"}) {
    for (const char* elsewhere : {"http:", "https:", "\"//", "url(", "@import"}) {
      EXPECT_THAT(Get(path).body, Not(HasSubstr(elsewhere))) << path;
    }
  }
}

TEST_F(PageTest, WhoeverHasNoTokenSeesAFormAndNothingElse) {
  Start(/*with_tokens=*/true);
  CreateJob("a", "secret plans");
  for (const httplib::Headers& headers : {httplib::Headers(), Bearer("qzo_wrong"), Bearer(std::string("a\tb"))}) {
    for (const char* path : {"/", "/workers", "/projects/p/jobs/a", "/projects/p/jobs/a/adapter"}) {
      const httplib::Response answer = Get(path, headers);
      EXPECT_EQ(answer.status, 401) << path;
      EXPECT_THAT(answer.body, AllOf(HasSubstr("action=\"/sign-in\""), Not(HasSubstr("secret plans")))) << path;
    }
  }
  EXPECT_THAT(Get("/", Bearer(server_->secret)).body, HasSubstr("secret plans"));
}

TEST_F(PageTest, ATokenOfAProjectShowsThatProject) {
  Start(/*with_tokens=*/true);
  CreateJob("a", "");
  const std::string own = server_->NewToken("p", "own", v1::Token::VIEWER);
  const std::string other = server_->NewToken("q", "other", v1::Token::VIEWER);
  const std::string worker = server_->NewToken(kEveryProject, "worker", v1::Token::WORKER);
  EXPECT_THAT(Get("/", Bearer(own)).body, HasSubstr("/projects/p/jobs/a"));
  EXPECT_EQ(Get("/projects/p/jobs/a", Bearer(own)).status, 200);
  const httplib::Response list = Get("/", Bearer(other));
  EXPECT_EQ(list.status, 200);
  EXPECT_THAT(list.body, Not(HasSubstr("jobs/a")));
  for (const char* path : {"/projects/p/jobs/a", "/projects/p/jobs/a/adapter", "/projects/p/jobs/none"}) {
    EXPECT_EQ(Get(path, Bearer(other)).status, 404) << path;
  }
  EXPECT_EQ(Get("/", Bearer(worker)).status, 403);
}

TEST_F(PageTest, SigningInLeavesACookieThatScriptsCannotReadAndSigningOutTakesItAway) {
  Start(/*with_tokens=*/true);
  CreateJob("a", "");
  const httplib::Result in = client_->Post("/sign-in", httplib::Params{{"token", " " + server_->secret + "\n"}});
  ASSERT_TRUE(in);
  EXPECT_EQ(in->status, 303);
  EXPECT_EQ(in->get_header_value("Location"), "/");
  EXPECT_EQ(in->get_header_value("Set-Cookie"),
            absl::StrCat("qzo_token=", server_->secret, "; Path=/; HttpOnly; SameSite=Strict"));
  const httplib::Headers cookie = {{"Cookie", "theme=dark; qzo_token=" + server_->secret}};
  EXPECT_THAT(Get("/", cookie).body, AllOf(HasSubstr("jobs/a"), HasSubstr("Sign out")));
  const httplib::Result out = client_->Post("/sign-out", httplib::Params());
  ASSERT_TRUE(out);
  EXPECT_THAT(out->get_header_value("Set-Cookie"), AllOf(HasSubstr("qzo_token=;"), HasSubstr("Max-Age=0")));
  // What would be a header of its own is no token.
  const httplib::Result forged = client_->Post("/sign-in", httplib::Params{{"token", "x\r\nSet-Cookie: evil=1"}});
  ASSERT_TRUE(forged);
  EXPECT_THAT(forged->get_header_value("Set-Cookie"), HasSubstr("qzo_token=;"));
}

TEST_F(PageTest, ItIsForReading) {
  Start(/*with_tokens=*/false);
  CreateJob("a", "");
  for (const char* path : {"/", "/projects/p/jobs/a", "/style.css"}) {
    const httplib::Result posted = client_->Post(path, "state=CANCELLED", "application/x-www-form-urlencoded");
    ASSERT_TRUE(posted);
    EXPECT_EQ(posted->status, 405) << path;
  }
  const httplib::Result deleted = client_->Delete("/projects/p/jobs/a");
  ASSERT_TRUE(deleted);
  EXPECT_GE(deleted->status, 400);
  EXPECT_OK(server_->GetJob("projects/p/jobs/a"));
}

TEST_F(PageTest, OddPathsAreNotFound) {
  Start(/*with_tokens=*/false);
  for (const char* path : {"/nothing", "/projects", "/projects/p/jobs/", "/projects/p/jobs/a/b", "/../etc/passwd",
                           "/projects/p/models/a", "/projects/%2e%2e/jobs/a"}) {
    const int status = Get(path).status;
    EXPECT_TRUE(status == 404 || status == 400) << path << ": " << status;
  }
}

TEST_F(PageTest, AServerThatLetsEveryoneInAnswersToLocalNamesOnly) {
  Start(/*with_tokens=*/false);
  EXPECT_EQ(Get("/", {{"Host", "rebound.example:7080"}}).status, 403);
  for (const char* host : {"localhost", "localhost:7080", "127.0.0.1:1", "[::1]", "[::1]:7080"}) {
    EXPECT_EQ(Get("/", {{"Host", host}}).status, 200) << host;
  }
  Start(/*with_tokens=*/true);
  EXPECT_EQ(Get("/", {{"Host", "train.example"}, {"Authorization", "Bearer " + server_->secret}}).status, 200);
}

TEST(Page, ItSpeaksTlsWithTheCertificateThatIsThere) {
  const testing::TempDir directory;
  Authority authority(directory.path(), "authority");
  rpc::TlsFiles files = authority.Issue("server", "IP:127.0.0.1");
  Server::Options options;
  options.listen = "127.0.0.1:0";
  options.metrics_address = "";
  options.page_address = "127.0.0.1:0";
  options.data_directory = directory.File("data");
  options.admin_token_file = directory.File("admin");
  options.tls = {"", files.cert, files.key};
  ASSERT_OK_AND_ASSIGN(const auto server, Server::Start(options));
  const auto status = [&](const std::string& authorities) {
    httplib::SSLClient client("127.0.0.1", server->page_port());
    client.set_ca_cert_path(authorities.c_str());
    client.enable_server_certificate_verification(true);
    const httplib::Result answer = client.Get("/");
    return answer ? answer->status : 0;
  };
  EXPECT_EQ(status(authority.path()), 401);
  Authority next(directory.path(), "next");
  EXPECT_EQ(status(next.path()), 0);
  next.Issue("server", "IP:127.0.0.1");  // replaces the files
  EXPECT_EQ(status(next.path()), 401);
  EXPECT_EQ(status(authority.path()), 0);
}

TEST(Page, BeyondLoopbackItNeedsTlsAndTokens) {
  const testing::TempDir directory;
  Server::Options options;
  options.listen = "127.0.0.1:0";
  options.metrics_address = "";
  options.page_address = "0.0.0.0:0";
  options.data_directory = directory.File("data");
  EXPECT_THAT(Server::Start(options), StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("0.0.0.0:0")));
  options.page_address = "localhost:http";
  EXPECT_THAT(Server::Start(options), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("localhost:http")));
}

TEST(SecuredMetrics, AreForTokensThatMayViewEveryProject) {
  TestServer server([](Server::Options* options) {
    RequireTokens(options);
    options->metrics_address = "127.0.0.1:0";
    options->metrics_secured = true;
  });
  server.secret = server.AdminSecret();
  httplib::Client client("127.0.0.1", server.metrics_port());
  const auto status = [&](const char* path, const std::string& secret) {
    const httplib::Result answer = client.Get(path, secret.empty() ? httplib::Headers() : Bearer(secret));
    return answer ? answer->status : 0;
  };
  EXPECT_EQ(status("/metrics", server.NewToken(kEveryProject, "prometheus", v1::Token::VIEWER)), 200);
  EXPECT_EQ(status("/metrics", server.secret), 200);
  EXPECT_EQ(status("/metrics", ""), 401);
  EXPECT_EQ(status("/metrics", "qzo_wrong"), 401);
  EXPECT_EQ(status("/metrics", server.NewToken("p", "viewer", v1::Token::VIEWER)), 401) << "of one project";
  EXPECT_EQ(status("/metrics", server.NewToken(kEveryProject, "worker", v1::Token::WORKER)), 401);
  const std::string gone = server.NewToken(kEveryProject, "gone", v1::Token::VIEWER);
  ASSERT_OK(server.RevokeToken("projects/-/tokens/gone"));
  EXPECT_EQ(status("/metrics", gone), 401);
  EXPECT_EQ(status("/readyz", ""), 200) << "probes have no tokens";
  EXPECT_EQ(status("/livez", ""), 200);
}

TEST(SecuredMetrics, AreServedOverTlsWithTheServersCertificate) {
  testing::TempDir directory;
  Authority authority(directory.path(), "authority");
  const rpc::TlsFiles files = authority.Issue("server", "IP:127.0.0.1");
  Server::Options options;
  options.listen = "127.0.0.1:0";
  options.data_directory = directory.File("data");
  options.admin_token_file = directory.File("admin");
  options.metrics_address = "127.0.0.1:0";
  options.metrics_secured = true;
  options.tls = {"", files.cert, files.key};
  ASSERT_OK_AND_ASSIGN(const auto server, Server::Start(options));
  ASSERT_OK_AND_ASSIGN(const std::string secret, base::RealFileSystem()->Read(directory.File("admin")));
  const auto body = [&](const std::string& authorities) {
    httplib::SSLClient client("127.0.0.1", server->metrics_port());
    client.set_ca_cert_path(authorities.c_str());
    client.enable_server_certificate_verification(true);
    const httplib::Result answer = client.Get("/metrics", Bearer(std::string(absl::StripAsciiWhitespace(secret))));
    return answer ? answer->body : "";
  };
  EXPECT_THAT(body(authority.path()), HasSubstr("\nqzo_build_info{"));
  EXPECT_FALSE(httplib::Client("127.0.0.1", server->metrics_port()).Get("/readyz")) << "clear text";
  Authority next(directory.path(), "next");
  next.Issue("server", "IP:127.0.0.1");  // replaces the files
  EXPECT_THAT(body(next.path()), HasSubstr("\nqzo_build_info{"));
  EXPECT_EQ(body(authority.path()), "");
}

}  // namespace
}  // namespace qzo::server
