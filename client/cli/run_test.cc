// qzoctl as a whole, against a server in memory: what it prints where, and how it exits.
#include "client/cli/run.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <sstream>

#include "client/cli/exit_code.h"
#include "client/testing/fake_server.h"
#include "client/testing/tiny_adapter.h"
#include "proto/grpc_status.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_dir.h"
#include "tests/support/tiny_checkpoint.h"

namespace qzo::client {
namespace {

using ::testing::AllOf;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::StartsWith;

class QzoctlTest : public ::testing::Test {
 protected:
  int Run(std::vector<std::string> arguments) {
    out_.str("");
    err_.str("");
    Environment env;
    env.in = &in_;
    env.out = &out_;
    env.err = &err_;
    env.out_is_terminal = terminal_;
    env.err_is_terminal = terminal_;
    env.zone = absl::UTCTimeZone();
    env.dial = [this](const rpc::Endpoint& endpoint) {
      dialled_ = endpoint;
      return server_.Channel();
    };
    env.client.interrupt = &interrupt_;
    env.client.pause = [](absl::Duration) { return true; };
    arguments.insert(arguments.begin(), {"--cache-dir", dir_.File("cache")});
    return RunQzoctl(arguments, env);
  }
  std::string out() const { return out_.str(); }
  std::string err() const { return err_.str(); }
  std::string Write(const std::string& name, const std::string& text) {
    EXPECT_OK(base::RealFileSystem()->WriteDurably(dir_.File(name), text));
    return dir_.File(name);
  }
  std::string JobFile() {
    Write("train.jsonl", "{\"text\":\"a\",\"label\":0}\n");
    return Write(
        "job.yaml",
        "base_model: " + TinyModelPath("Q4_0") +
            "\ndatasets: [{path: train.jsonl}, {name: dev, split: validation}]\ntask: {kind: chat}\nname: j\n");
  }

