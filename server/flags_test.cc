#include "server/flags.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <vector>

#include "tests/support/temp_dir.h"

namespace qzo::server {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsSupersetOf;

struct Parsed {
  std::optional<Flags> flags;
  int exit_code = 0;
  std::string output;
  std::string errors;
};

Parsed Parse(std::vector<const char*> arguments) {
  arguments.insert(arguments.begin(), "qzo-server");
  Parsed parsed;
  ::testing::internal::CaptureStdout();
  ::testing::internal::CaptureStderr();
  parsed.flags = ParseFlags(static_cast<int>(arguments.size()), arguments.data(), &parsed.exit_code);
  parsed.output = ::testing::internal::GetCapturedStdout();
  parsed.errors = ::testing::internal::GetCapturedStderr();
  return parsed;
}

TEST(Flags, DefaultsServeThisMachine) {
  const Parsed parsed = Parse({});
  ASSERT_TRUE(parsed.flags.has_value());
  EXPECT_EQ(parsed.flags->server.listen, "127.0.0.1:7070");
  EXPECT_EQ(parsed.flags->server.metrics_address, "127.0.0.1:9464");
  EXPECT_THAT(parsed.flags->server.data_directory, HasSubstr("/qzo/server"));
  EXPECT_EQ(parsed.flags->server.project_bytes, uint64_t{1} << 40);
  EXPECT_EQ(parsed.flags->server.audit_kept, absl::Hours(90 * 24));
  EXPECT_FALSE(parsed.flags->dev);
  EXPECT_EQ(parsed.flags->server.page_address, "");
  EXPECT_EQ(Parse({"--dev"}).flags->server.page_address, "127.0.0.1:7080");
  EXPECT_EQ(Parse({"--dev", "--page-address="}).flags->server.page_address, "");
  EXPECT_EQ(Parse({"--metrics-address=0.0.0.0:1", "--metrics-open"}).flags->server.metrics_address, "0.0.0.0:1");
  EXPECT_TRUE(
      Parse({"--metrics-address=0.0.0.0:1", "--metrics-secured", "--admin-token-file=t", "--tls-cert=c", "--tls-key=k"})
          .flags->server.metrics_secured);
  EXPECT_THAT(Parse({"--dev"}).flags->server.data_directory, HasSubstr("/qzo/dev"));
}

TEST(Flags, EveryFlagIsTaken) {
  const std::string model = testing::TestFile("golden/models/stories260k/stories260K-Q4_0.gguf");
  const Parsed parsed = Parse({"--listen",
                               "127.0.0.1:0",
                               "--data-dir=/d",
                               "--metrics-address=",
                               "--metrics-jobs=7",
                               "--backup=/b",
                               "--reflection",
                               "--import-model",
                               model.c_str(),
                               "--import-model",
                               model.c_str(),
                               "--dev",
                               "--dev-worker-threads=2",
                               "--log-level=debug",
                               "--log-format=json",
                               "--max-calls-per-second=3",
                               "--max-open-calls=4",
                               "--max-open-bytes=64MiB",
                               "--max-project-bytes=2GB",
                               "--max-project-jobs=5",
                               "--audit-days=0.5",
                               "--audit-records=6"});
  ASSERT_TRUE(parsed.flags.has_value()) << parsed.errors;
  EXPECT_EQ(parsed.flags->server.listen, "127.0.0.1:0");
  EXPECT_EQ(parsed.flags->server.data_directory, "/d");
  EXPECT_EQ(parsed.flags->server.metrics_address, "");
  EXPECT_EQ(parsed.flags->server.metrics_jobs, 7);
  EXPECT_EQ(parsed.flags->backup, "/b");
  EXPECT_TRUE(parsed.flags->server.reflection);
  EXPECT_THAT(parsed.flags->server.import_models, ElementsAre(model, model));
  EXPECT_EQ(parsed.flags->dev_worker_threads, 2);
  EXPECT_EQ(parsed.flags->log_level, "debug");
  EXPECT_EQ(parsed.flags->log_format, "json");
  EXPECT_EQ(parsed.flags->server.calls_per_second, 3);
  EXPECT_EQ(parsed.flags->server.open_calls, 4);
  EXPECT_EQ(parsed.flags->server.open_bytes, uint64_t{64} << 20);
  EXPECT_EQ(parsed.flags->server.project_bytes, 2'000'000'000u);
  EXPECT_EQ(parsed.flags->server.project_jobs, 5);
  EXPECT_EQ(parsed.flags->server.audit_kept, absl::Hours(12));
  EXPECT_EQ(parsed.flags->server.audit_records, 6u);
}

TEST(Flags, TheEnvironmentFillsInAndFlagsWin) {
  ::setenv("QZO_LISTEN", "127.0.0.1:1", 1);
  EXPECT_EQ(Parse({}).flags->server.listen, "127.0.0.1:1");
  EXPECT_EQ(Parse({"--listen=127.0.0.1:2"}).flags->server.listen, "127.0.0.1:2");
  ::unsetenv("QZO_LISTEN");
}

TEST(Flags, BadOnesExitWithTwoAndNameTheFlag) {
  const std::vector<std::pair<std::vector<const char*>, const char*>> cases = {
      {{"--nonsense"}, "--nonsense"},
      {{"--listen", "7070"}, "--listen"},
      {{"--listen", "127.0.0.1:70000"}, "--listen"},
      {{"--listen", "0.0.0.0:7070"}, "--insecure"},
      {{"--listen", "0.0.0.0:7070", "--tls-cert=c", "--tls-key=k"}, "--admin-token-file"},
      {{"--tls-cert=c", "--tls-key=k", "--dev"}, "--dev"},
      {{"--metrics-address", "here"}, "--metrics-address"},
      {{"--metrics-address", "0.0.0.0:9464"}, "--metrics-open"},
      {{"--metrics-secured"}, "--admin-token-file"},
      {{"--metrics-address=0.0.0.0:1", "--metrics-secured", "--admin-token-file=t"}, "--metrics-address"},
      {{"--page-address", "0.0.0.0:7080"}, "--page-address"},
      {{"--import-model", "/nonexistent.gguf"}, "--import-model"},
      {{"--dev-worker-threads", "-1"}, "--dev-worker-threads"},
      {{"--max-project-bytes", "much"}, "--max-project-bytes"},
      {{"--max-project-jobs", "-1"}, "--max-project-jobs"},
      {{"--audit-days", "-1"}, "--audit-days"},
      {{"--audit-records", "0"}, "--audit-records"},
      {{"--log-level", "loud"}, "--log-level"},
      {{"--log-format", "xml"}, "--log-format"},
      {{"stray"}, "stray"},
  };
  for (const auto& [arguments, named] : cases) {
    const Parsed parsed = Parse(arguments);
    EXPECT_FALSE(parsed.flags.has_value()) << named;
    EXPECT_EQ(parsed.exit_code, 2) << named;
    EXPECT_THAT(parsed.errors, HasSubstr(named));
  }
}

TEST(Flags, HelpAndVersionExitWithZero) {
  const Parsed help = Parse({"--help"});
  EXPECT_FALSE(help.flags.has_value());
  EXPECT_EQ(help.exit_code, 0);
  EXPECT_THAT(help.output, HasSubstr("--import-model"));
  const Parsed version = Parse({"--version"});
  EXPECT_EQ(version.exit_code, 0);
  EXPECT_THAT(version.output, ::testing::ContainsRegex("[0-9]+\\.[0-9]+"));
}

TEST(Flags, TheDevWorkerIsBesideTheServerAndKnowsItsModels) {
  const std::string model = testing::TestFile("golden/models/stories260k/stories260K-Q4_0.gguf");
  const Parsed parsed = Parse({"--dev", "--import-model", model.c_str()});
  ASSERT_TRUE(parsed.flags.has_value());
  const Supervisor::Options worker = DevWorker(*parsed.flags, "127.0.0.1:123");
  EXPECT_THAT(worker.program, HasSubstr("/qzo-worker"));
  EXPECT_THAT(worker.arguments, IsSupersetOf({std::string("127.0.0.1:123"), model}));
}

}  // namespace
}  // namespace qzo::server
