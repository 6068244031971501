// A whole server in the test's process, reached over a socket in its directory, and the client calls that several tests
// need. Tests only.
#ifndef QZO_SERVER_TEST_SERVER_H_
#define QZO_SERVER_TEST_SERVER_H_

#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <fstream>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "base/fs.h"
#include "proto/grpc_status.h"
#include "qzo/v1/adapter.grpc.pb.h"
#include "qzo/v1/audit.grpc.pb.h"
#include "qzo/v1/dataset.grpc.pb.h"
#include "qzo/v1/job.grpc.pb.h"
#include "qzo/v1/model.grpc.pb.h"
#include "qzo/v1/token.grpc.pb.h"
#include "qzo/v1/worker.grpc.pb.h"
#include "server/server.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_dir.h"

namespace qzo::server {

inline constexpr char kModelName[] = "projects/p/models/stories";

inline std::string ReadTestFile(const std::string& name) {
  return base::RealFileSystem()->Read(testing::TestFile(name)).value_or("");
}
inline std::string StoriesModel(const char* type = "Q4_0") {
  return ReadTestFile(absl::StrCat("golden/models/stories260k/stories260K-", type, ".gguf"));
}

// `rows` rows that the task of SentimentTask reads.
inline std::string Rows(int rows) {
  std::string text;
  for (int i = 0; i < rows; ++i) {
    absl::StrAppend(&text, R"({"text":"story number )", i, R"(","label":)", i % 2, "}\n");
  }
  return text;
}
// `rows` rows of a million bytes each.
inline std::string LargeRows(int rows) {
  std::string text;
  for (int i = 0; i < rows; ++i) absl::StrAppend(&text, R"({"text":")", std::string(999'988, 'a'), "\"}\n");
  return text;
}
inline v1::Task SentimentTask() {
  v1::Task task;
  task.set_kind(v1::CLASSIFICATION);
  task.set_prompt("{text}\nThe story is");
  task.add_options(" sad");
  task.add_options(" happy");
  return task;
}

// Callers need tokens; TestServer::AdminSecret is one's.
inline void RequireTokens(Server::Options* options) {
  options->admin_token_file = absl::StrCat(options->data_directory, "/../admin");
}

class TestServer {
 public:
  explicit TestServer(std::function<void(Server::Options*)> configure = [](Server::Options*) {})
      : configure_(std::move(configure)) {
    Start();
  }

  void Start() {
    Server::Options options;
    options.listen = absl::StrCat("unix:", directory_.File("socket"));
    options.data_directory = directory_.File("data");
    options.metrics_address = "";
    options.sign_of_life = absl::Milliseconds(100);
    configure_(&options);
    absl::StatusOr<std::unique_ptr<Server>> server = Server::Start(options);
    ASSERT_OK(server);
    server_ = *std::move(server);
    // Not the channel within the process: its transport lets a sender wait for ever for a server that has answered
    // early.
    channel = grpc::CreateChannel(server_->local_address(), grpc::InsecureChannelCredentials());
    jobs = v1::JobService::NewStub(channel);
    datasets = v1::DatasetService::NewStub(channel);
    models = v1::ModelService::NewStub(channel);
    adapters = v1::AdapterService::NewStub(channel);
    workers = v1::WorkerService::NewStub(channel);
    tokens = v1::TokenService::NewStub(channel);
    audit = v1::AuditService::NewStub(channel);
    coordination = v1::Coordination::NewStub(channel);
  }
  void Stop() { server_.reset(); }
  int page_port() const { return server_->page_port(); }
  int metrics_port() const { return server_->metrics_port(); }