  FakeServer server_;
  testing::TempDir dir_;
  std::istringstream in_;
  std::ostringstream out_, err_;
  Interrupt interrupt_;
  bool terminal_ = false;
  rpc::Endpoint dialled_{.server = ""};
};

constexpr char kJob[] = "projects/default/jobs/j";

TEST_F(QzoctlTest, UsageErrorsExitWithTwoAndHelpWithZero) {
  EXPECT_EQ(Run({}), kUsage);
  EXPECT_EQ(Run({"frobnicate"}), kUsage);
  EXPECT_EQ(Run({"get", "jobs", "-o", "xml"}), kUsage);
  EXPECT_THAT(err(), HasSubstr("xml"));
  EXPECT_EQ(Run({"get", "jbos"}), kUsage);
  EXPECT_THAT(err(), HasSubstr("did you mean 'jobs'"));
  EXPECT_EQ(Run({"submit", "-f", "x", "--wait", "--detach"}), kUsage);
  EXPECT_EQ(Run({"submit", "--help"}), kOk);
  EXPECT_THAT(out(), HasSubstr("--validate-only"));
}

TEST_F(QzoctlTest, FlagsBeatTheEnvironment) {
  server_.jobs.AddJob("projects/x/jobs/j", v1::FineTuningJob::QUEUED);
  ::setenv("QZO_SERVER", "127.0.0.1:1", 1);
  ::setenv("QZO_PROJECT", "x", 1);
  EXPECT_EQ(Run({"get", "job", "j", "-o", "name"}), kOk);
  EXPECT_EQ(dialled_.server, "127.0.0.1:1");
  EXPECT_EQ(out(), "projects/x/jobs/j\n");
  EXPECT_EQ(Run({"get", "job", "j", "--server", "127.0.0.1:2", "--project", "y"}), kNotFound);
  EXPECT_EQ(dialled_.server, "127.0.0.1:2");
  ::unsetenv("QZO_SERVER");
  ::unsetenv("QZO_PROJECT");
}

TEST_F(QzoctlTest, LeavesTheMachineInClearTextOnlyWhenAsked) {
  EXPECT_EQ(Run({"get", "jobs", "--server", "10.0.0.1:7070"}), kOk);
  EXPECT_TRUE(rpc::UsesTls(dialled_));
  EXPECT_EQ(Run({"get", "jobs", "--server", "10.0.0.1:7070", "--insecure"}), kOk);
  EXPECT_FALSE(rpc::UsesTls(dialled_));
  EXPECT_EQ(Run({"get", "jobs", "--tls-ca", "ca.pem", "--tls-cert", "me.pem", "--tls-key", "me.key"}), kOk);
  EXPECT_TRUE(rpc::UsesTls(dialled_));
  EXPECT_EQ(dialled_.tls.key, "me.key");
}

TEST_F(QzoctlTest, ErrorsAreOneLineWithWhatToTry) {
  server_.jobs.FailNext(100, grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(Run({"get", "jobs"}), kUnreachable);
  EXPECT_EQ(
      err(),
      "qzoctl: cannot reach 127.0.0.1:7070: made to fail; is qzo-server running there? --server or QZO_SERVER names "
      "another\n");
  EXPECT_THAT(out(), IsEmpty());
}

TEST_F(QzoctlTest, EveryStatusHasItsExitCode) {
  const std::vector<std::pair<grpc::StatusCode, int>> codes = {{grpc::StatusCode::INTERNAL, kFailed},
                                                               {grpc::StatusCode::INVALID_ARGUMENT, kUsage},
                                                               {grpc::StatusCode::UNAUTHENTICATED, kForbidden},
                                                               {grpc::StatusCode::PERMISSION_DENIED, kForbidden},
                                                               {grpc::StatusCode::NOT_FOUND, kNotFound},
                                                               {grpc::StatusCode::ALREADY_EXISTS, kConflict},
                                                               {grpc::StatusCode::ABORTED, kConflict},
                                                               {grpc::StatusCode::FAILED_PRECONDITION, kConflict},
                                                               {grpc::StatusCode::DATA_LOSS, kFailed},
                                                               {grpc::StatusCode::RESOURCE_EXHAUSTED, kNoCapacity},
                                                               {grpc::StatusCode::DEADLINE_EXCEEDED, kUnreachable}};
  for (const auto& [code, exit_code] : codes) {
    server_.jobs.FailNext(1, code);
    EXPECT_EQ(Run({"get", "jobs"}), exit_code) << code;
  }
}

TEST_F(QzoctlTest, TheAuditLogIsShownAsAskedFor) {
  EXPECT_EQ(Run({"audit"}), kOk);
  EXPECT_THAT(err(), HasSubstr("none found"));
  for (uint64_t sequence : {9, 8, 7}) {
    v1::AuditRecord record;
    record.set_sequence(sequence);
    record.mutable_time()->set_seconds(1'700'000'000);
    record.set_caller("projects/p/tokens/s");
    record.set_peer("ipv4:10.0.0.7");
    record.set_method("qzo.v1.JobService.DeleteJob");
    record.set_resource("projects/p/jobs/j");
    record.set_code("NOT_FOUND");
    record.set_reason("JOB_NOT_FOUND");
    server_.audit.Add(record);
  }
  EXPECT_EQ(Run({"audit"}), kOk);
  EXPECT_THAT(out(),
              StartsWith("TIME                  CALLER                METHOD      RESOURCE            CODE\n"
                         "2023-11-14 22:13:20   projects/p/tokens/s   DeleteJob   projects/p/jobs/j   NOT_FOUND\n"));
  EXPECT_EQ(server_.audit.last_request().parent(), "projects/default");
  EXPECT_EQ(Run({"audit", "-o", "wide", "--limit", "1"}), kOk);
  EXPECT_THAT(out(), AllOf(HasSubstr("JOB_NOT_FOUND   ipv4:10.0.0.7   9\n"), Not(HasSubstr("10.0.0.7   8"))));
  EXPECT_EQ(Run({"audit", "-o", "name"}), kOk);
  EXPECT_EQ(out(), "9\n8\n7\n");
  EXPECT_EQ(Run({"audit", "-o", "json"}), kOk);
  EXPECT_EQ(nlohmann::json::parse(out())["records"][2]["method"], "qzo.v1.JobService.DeleteJob");
  EXPECT_EQ(Run({"audit", "-o", "yaml"}), kOk);
  EXPECT_THAT(out(), HasSubstr("caller: \"projects/p/tokens/s\""));

  EXPECT_EQ(Run({"audit", "--all-projects", "--caller", "c", "--method", "m", "--resource", "r", "--code", "ok",
                 "--since", "2d", "--until", "2023-11-14T22:13:20Z"}),
            kOk);
  const v1::ListAuditRecordsRequest asked = server_.audit.last_request();
  EXPECT_EQ(absl::StrCat(asked.parent(), asked.caller(), asked.method(), asked.resource(), asked.code()),
            "projects/-cmrOK");
  EXPECT_EQ(asked.end_time().seconds(), 1'700'000'000);
  EXPECT_LE(absl::FromUnixSeconds(asked.start_time().seconds()), absl::Now() - absl::Hours(48));
  EXPECT_EQ(Run({"audit", "--since", "yesterday"}), kUsage);
  EXPECT_THAT(err(), HasSubstr("--since: 'yesterday'"));
}

TEST_F(QzoctlTest, TokensAreMadeListedAndRevoked) {
  EXPECT_EQ(Run({"token", "create", "ci", "--role", "viewer", "--ttl", "12h"}), kOk);
  EXPECT_EQ(out(), std::string(FakeTokens::kSecret) + "\n");
  EXPECT_THAT(err(), HasSubstr("shown once"));
  ASSERT_EQ(server_.tokens.tokens().size(), 1u);
  const v1::Token token = server_.tokens.tokens()[0];
  EXPECT_EQ(token.name(), "projects/default/tokens/ci");
  EXPECT_EQ(token.role(), v1::Token::VIEWER);
  EXPECT_GT(absl::FromUnixSeconds(token.expire_time().seconds()), absl::Now() + absl::Hours(11));
  EXPECT_EQ(Run({"token", "create", "w", "--role", "worker", "--all-projects", "-f", dir_.File("w")}), kOk);
  EXPECT_EQ(out(), "projects/-/tokens/w\n");
  EXPECT_EQ(base::RealFileSystem()->Read(dir_.File("w")).value_or(""), std::string(FakeTokens::kSecret) + "\n");
  EXPECT_EQ(Run({"token", "get"}), kOk);
  EXPECT_THAT(out(),
              AllOf(HasSubstr("tokens/ci"), HasSubstr("viewer"), HasSubstr("in 11h59m"), Not(HasSubstr("tokens/w"))));
  EXPECT_EQ(Run({"token", "revoke", "w", "--all-projects"}), kOk);
  EXPECT_EQ(Run({"token", "revoke", "w", "--all-projects"}), kNotFound);
  EXPECT_EQ(Run({"token", "create", "--role", "king"}), kUsage);
}

TEST_F(QzoctlTest, ASecretThatCannotBeKeptIsRevoked) {
  Write("taken", "x");
  EXPECT_EQ(Run({"token", "create", "ci", "-f", dir_.File("taken")}), kConflict);
  EXPECT_THAT(err(), HasSubstr("taken"));
  EXPECT_TRUE(server_.tokens.tokens().empty());
}

TEST_F(QzoctlTest, TheConfigFileSaysWhereToConnectUnlessToldOtherwise) {
  ::setenv("QZO_CONFIG", Write("config.yaml", "server: far:1\nproject: x\ntoken_file: t\ntls_ca: ca\n").c_str(), 1);
  EXPECT_EQ(Run({"get", "jobs"}), kOk);
  EXPECT_EQ(dialled_.server, "far:1");
  EXPECT_EQ(dialled_.token_file, "t");
  EXPECT_EQ(dialled_.tls.ca, "ca");
  ::setenv("QZO_SERVER", "near:1", 1);
  EXPECT_EQ(Run({"get", "jobs"}), kOk);
  EXPECT_EQ(dialled_.server, "near:1");
  EXPECT_EQ(Run({"get", "jobs", "--server", "flag:1"}), kOk);
  EXPECT_EQ(dialled_.server, "flag:1");
  ::unsetenv("QZO_SERVER");
  ::setenv("QZO_CONFIG", Write("bad.yaml", "sever: far:1\n").c_str(), 1);
  EXPECT_EQ(Run({"get", "jobs"}), kUsage);
  EXPECT_THAT(err(), AllOf(HasSubstr("bad.yaml:1"), HasSubstr("did you mean 'server'")));
  ::setenv("QZO_CONFIG", dir_.File("none.yaml").c_str(), 1);
  EXPECT_EQ(Run({"get", "jobs"}), kUsage);
  EXPECT_THAT(err(), HasSubstr("none.yaml"));
  ::unsetenv("QZO_CONFIG");
}

const rpc::Endpoint kEndpoint = {.server = "h:1", .insecure = true};

TEST(ErrorText, TellsAServerThatIsBusyFromOneThatIsNotThere) {
  const absl::Status refused = absl::UnavailableError("failed to connect to all addresses: Connection refused");
  EXPECT_THAT(ErrorText(refused, kEndpoint, false),
              StartsWith("cannot reach h:1: Connection refused; is qzo-server running"));
  EXPECT_EQ(ErrorText(rpc::WithReason(absl::UnavailableError("draining"), "DRAINING"), kEndpoint, false),
            "h:1 cannot serve this now: draining; try again");
  EXPECT_THAT(ErrorText(refused, {.server = "h:1"}, false),
              AllOf(StartsWith("cannot reach h:1 by TLS: Connection refused"), HasSubstr("--tls-ca")));
}

TEST(ErrorText, ListsViolationsOnePerLine) {
  const absl::Status status = rpc::ViolationsFromLines(
      absl::InvalidArgumentError("method.steps: 0, expected 1 or more\ntask.prompt: empty"), "BAD_SPEC");
  EXPECT_EQ(ErrorText(status, kEndpoint, false),
            "the request is not valid:\n  method.steps: 0, expected 1 or more\n  task.prompt: empty");
  EXPECT_THAT(ErrorText(status, kEndpoint, true), HasSubstr("code INVALID_ARGUMENT, reason BAD_SPEC"));
}

TEST_F(QzoctlTest, GetPrintsTheFormatAsked) {
  server_.jobs.AddJob(kJob, v1::FineTuningJob::RUNNING);
  EXPECT_EQ(Run({"get", "jobs"}), kOk);
  EXPECT_THAT(out(), AllOf(StartsWith("NAME   STATE     REASON"), HasSubstr("\nj      RUNNING")));
  EXPECT_EQ(Run({"get", "jobs", "-o", "json"}), kOk);
  EXPECT_EQ(nlohmann::json::parse(out())["jobs"][0]["name"], kJob);
  EXPECT_EQ(Run({"get", "job", "j", "-o", "yaml"}), kOk);
  EXPECT_EQ(out(), "name: \"projects/default/jobs/j\"\nstate: \"RUNNING\"\n");
  EXPECT_EQ(Run({"get", "jobs", "-l", "team=x"}), kOk);
  EXPECT_EQ(err(), "none found\n");
  EXPECT_THAT(out(), IsEmpty());
}

TEST_F(QzoctlTest, SubmitUploadsWhatTheFileNamesByPath) {
  EXPECT_EQ(Run({"submit", "-f", JobFile(), "--set", "method.steps=9", "--request-id", "r1"}), kOk);
  EXPECT_EQ(out(), "projects/default/jobs/j\n") << "not on a terminal: the name only";
  const v1::CreateJobRequest request = server_.jobs.last_create();
  EXPECT_EQ(request.request_id(), "r1");
  EXPECT_EQ(request.job().spec().method().steps(), 9u);
  EXPECT_THAT(request.job().spec().base_model(), StartsWith("projects/default/models/m-"));
  EXPECT_THAT(request.job().spec().training_dataset(), StartsWith("projects/default/datasets/d-"));
  EXPECT_EQ(request.job().spec().validation_dataset(), "projects/default/datasets/dev");
  EXPECT_THAT(server_.datasets.received(), HasSubstr("\"label\":0"));
}

TEST_F(QzoctlTest, SubmitReadsStandardInput) {
  in_.str("base_model: m\ndatasets: [{name: d}]\ntask: {kind: chat}\n");
  EXPECT_EQ(Run({"submit", "-f", "-", "-o", "json"}), kOk);
  EXPECT_EQ(nlohmann::json::parse(out())["spec"]["baseModel"], "projects/default/models/m");
}

TEST_F(QzoctlTest, ABadJobFileReachesNoServer) {
  const std::string path = Write("bad.yaml", "base_modle: m\n");
  EXPECT_EQ(Run({"submit", "-f", path}), kUsage);
  EXPECT_THAT(err(), StartsWith("qzoctl: " + path + ":1:1: base_modle: unknown key"));
  EXPECT_THAT(err(), HasSubstr("did you mean 'base_model'"));
  EXPECT_EQ(dialled_.server, "");
  EXPECT_EQ(Run({"submit", "-f", dir_.File("none.yaml")}), kNotFound);
}

TEST_F(QzoctlTest, WaitingForASubmittedJobExitsAsTheJobDid) {
  for (const auto& [state, code] :
       {std::pair(v1::FineTuningJob::SUCCEEDED, kOk), std::pair(v1::FineTuningJob::FAILED, kFailed),
        std::pair(v1::FineTuningJob::CANCELLED, kCancelled)}) {
    server_.jobs.set_create_state(state);
    EXPECT_EQ(Run({"submit", "-f", JobFile(), "--wait"}), code);
    EXPECT_THAT(out(), StartsWith("j " + StateName(state))) << "the report";
    EXPECT_THAT(err(), StartsWith("submitted projects/default/jobs/j\n"));
  }
}

TEST_F(QzoctlTest, ATerminalGetsOneLineThatChanges) {
  terminal_ = true;
  server_.jobs.AddJob(kJob, v1::FineTuningJob::SUCCEEDED)->mutable_progress()->set_total_steps(3);
  server_.jobs.AddEvents(kJob, 3);
  EXPECT_EQ(Run({"watch", "j"}), kOk);
  EXPECT_THAT(err(), AllOf(HasSubstr("\r\033[K[======>"), HasSubstr("3/3"), EndsWith("\n")));
  EXPECT_THAT(err(), Not(HasSubstr("INFO")));
}

TEST_F(QzoctlTest, ElsewhereWatchPrintsALineAnEventOrJson) {
  server_.jobs.AddJob(kJob, v1::FineTuningJob::SUCCEEDED);
  server_.jobs.AddEvents(kJob, 3);
  EXPECT_EQ(Run({"watch", "j", "--from", "2"}), kOk);
  EXPECT_THAT(err(), AllOf(HasSubstr("INFO  step 2"), HasSubstr("INFO  step 3"), Not(HasSubstr("step 1")),
                           Not(HasSubstr("\r"))));
  EXPECT_EQ(Run({"watch", "j", "-o", "json"}), kOk);
  std::istringstream lines(out());
  int parsed = 0;
  for (std::string line; std::getline(lines, line); ++parsed) EXPECT_TRUE(nlohmann::json::accept(line)) << line;
  EXPECT_EQ(parsed, 4) << "three items and the job";
}

TEST_F(QzoctlTest, AnInterruptDetachesAndSaysHowToComeBack) {
  server_.jobs.AddJob(kJob, v1::FineTuningJob::RUNNING);
  server_.jobs.AddEvents(kJob, 2);
  interrupt_.Trigger();
  EXPECT_EQ(Run({"watch", "j", "--from", "2"}), kDetached);
  EXPECT_THAT(err(), HasSubstr("the job goes on. To watch it again: qzoctl watch projects/default/jobs/j --from 2"));
}

TEST_F(QzoctlTest, WaitKnowsStatesAndTimeouts) {
  server_.jobs.AddJob(kJob, v1::FineTuningJob::RUNNING);
  EXPECT_EQ(Run({"wait", "j", "--for", "state=running"}), kOk);
  EXPECT_EQ(out(), "j RUNNING\n");
  EXPECT_EQ(Run({"wait", "j", "--for", "running"}), kUsage);
  server_.jobs.HoldStreams();
  EXPECT_EQ(Run({"wait", "j", "--timeout", "0.05s"}), kTimedOut);
}

TEST_F(QzoctlTest, WaitEndsWithAJobThatCannotGetThereAnyMore) {
  server_.jobs.AddJob(kJob, v1::FineTuningJob::CANCELLED);
  EXPECT_EQ(Run({"wait", "j"}), kCancelled);
  server_.jobs.AddJob(kJob, v1::FineTuningJob::SUCCEEDED);
  EXPECT_EQ(Run({"wait", "j"}), kOk);
  EXPECT_EQ(Run({"wait", "j", "--for=state=failed"}), kFailed);
}

TEST_F(QzoctlTest, CancelPrintsTheNewState) {
  server_.jobs.AddJob(kJob, v1::FineTuningJob::RUNNING);
  EXPECT_EQ(Run({"cancel", "j"}), kOk);
  EXPECT_EQ(out(), "j CANCELLED\n");
  EXPECT_EQ(Run({"cancel", "k"}), kNotFound);
  EXPECT_EQ(err(), "qzoctl: projects/default/jobs/k does not exist\n");
}

TEST_F(QzoctlTest, LogsAndEventsShowWhatWasStored) {
  server_.jobs.AddJob(kJob, v1::FineTuningJob::RUNNING);
  server_.jobs.AddEvents(kJob, 2);
  EXPECT_EQ(Run({"logs", "j", "--from", "2"}), kOk);
  EXPECT_EQ(out(), "00:00:00 INFO  step 2: loss 0, learning rate 0\n");
  EXPECT_EQ(Run({"events", "j"}), kOk);
  EXPECT_THAT(out(), StartsWith("SEQUENCE   AGE   LEVEL   TYPE   MESSAGE\n1          -     INFO    step   -\n"));
}

TEST_F(QzoctlTest, UploadsAndDownloadsAModel) {
  EXPECT_EQ(Run({"upload", "model", TinyModelPath("Q4_0")}), kOk);
  std::string name = out();
  name.pop_back();
  EXPECT_EQ(Run({"download", "model", name, "-f", dir_.File("copy.gguf")}), kOk);
  EXPECT_EQ(out(), dir_.File("copy.gguf") + "\n");
  EXPECT_EQ(*base::RealFileSystem()->Size(dir_.File("copy.gguf")),
            *base::RealFileSystem()->Size(TinyModelPath("Q4_0")));
}

// Verbs that run the model here.
class LocalVerbs : public QzoctlTest {
 protected:
  LocalVerbs() {
    adapter_ = MakeTinyAdapter(model_, 4);
    Write("a.safetensors", method::EncodeAdapter(adapter_));
  }
  const std::string model_ = TinyModelPath("Q4_1");
  method::Adapter adapter_;
};

TEST_F(LocalVerbs, VerifyRepliesWithProofOrOne) {
  EXPECT_EQ(Run({"verify", dir_.File("a.safetensors"), "--model", model_}), kOk);
  EXPECT_THAT(out(), AllOf(HasSubstr("4 steps"), HasSubstr("as the adapter says")));
  adapter_.journal[1].coefficients[0] += 0.001f;
  Write("b.safetensors", method::EncodeAdapter(adapter_));
  EXPECT_EQ(Run({"verify", dir_.File("b.safetensors"), "--model", model_}), kFailed);
  EXPECT_THAT(err(), HasSubstr("step 1"));
}

TEST_F(LocalVerbs, InspectSaysWhatAModelHoldsOrWhyItCannotBeUsed) {
  const std::string opt = testing::TestFile("golden/architectures/opt");
  EXPECT_EQ(Run({"models", "inspect", opt + "/model.gguf"}), kOk);
  EXPECT_THAT(out(), AllOf(HasSubstr("architecture  opt: 2 layers of 32, 96 tokens, context 64"),
                           HasSubstr("types         F32: 22, Q4_0: 14"),
                           HasSubstr("12 tensors; values that share a scale: 32: 2, row: 10"),
                           HasSubstr("multipliers   448 by channel, 512 by group"),
                           HasSubstr("unquantized   22 tensors; 768 deltas"), HasSubstr("MiB by group")));
  EXPECT_EQ(Run({"models", "inspect", opt, "-o", "json"}), kOk);
  const nlohmann::json json = nlohmann::json::parse(out());
  EXPECT_EQ(json["architecture"], "opt");
  EXPECT_EQ(json["scaleGroups"], nlohmann::json({{"row", 12}}));
  EXPECT_EQ(json["repackedBytes"], 0);
  EXPECT_EQ(json["unquantizedTensors"], 24) << "with the embedding, which is the head, and the positions";
  EXPECT_EQ(json["deltas"], 768 + 96 * 32 + 66 * 32);
  EXPECT_GT(json["groupWorkerBytes"], json["mappedBytes"].get<int64_t>() + json["activationBytes"].get<int64_t>());
  EXPECT_EQ(Run({"models", "inspect", Write("x.gguf", "no model")}), kUsage);
  EXPECT_THAT(err(), HasSubstr("x.gguf"));
}

TEST_F(LocalVerbs, ConvertWritesACheckpointAsAGgufFile) {
  for (const auto& [name, bytes] : testing::TinyCheckpoint("gptq").Files()) Write(name, bytes);
  Write("tokenizer.json", testing::TinyCheckpoint::Tokenizer());
  const std::string out_file = dir_.File("out.gguf");
  EXPECT_EQ(Run({"models", "convert", dir_.path(), out_file, "--type", "q8_0"}), kOk) << err();
  EXPECT_THAT(out(), AllOf(HasSubstr("wrote " + out_file), HasSubstr("448 of the 448 rows of linear layers have")));
  EXPECT_EQ(Run({"models", "inspect", out_file}), kOk);
  EXPECT_THAT(out(), AllOf(HasSubstr("architecture  llama: 1 layers of 64"), HasSubstr("Q8_0: 9")));
  EXPECT_EQ(Run({"models", "convert", dir_.path(), out_file, "--type", "f16", "-o", "json"}), kOk);
  EXPECT_EQ(nlohmann::json::parse(out())["keptRows"], 0);
  EXPECT_EQ(Run({"models", "inspect", out_file}), kOk);
  EXPECT_THAT(out(), HasSubstr("7 of the trained tensors are plain floats"));
  EXPECT_EQ(Run({"models", "convert", out_file, dir_.File("again.gguf"), "--type", "q8_0"}), kUsage);
  EXPECT_THAT(err(), HasSubstr("a GGUF file already"));
  EXPECT_EQ(Run({"models", "convert", dir_.path(), out_file}), kUsage) << "without a type";
  EXPECT_EQ(Run({"models", "convert", dir_.path(), out_file, "--type", "q5_0"}), kUsage);
}

TEST_F(LocalVerbs, InspectKnowsEveryQuantizationOfACheckpoint) {
  for (const auto& [method, bits, types, groups] : {std::tuple{"gptq", 3, "GPTQ3: 7", "32: 7"},
                                                    {"awq", 4, "AWQ4: 7", "32: 7"},
                                                    {"bitsandbytes", 4, "NF4: 7", "32: 7"},
                                                    {"aqlm", 16, "AQLM1x16: 7", "row: 7"},
                                                    {"aqlm", 28, "AQLM2x8: 7", "row: 7"},
                                                    {"aqlm", 8, "AQLM1x8: 7", "row: 7"}}) {
    for (const auto& [name, bytes] : testing::TinyCheckpoint(method, bits).Files()) Write(name, bytes);
    EXPECT_EQ(Run({"models", "inspect", dir_.path()}), kOk) << err();
    EXPECT_THAT(out(), AllOf(HasSubstr(types), HasSubstr(std::string("share a scale: ") + groups)));
  }
}

TEST_F(LocalVerbs, AModelIsFoundByTheAdaptersDigestAndCached) {
  server_.adapters.Add(kJob, method::EncodeAdapter(adapter_));
  EXPECT_EQ(Run({"verify", "j"}), kNotFound);
  EXPECT_THAT(err(), HasSubstr("no model with digest"));
  EXPECT_EQ(Run({"upload", "model", model_}), kOk);
  EXPECT_EQ(Run({"verify", "j", "-o", "json"}), kOk);
  EXPECT_EQ(nlohmann::json::parse(out())["steps"], 4);
  EXPECT_TRUE(base::RealFileSystem()->Exists(dir_.File("cache/" + adapter_.base_model_digest + ".gguf")));
  EXPECT_EQ(Run({"verify", "nobody"}), kNotFound);
  EXPECT_THAT(err(), HasSubstr("'nobody': no such file, nor an adapter or job"));
}

TEST_F(LocalVerbs, ClassifyPrintsLabelsAndProbabilities) {
  const std::vector<std::string> base = {"classify", "--adapter", dir_.File("a.safetensors"), "--model", model_};
  std::vector<std::string> one = base;
  one.insert(one.end(), {"--text", "text=Once upon a time", "-o", "json"});
  EXPECT_EQ(Run(one), kOk);
  const auto line = nlohmann::json::parse(out());
  EXPECT_THAT(line["label"].get<std::string>(), ::testing::AnyOf("neg", "pos"));
  EXPECT_NEAR(line["options"][0]["probability"].get<double>() + line["options"][1]["probability"].get<double>(), 1,
              1e-9);
  in_.str("{\"text\":\"a\"}\n{\"text\":\"b\"}\n");
  EXPECT_EQ(Run(base), kOk);
  EXPECT_THAT(out(), StartsWith("ROW   LABEL   neg"));
  in_.clear();
  in_.str("{\"txt\":\"a\"}\n");
  EXPECT_EQ(Run(base), kUsage);
  EXPECT_THAT(err(), HasSubstr("row 1: "));
}

TEST_F(LocalVerbs, EvalWithoutAdapterTakesTheTaskFromAJobFile) {
  const std::string rows = Write("rows.jsonl", "{\"text\":\"a\",\"label\":0}\n{\"text\":\"b\",\"label\":1}\n");
  EXPECT_EQ(Run({"eval", rows, "--model", model_}), kUsage);
  EXPECT_THAT(err(), HasSubstr("-f FILE"));
  const std::string job = Write("job.yaml",
                                "base_model: m\ndatasets: [{name: d}]\n"
                                "task: {kind: classification, prompt: '{text} It', options: [' was', ' is']}\n");
  EXPECT_EQ(Run({"eval", rows, "--model", model_, "-f", job, "-o", "json"}), kOk);
  EXPECT_EQ(nlohmann::json::parse(out())["rows"], "2");
  EXPECT_EQ(Run({"eval", rows, "--model", model_, "--adapter", dir_.File("a.safetensors")}), kOk);
  EXPECT_THAT(out(), HasSubstr("F1 of 'pos'"));
}

TEST_F(LocalVerbs, EvalGeneratesAnswersAndComparesThem) {
  // The answers are what the model writes, so that all but the last one are right.
  EXPECT_EQ(Run({"generate", "--model", model_, "--prompt", "Once upon a time", "--max-tokens", "8"}), kOk);
  std::string written = out();
  written.erase(written.find_last_not_of('\n') + 1);
  std::string rows;
  for (int i = 0; i < 20; ++i) {
    rows += nlohmann::json{{"q", "Once upon a time"}, {"a", i < 19 ? written : "zebra"}}.dump() + "\n";
  }
  const std::string data = Write("rows.jsonl", rows);
  const std::string job = Write("job.yaml",
                                "base_model: m\ndatasets: [{name: d}]\n"
                                "task: {kind: completion, prompt: '{q}', answer: '{a}'}\n");
  const std::vector<std::string> base = {"eval", data, "--model", model_, "-f", job, "--generate", "--max-tokens", "8"};
  std::vector<std::string> json = base;
  json.insert(json.end(), {"-o", "json", "--answers", dir_.File("answers.jsonl")});
  EXPECT_EQ(Run(json), kOk) << err();
  const auto report = nlohmann::json::parse(out());
  EXPECT_EQ(report["rows"], 20);
  EXPECT_DOUBLE_EQ(report["exactMatch"].get<double>(), 0.95);
  EXPECT_DOUBLE_EQ(report["f1"].get<double>(), 0.95);
  EXPECT_EQ(report["unended"], 20);
  EXPECT_EQ(report["tokens"], 160);
  ASSERT_OK_AND_ASSIGN(const std::string answers, base::RealFileSystem()->Read(dir_.File("answers.jsonl")));
  EXPECT_THAT(answers, StartsWith("{\"row\":1,\"answer\":"));
  EXPECT_EQ(std::count(answers.begin(), answers.end(), '\n'), 20);
  EXPECT_EQ(Run(base), kOk);
  EXPECT_THAT(out(), HasSubstr("exact match:  95.0 %"));

  // A stop text ends an answer before it.
  const std::string stopping = Write("stop.yaml",
                                     "base_model: m\ndatasets: [{name: d}]\n"
                                     "task: {kind: completion, prompt: '{q}', answer: '{a}', stop: [' ', ',']}\n");
  std::vector<std::string> stopped = json;
  stopped[5] = stopping;
  EXPECT_EQ(Run(stopped), kOk) << err();
  EXPECT_EQ(nlohmann::json::parse(out())["unended"], 0);
  EXPECT_EQ(Run({"eval", data, "--model", model_, "-f", job, "--answers", "x"}), kUsage) << "needs --generate";
}

TEST_F(LocalVerbs, EvalKnowsBuiltInTasksAndTables) {
  const std::string table = Write("rows.tsv", "sentence\tlabel\nlovely \t1\nbad\tnegative\n");
  const std::string job = Write("job.yaml", "base_model: m\ndatasets: [{name: d}]\ntask: {template: sst2}\n");
  EXPECT_EQ(Run({"eval", table, "--model", model_, "-f", job}), kOk) << err();
  EXPECT_THAT(out(), AllOf(HasSubstr("rows:"), HasSubstr("F1 of 'positive'")));
}

TEST_F(LocalVerbs, GenerateContinuesAPromptTheSameWayTwice) {
  const std::vector<std::string> arguments = {
      "generate",      "--model", model_,   "--prompt", "Once upon a time", "--max-tokens", "12",
      "--temperature", "1",       "--seed", "3"};
  EXPECT_EQ(Run(arguments), kOk);
  const std::string first = out();
  EXPECT_GT(first.size(), 5u);
  EXPECT_EQ(Run(arguments), kOk);
  EXPECT_EQ(out(), first);
  EXPECT_EQ(Run({"generate", "--prompt", "x"}), kUsage);
}

TEST_F(LocalVerbs, ExportMeasuresWhatRoundingCost) {
  const std::string rows = Write("rows.jsonl", "{\"text\":\"a\",\"label\":0}\n");
  EXPECT_EQ(Run({"export", dir_.File("a.safetensors"), dir_.File("out.gguf"), "--model", model_, "--dataset", rows,
                 "-o", "json"}),
            kOk);
  const auto report = nlohmann::json::parse(out());
  EXPECT_NEAR(report["lossBeforeRounding"].get<double>(), report["lossAfterRounding"].get<double>(), 0.01);
  EXPECT_EQ(report["overflowed"], 0);
  EXPECT_TRUE(base::RealFileSystem()->Exists(dir_.File("out.gguf")));
  const std::vector<std::string> verify = {"verify",     dir_.File("a.safetensors"), "--model", model_,
                                           "--exported", dir_.File("out.gguf")};
  EXPECT_EQ(Run(verify), kOk) << err();
  EXPECT_THAT(out(), HasSubstr("is this model with this adapter, bit for bit"));
  ASSERT_OK_AND_ASSIGN(std::string bytes, base::RealFileSystem()->Read(dir_.File("out.gguf")));
  bytes[bytes.size() - 40] ^= 1;
  Write("out.gguf", bytes);
  EXPECT_EQ(Run(verify), kFailed);
  EXPECT_THAT(err(), HasSubstr("the byte is another"));
}

TEST_F(LocalVerbs, ExportWritesTheMultipliersAlone) {
  EXPECT_EQ(Run({"export", dir_.File("a.safetensors"), dir_.File("m.safetensors"), "--model", model_, "--multipliers"}),
            kOk)
      << err();
  EXPECT_THAT(out(), HasSubstr("multipliers of 35 tensors"));
  EXPECT_EQ(
      Run({"export", dir_.File("a.safetensors"), dir_.File("m"), "--model", model_, "--multipliers", "--type", "f16"}),
      kUsage);
}

TEST_F(QzoctlTest, RowsAreDrawnIntoFilesThatAreNotThereYet) {
  std::string rows;
  for (int i = 0; i < 10; ++i) absl::StrAppend(&rows, "{\"i\":", i, "}\n");
  const std::string file = Write("all.jsonl", rows), directory = dir_.File("drawn");
  EXPECT_EQ(Run({"draw", file, directory}), kUsage);
  EXPECT_THAT(err(), HasSubstr("--train"));
  EXPECT_EQ(Run({"draw", file, directory, "--train", "9", "--test", "2"}), kUsage);
  EXPECT_THAT(err(), HasSubstr("all.jsonl: found 10 rows, 11 are to be drawn"));
  EXPECT_EQ(Run({"draw", file, directory, "--train", "2", "--test", "1"}), kOk) << err();
  EXPECT_EQ(out(), directory + "/train.jsonl\n" + directory + "/test.jsonl\n");
  ASSERT_OK_AND_ASSIGN(const std::string test, base::RealFileSystem()->Read(directory + "/test.jsonl"));
  EXPECT_EQ(test, "{\"i\":4}\n");
  EXPECT_EQ(Run({"draw", file, directory, "--train", "2"}), kConflict);
}

TEST_F(QzoctlTest, CompletionKnowsEveryVerb) {
  for (const char* shell : {"bash", "zsh", "fish"}) {
    EXPECT_EQ(Run({"completion", shell}), kOk);
    EXPECT_THAT(out(), AllOf(HasSubstr("submit"), HasSubstr("datasets"), HasSubstr("validate-only"))) << shell;
  }
  EXPECT_EQ(Run({"completion", "tcsh"}), kUsage);
}

TEST_F(QzoctlTest, VersionIsData) {
  EXPECT_EQ(Run({"version", "-o", "json"}), kOk);
  EXPECT_TRUE(nlohmann::json::parse(out()).contains("version"));
}

}  // namespace
}  // namespace qzo::client
