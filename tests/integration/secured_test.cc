// A fleet as it runs beyond one machine: TLS, tokens, a worker that may do nothing but work.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>

#include "tests/integration/fleet.h"
#include "tests/support/certificates.h"

namespace qzo::testing {
namespace {

using ::testing::HasSubstr;

TEST(Secured, AJobIsTrainedOverTlsByThoseWhoMay) {
  Fleet fleet([](const TempDir& directory) {
    const rpc::TlsFiles tls = Authority(directory.path(), "authority").Issue("server", "IP:127.0.0.1");
    Fleet::Flags flags;
    flags.server = {"--tls-cert", tls.cert, "--tls-key", tls.key, "--admin-token-file", directory.File("admin")};
    flags.worker = {"--tls-ca", tls.ca, "--token-file", directory.File("worker")};
    flags.ctl = {"--tls-ca", tls.ca};
    ::setenv("QZO_TOKEN_FILE", directory.File("admin").c_str(), 1);  // qzoctl's, unless a flag says otherwise
    return flags;
  });
  const auto make = [&fleet](const std::string& role, const std::string& file) {
    std::vector<std::string> arguments = {"token", "create", "--role", role, "--file", fleet.dir().File(file)};
    if (role == "worker") arguments.emplace_back("--all-projects");
    const CommandResult made = fleet.Ctl(arguments);
    EXPECT_EQ(made.code, 0) << made.errors;
  };
  make("worker", "worker");
  make("viewer", "viewer");
  fleet.StartWorker("a");
  const CommandResult submitted = fleet.Ctl({"submit", "-f", fleet.TinyJob("j", 6), "--detach"});
  ASSERT_EQ(submitted.code, 0) << submitted.errors;
  fleet.ExpectSuccess("j");

  EXPECT_EQ(fleet.Ctl({"get", "job", "j", "--token-file", fleet.dir().File("viewer")}).code, 0);
  const CommandResult refused = fleet.Ctl({"delete", "job", "j", "--token-file", fleet.dir().File("viewer")});
  EXPECT_EQ(refused.code, 6);
  EXPECT_THAT(refused.errors, HasSubstr("needs SUBMITTER"));
  EXPECT_EQ(fleet.Ctl({"get", "jobs", "--token-file", fleet.dir().File("worker")}).code, 6);
  const std::string log = ReadWhole(fleet.dir().File("server.log"));
  EXPECT_THAT(log, HasSubstr("method=qzo.v1.JobService.CreateJob"));
  EXPECT_THAT(log, ::testing::Not(HasSubstr("qzo_")));
}

}  // namespace
}  // namespace qzo::testing