  // The method of a stub, called with a deadline: Call(server.jobs, &v1::JobService::Stub::GetJob, request).
  template <typename Stub, typename Request, typename Response>
  absl::StatusOr<Response> Call(const std::unique_ptr<Stub>& stub,
                                grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&, Response*),
                                const std::common_type_t<Request>& request) {
    grpc::ClientContext context;
    Prepare(&context, absl::Seconds(30));
    Response response;
    const grpc::Status status = (stub.get()->*method)(&context, request, &response);
    if (!status.ok()) return rpc::FromGrpc(status);
    return response;
  }
  absl::StatusOr<v1::FineTuningJob> GetJob(const std::string& name) {
    v1::GetJobRequest request;
    request.set_name(name);
    return Call(jobs, &v1::JobService::Stub::GetJob, request);
  }

  absl::StatusOr<v1::Dataset> UploadDataset(const v1::CreateDatasetRequest::Header& header, std::string_view bytes) {
    return Upload<v1::CreateDatasetRequest, v1::Dataset>(
        [this](grpc::ClientContext* context, v1::Dataset* response) {
          return datasets->CreateDataset(context, response);
        },
        header, bytes);
  }
  absl::StatusOr<v1::Dataset> UploadDataset(const std::string& id, std::string_view bytes) {
    v1::CreateDatasetRequest::Header header;
    header.set_parent("projects/p");
    header.set_dataset_id(id);
    return UploadDataset(header, bytes);
  }
  absl::StatusOr<v1::Model> UploadModel(const v1::CreateModelRequest::Header& header, std::string_view bytes) {
    return Upload<v1::CreateModelRequest, v1::Model>(
        [this](grpc::ClientContext* context, v1::Model* response) { return models->CreateModel(context, response); },
        header, bytes);
  }
  absl::StatusOr<v1::Model> UploadModel(const std::string& id, std::string_view bytes) {
    v1::CreateModelRequest::Header header;
    header.set_parent("projects/p");
    header.set_model_id(id);
    return UploadModel(header, bytes);
  }

  // A deadline, and the secret of whoever calls.
  void Prepare(grpc::ClientContext* context, absl::Duration timeout) const {
    context->set_deadline(absl::ToChronoTime(absl::Now() + timeout));
    if (!secret.empty()) context->AddMetadata("authorization", "Bearer " + secret);
  }
  std::string AdminSecret() const {
    return std::string(absl::StripAsciiWhitespace(base::RealFileSystem()->Read(directory_.File("admin")).value_or("")));
  }
  // Its secret. `project` may be kEveryProject.
  std::string NewToken(const std::string& project, const std::string& id, v1::Token::Role role,
                       absl::Time expires = absl::InfiniteFuture()) {
    v1::CreateTokenRequest request;
    request.set_parent("projects/" + project);
    request.set_token_id(id);
    request.mutable_token()->set_role(role);
    if (expires < absl::InfiniteFuture()) {
      request.mutable_token()->mutable_expire_time()->set_seconds(absl::ToUnixSeconds(expires));
    }
    const absl::StatusOr<v1::CreateTokenResponse> made = Call(tokens, &v1::TokenService::Stub::CreateToken, request);
    EXPECT_OK(made);
    return made.ok() ? made->secret() : "";
  }

  absl::Status RevokeToken(const std::string& name) {
    v1::RevokeTokenRequest request;
    request.set_name(name);
    return Call(tokens, &v1::TokenService::Stub::RevokeToken, request).status();
  }

  // The bytes of a stream of chunks.
  template <typename Reader>
  static absl::StatusOr<std::string> ReadAll(const std::unique_ptr<Reader>& reader) {
    std::string bytes;
    for (v1::Chunk chunk; reader->Read(&chunk);) {
      EXPECT_LE(chunk.data().size(), size_t{1} << 20);
      bytes += chunk.data();
    }
    const grpc::Status status = reader->Finish();
    if (!status.ok()) return rpc::FromGrpc(status);
    return bytes;
  }

  // Whether the server, which is this process, has a blob open.
  static bool Maps(const std::string& digest) {
    std::ifstream maps("/proc/self/maps");
    for (std::string line; std::getline(maps, line);) {
      if (line.find(digest.substr(2)) != std::string::npos) return true;
    }
    return false;
  }
  // Files in the blob store, finished or not.
  size_t CountBlobs() const {
    size_t files = 0;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(directory_.File("data/blobs"))) {
      files += entry.is_regular_file() ? 1 : 0;
    }
    return files;
  }

  std::unique_ptr<v1::JobService::Stub> jobs;
  std::unique_ptr<v1::DatasetService::Stub> datasets;
  std::unique_ptr<v1::ModelService::Stub> models;
  std::unique_ptr<v1::AdapterService::Stub> adapters;
  std::unique_ptr<v1::WorkerService::Stub> workers;
  std::unique_ptr<v1::Coordination::Stub> coordination;
  std::unique_ptr<v1::TokenService::Stub> tokens;
  std::unique_ptr<v1::AuditService::Stub> audit;
  std::shared_ptr<grpc::Channel> channel;
  std::string secret;  // of the calls to come
  const testing::TempDir& directory() const { return directory_; }

 private:
  template <typename Request, typename Response, typename Open, typename Header>
  absl::StatusOr<Response> Upload(const Open& open, const Header& header, std::string_view bytes) {
    constexpr size_t kPiece = 100'000;  // several for a model
    grpc::ClientContext context;
    Prepare(&context, absl::Seconds(60));
    Response response;
    const auto writer = open(&context, &response);
    Request request;
    *request.mutable_header() = header;
    bool going = writer->Write(request);
    for (; going && !bytes.empty(); bytes.remove_prefix(std::min(kPiece, bytes.size()))) {
      request.set_data(std::string(bytes.substr(0, kPiece)));
      going = writer->Write(request);
    }
    writer->WritesDone();
    const grpc::Status status = writer->Finish();
    if (!status.ok()) return rpc::FromGrpc(status);
    return response;
  }

  testing::TempDir directory_;
  const std::function<void(Server::Options*)> configure_;
  std::unique_ptr<Server> server_;
};

// A job that the server accepts, for tests to change.
inline v1::CreateJobRequest JobRequest(const std::string& id) {
  v1::CreateJobRequest request;
  request.set_parent("projects/p");
  request.set_job_id(id);
  v1::JobSpec& spec = *request.mutable_job()->mutable_spec();
  spec.set_base_model(kModelName);
  spec.set_training_dataset("projects/p/datasets/train");
  *spec.mutable_task() = SentimentTask();
  spec.mutable_method()->set_steps(4);
  spec.mutable_method()->set_probes(2);
  spec.mutable_method()->set_batch_size(4);
  return request;
}

}  // namespace qzo::server

#endif  // QZO_SERVER_TEST_SERVER_H_
