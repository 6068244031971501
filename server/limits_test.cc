// What a caller cannot do to a server: come too often, hold on to it, send what is too large or malformed, or reach
// files by names. And what the audit log says about it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <spdlog/sinks/ostream_sink.h>
#include <spdlog/spdlog.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <set>
#include <sstream>

#include "absl/strings/ascii.h"
#include "absl/strings/str_split.h"
#include "server/stall_guard.h"
#include "server/test_server.h"
#include "tests/support/generic_call.h"
#include "tests/support/processes.h"

namespace qzo::server {
namespace {

using ::qzo::testing::StatusIs;
using ::testing::AllOf;
using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::Not;
using Role = v1::Token;

// A server whose callers need tokens.
class LimitsTest : public ::testing::Test {
 protected:
  LimitsTest() {
    auto sink = std::make_shared<spdlog::sinks::ostream_sink_mt>(log_);
    sink->set_pattern("%v");
    before_ = spdlog::default_logger();
    spdlog::set_default_logger(std::make_shared<spdlog::logger>("test", sink));
  }
  ~LimitsTest() override {
    server_.reset();
    spdlog::set_default_logger(before_);
  }
  void Start(const std::function<void(Server::Options*)>& change = [](Server::Options*) {}) {
    server_ = std::make_unique<TestServer>([change](Server::Options* options) {
      RequireTokens(options);
      change(options);
    });
    server_->secret = server_->AdminSecret();
  }
  // Of a server that logs no more.
  std::vector<std::string> AuditLines() {
    server_->Stop();
    std::vector<std::string> lines;
    for (const absl::string_view line : absl::StrSplit(log_.str(), '\n')) {
      if (absl::StartsWith(line, "audit ")) lines.emplace_back(line);
    }
    return lines;
  }
  void MakeQueuedJob() {
    v1::CreateModelRequest::Header model;
    model.set_parent("projects/p");
    model.set_model_id("stories");
    ASSERT_OK(server_->UploadModel(model, StoriesModel()));
    ASSERT_OK(server_->UploadDataset("train", Rows(8)));
    ASSERT_OK(server_->Call(server_->jobs, &v1::JobService::Stub::CreateJob, JobRequest("j")));
  }
  // An open stream of events, of which one has come.
  struct Watch {
    grpc::ClientContext context;
    std::unique_ptr<grpc::ClientReader<v1::WatchJobResponse>> stream;
  };
  std::unique_ptr<Watch> OpenWatch() {
    auto watch = std::make_unique<Watch>();
    server_->Prepare(&watch->context, absl::Seconds(60));
    v1::WatchJobRequest request;
    request.set_name("projects/p/jobs/j");
    watch->stream = server_->jobs->WatchJob(&watch->context, request);
    v1::WatchJobResponse item;
    EXPECT_TRUE(watch->stream->Read(&item));
    return watch;
  }
  static absl::Status Drain(Watch* watch) {
    for (v1::WatchJobResponse item; watch->stream->Read(&item);) {
    }
    return rpc::FromGrpc(watch->stream->Finish());
  }

  std::ostringstream log_;
  std::shared_ptr<spdlog::logger> before_;
  std::unique_ptr<TestServer> server_;
};

TEST_F(LimitsTest, CallsBeyondTheRateAreToldWhenToComeBack) {
  Start([](Server::Options* options) { options->calls_per_second = 0.01; });  // four seconds are not worth one call
  const absl::Status refused = server_->GetJob("projects/p/jobs/j").status();
  EXPECT_THAT(refused, StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("0.01 calls a second")));
  EXPECT_EQ(rpc::ReasonOf(refused), "TOO_MANY_CALLS");
  ASSERT_TRUE(rpc::RetryDelayOf(refused).has_value());
  EXPECT_GT(*rpc::RetryDelayOf(refused), absl::Seconds(90));
}

TEST_F(LimitsTest, OneCallersHasteIsNotAnothers) {
  Start([](Server::Options* options) { options->calls_per_second = 1; });
  const std::string hasty = server_->NewToken("p", "hasty", Role::VIEWER);
  const std::string calm = server_->NewToken("p", "calm", Role::VIEWER);
  server_->secret = hasty;
  int refused = 0;
  for (int i = 0; i < 10; ++i) refused += absl::IsResourceExhausted(server_->GetJob("projects/p/jobs/j").status());
  EXPECT_GE(refused, 5) << "four at once, and one more every second";
  server_->secret = calm;
  EXPECT_THAT(server_->GetJob("projects/p/jobs/j"), StatusIs(absl::StatusCode::kNotFound, HasSubstr("jobs/j")));
}

TEST_F(LimitsTest, CallsThatAreOpenAreCounted) {
  Start([](Server::Options* options) { options->open_calls = 2; });
  MakeQueuedJob();
  const auto first = OpenWatch(), second = OpenWatch();
  const absl::Status refused = server_->GetJob("projects/p/jobs/j").status();
  EXPECT_THAT(refused, StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("2 calls open")));
  EXPECT_TRUE(rpc::RetryDelayOf(refused).has_value());
  first->context.TryCancel();
  EXPECT_TRUE(absl::IsCancelled(Drain(first.get())));
  EXPECT_TRUE(testing::Eventually([this] { return server_->GetJob("projects/p/jobs/j").ok(); }));
  second->context.TryCancel();
  Drain(second.get()).IgnoreError();
}

TEST_F(LimitsTest, BytesOfCallsThatAreOpenAreCounted) {
  Start([](Server::Options* options) { options->open_bytes = 2 << 20; });  // as many streams
  MakeQueuedJob();
  const std::string other = server_->NewToken("p", "other", Role::SUBMITTER);
  const auto first = OpenWatch();
  EXPECT_OK(server_->GetJob("projects/p/jobs/j"));
  v1::CreateJobRequest large = JobRequest("large");
  large.mutable_job()->set_display_name(std::string(1 << 20, 'x'));
  const absl::Status refused = server_->Call(server_->jobs, &v1::JobService::Stub::CreateJob, large).status();
  EXPECT_THAT(refused, StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("1.0 MiB in calls that are open")));
  EXPECT_EQ(rpc::ReasonOf(refused), "TOO_MANY_BYTES");
  EXPECT_TRUE(rpc::RetryDelayOf(refused).has_value());
  const std::string admin = std::exchange(server_->secret, other);
  const auto create = [&] { return server_->Call(server_->jobs, &v1::JobService::Stub::CreateJob, large).status(); };
  EXPECT_THAT(create(), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("display_name"))) << "others may";
  server_->secret = admin;
  first->context.TryCancel();
  Drain(first.get()).IgnoreError();
  EXPECT_TRUE(testing::Eventually([&] { return absl::IsInvalidArgument(create()); }));
}

TEST_F(LimitsTest, ADownloadThatIsNotReadIsCutOff) {
  Start([](Server::Options* options) { options->stall = absl::Milliseconds(50); });
  ASSERT_OK_AND_ASSIGN(const v1::Dataset large, server_->UploadDataset("large", LargeRows(24)));
  v1::FetchBlobRequest fetch;
  fetch.set_digest(large.digest());
  grpc::ClientContext context;
  server_->Prepare(&context, absl::Seconds(60));
  const auto stream = server_->coordination->FetchBlob(&context, fetch);
  v1::Chunk chunk;
  ASSERT_TRUE(stream->Read(&chunk));
  EXPECT_TRUE(testing::Eventually([&] { return !TestServer::Maps(large.digest()); }));
  EXPECT_THAT(TestServer::ReadAll(stream), StatusIs(absl::StatusCode::kCancelled, ::testing::_));
}

TEST_F(LimitsTest, AConnectionThatSaysNothingIsClosed) {
  Start([](Server::Options* options) { options->handshake = absl::Milliseconds(200); });
  const int fd = ::socket(AF_UNIX, SOCK_STREAM, 0);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const std::string path = server_->directory().File("socket");
  ASSERT_LT(path.copy(address.sun_path, sizeof address.sun_path - 1), sizeof address.sun_path - 1);
  ASSERT_EQ(::connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
  char byte = 0;
  ssize_t got = 1;
  while (got > 0) got = ::recv(fd, &byte, 1, 0);  // the server's settings come first
  EXPECT_EQ(got, 0) << "closed";
  ::close(fd);
}

TEST_F(LimitsTest, AnUploadThatStallsIsCutOffAndLeavesNothing) {
  Start([](Server::Options* options) { options->stall = absl::Milliseconds(50); });
  grpc::ClientContext context;
  server_->Prepare(&context, absl::Seconds(60));
  v1::Dataset response;
  const auto stream = server_->datasets->CreateDataset(&context, &response);
  v1::CreateDatasetRequest request;
  request.mutable_header()->set_parent("projects/p");
  EXPECT_TRUE(stream->Write(request));
  request.set_data("{\"a\":1}\n");
  EXPECT_TRUE(stream->Write(request));
  EXPECT_EQ(stream->Finish().error_code(), grpc::StatusCode::CANCELLED);  // although nothing says that all was sent
  EXPECT_TRUE(testing::Eventually([this] { return server_->CountBlobs() == 0; }));
}

TEST_F(LimitsTest, MessagesThatAreTooLargeOrNoMessagesAreRefusedAndTheServerLives) {
  Start();
  v1::CreateJobRequest large;
  large.mutable_job()->set_display_name(std::string(33 << 20, 'x'));
  EXPECT_THAT(server_->Call(server_->jobs, &v1::JobService::Stub::CreateJob, large),
              StatusIs(absl::StatusCode::kResourceExhausted, ::testing::_));
  const std::string garbage[] = {std::string(11, '\xff'), std::string("\x0a\x7f", 2)};
  for (const auto* method : testing::EveryMethod()) {
    for (const std::string& bytes : garbage) {
      const grpc::Status status =
          testing::CallAny(server_->channel, *method, {bytes}, server_->secret, std::chrono::seconds(30));
      const bool stream = method->client_streaming() && method->server_streaming();  // takes it for its end
      EXPECT_TRUE(stream || !status.ok()) << method->full_name();
      EXPECT_NE(status.error_code(), grpc::StatusCode::DEADLINE_EXCEEDED) << method->full_name();
    }
  }
  EXPECT_THAT(server_->GetJob("projects/p/jobs/j"), StatusIs(absl::StatusCode::kNotFound, HasSubstr("jobs/j")));
}

TEST_F(LimitsTest, NamesAndDigestsReachNoFiles) {
  Start();
  for (const char* path : {"../../qzo.db", "/etc/passwd", "..", "%2e%2e/qzo.db", "aa/../../qzo.db"}) {
    v1::FetchBlobRequest fetch;
    fetch.set_digest(path);
    grpc::ClientContext context;
    server_->Prepare(&context, absl::Seconds(30));
    EXPECT_THAT(TestServer::ReadAll(server_->coordination->FetchBlob(&context, fetch)),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("digest")));
    v1::CreateModelRequest::Header header;
    header.set_parent("projects/p");
    header.set_digest(path);
    EXPECT_THAT(server_->UploadModel(header, ""), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("digest")));
    header.clear_digest();
    header.set_model_id(path);
    EXPECT_THAT(server_->UploadModel(header, ""), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("model_id")));
    for (const std::string& name :
         {absl::StrCat("projects/p/jobs/", path), absl::StrCat("projects/", path, "/jobs/j")}) {
      EXPECT_THAT(server_->GetJob(name), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("name")));
    }
  }
}

// Texts of requests that would be paths out of the data directory, were they ever made part of one.
TEST_F(LimitsTest, NoTextOfAnyRequestReachesAFile) {
  using google::protobuf::FieldDescriptor;
  using google::protobuf::Message;
  Start([](Server::Options* options) { options->calls_per_second = 0; });
  const auto entries = [this] {
    std::set<std::string> paths;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(server_->directory().path())) {
      if (!entry.is_directory()) paths.insert(entry.path().string());
    }
    return paths;
  };
  const std::set<std::string> before = entries();
  const auto send = [this](const google::protobuf::MethodDescriptor& method, const Message& request,
                           const std::string& what) {
    const grpc::Status status = testing::CallAny(server_->channel, method, {request.SerializeAsString()},
                                                 server_->secret, std::chrono::seconds(30));
    const grpc::StatusCode code = status.error_code();
    EXPECT_TRUE(code != grpc::StatusCode::INTERNAL && code != grpc::StatusCode::UNKNOWN &&
                code != grpc::StatusCode::DATA_LOSS && code != grpc::StatusCode::DEADLINE_EXCEEDED)
        << what << ": " << code << " " << status.error_message();
    EXPECT_THAT(status.error_message(), Not(HasSubstr(server_->directory().path()))) << what;
  };
  int sent = 0;
  for (const auto* method : testing::EveryMethod()) {
    const std::unique_ptr<Message> root(
        google::protobuf::MessageFactory::generated_factory()->GetPrototype(method->input_type())->New());
    // Every singular text of the request, and of the messages in it.
    const std::function<void(Message*, int)> visit = [&](Message* message, int depth) {
      for (int i = 0; i < message->GetDescriptor()->field_count(); ++i) {
        const FieldDescriptor* field = message->GetDescriptor()->field(i);
        if (field->is_repeated()) continue;
        if (field->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE && depth < 3) {
          visit(message->GetReflection()->MutableMessage(message, field), depth + 1);
          message->GetReflection()->ClearField(message, field);
        }
        if (field->type() != FieldDescriptor::TYPE_STRING) continue;
        for (const char* path : {"../../escaped", "/etc/passwd", "projects/../../escaped/jobs/x"}) {
          message->GetReflection()->SetString(message, field, path);
          send(*method, *root, absl::StrCat(method->full_name(), " with ", field->full_name(), " = ", path));
          ++sent;
        }
        message->GetReflection()->ClearField(message, field);
      }
    };
    visit(root.get(), 0);
  }
  EXPECT_GT(sent, 300);
  EXPECT_EQ(entries(), before);
}

TEST_F(LimitsTest, TheAuditLogSaysWhoDidWhat) {
  Start();
  server_->secret = server_->NewToken("p", "s", Role::SUBMITTER);
  MakeQueuedJob();
  v1::DeleteJobRequest foreign;
  foreign.set_name("projects/q/jobs/j\nforged");
  server_->Call(server_->jobs, &v1::JobService::Stub::DeleteJob, foreign).IgnoreError();
  server_->GetJob("projects/p/jobs/j").IgnoreError();
  const std::vector<std::string> lines = AuditLines();
  EXPECT_THAT(lines, Contains(AllOf(HasSubstr(R"(caller="admin-token-file")"), HasSubstr("CreateToken"),
                                    HasSubstr(R"(resource="projects/p/tokens/s")"), HasSubstr("code=OK"))));
  EXPECT_THAT(lines, Contains(AllOf(HasSubstr(R"(caller="projects/p/tokens/s")"),
                                    HasSubstr("method=qzo.v1.JobService.CreateJob "),
                                    HasSubstr(R"(resource="projects/p/jobs/j")"), HasSubstr("code=OK"))));
  EXPECT_THAT(lines, Contains(AllOf(HasSubstr("CreateModel"), HasSubstr(R"(resource="projects/p/models/stories")"))));
  EXPECT_THAT(lines, Contains(AllOf(HasSubstr("DeleteJob"), HasSubstr(R"(resource="projects/q/jobs/j\nforged")"),
                                    HasSubstr(R"(code=NOT_FOUND reason="JOB_NOT_FOUND")"))));
  EXPECT_THAT(lines, Not(Contains(HasSubstr("GetJob")))) << "reading changes nothing";
}

TEST_F(LimitsTest, NeitherSecretsNorRowsAreInLogsOrInErrors) {
  Start();
  const std::string secret = server_->NewToken("p", "s", Role::SUBMITTER);
  server_->secret = secret + "0";
  const absl::Status unknown = server_->UploadDataset("d", Rows(1)).status();
  EXPECT_THAT(std::string(unknown.message()), Not(HasSubstr(secret)));
  server_->secret = secret;
  EXPECT_FALSE(server_->UploadDataset("d", "{\"text\": \"my password is swordfish\", \"label\": }\n").ok());
  EXPECT_OK(server_->UploadDataset("e", "{\"text\": \"my password is swordfish\"}\n"));
  server_->Stop();
  const std::string log = log_.str();
  EXPECT_THAT(log, HasSubstr("CreateDataset"));
  EXPECT_THAT(log, Not(HasSubstr("swordfish")));
  EXPECT_THAT(log, Not(HasSubstr(secret)));
  EXPECT_THAT(log, Not(HasSubstr(server_->secret)));
}

TEST(StallGuard, IsPatientWithThoseWhoMoveAndWithUs) {
  std::atomic<int> stalls = 0;
  {
    StallGuard ours(absl::Milliseconds(5), [&stalls] { ++stalls; });  // it is never the peer's turn
    StallGuard theirs(absl::Milliseconds(5), [&stalls] { stalls += 10; });
    theirs.Wait();
    EXPECT_TRUE(testing::Eventually([&stalls] { return stalls.load() >= 10; }));
  }
  EXPECT_EQ(stalls.load(), 10) << "once, and not for what is in our hands";
}

}  // namespace
}  // namespace qzo::server
