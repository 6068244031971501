// A server of the API in memory, with failures to order: what client and qzoctl are tested against. Thread-safe.
#ifndef QZO_CLIENT_TESTING_FAKE_SERVER_H_
#define QZO_CLIENT_TESTING_FAKE_SERVER_H_

#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>

#include <algorithm>
#include <limits>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/digest.h"
#include "base/mutex.h"
#include "proto/grpc_status.h"
#include "qzo/v1/adapter.grpc.pb.h"
#include "qzo/v1/audit.grpc.pb.h"
#include "qzo/v1/dataset.grpc.pb.h"
#include "qzo/v1/job.grpc.pb.h"
#include "qzo/v1/model.grpc.pb.h"
#include "qzo/v1/token.grpc.pb.h"
#include "qzo/v1/worker.grpc.pb.h"

namespace qzo::client {

// Orders failures: the next `n` calls end with a status.
class Faults {
 public:
  void FailNext(int n, grpc::StatusCode code = grpc::StatusCode::UNAVAILABLE) {
    FailNext(n, grpc::Status(code, "made to fail"));
  }
  void FailNext(int n, const grpc::Status& status) {
    base::MutexLock lock(&mu_);
    left_ = n;
    status_ = status;
  }
  int calls() const {
    base::MutexLock lock(&mu_);
    return calls_;
  }

 protected:
  grpc::Status Next() {
    base::MutexLock lock(&mu_);
    ++calls_;
    if (left_ == 0) return grpc::Status::OK;
    --left_;
    return status_;
  }

 private:
  mutable base::Mutex mu_;
  int left_ ABSL_GUARDED_BY(mu_) = 0;
  int calls_ ABSL_GUARDED_BY(mu_) = 0;
  grpc::Status status_ ABSL_GUARDED_BY(mu_);
};

class FakeJobs final : public v1::JobService::Service, public Faults {
 public:
  static constexpr size_t kPage = 3;

  v1::FineTuningJob* AddJob(const std::string& name, v1::FineTuningJob::State state) {
    base::MutexLock lock(&mu_);
    v1::FineTuningJob& job = jobs_[name];
    job.set_name(name);
    job.set_state(state);
    return &job;
  }
  // Events with sequences 1 … n, of steps.
  void AddEvents(const std::string& name, uint64_t n) {
    base::MutexLock lock(&mu_);
    for (uint64_t i = 1; i <= n; ++i) {
      v1::JobEvent& event = events_[name].emplace_back();
      event.set_sequence(i);
      event.set_level(v1::JobEvent::INFO);
      event.set_type("step");
      event.mutable_step()->set_step(static_cast<uint32_t>(i));
    }
  }
  void BreakStreamsAfter(int events, grpc::StatusCode code) {
    base::MutexLock lock(&mu_);
    break_after_ = events;
    break_code_ = code;
  }
  // A careless server: it sends so many events again that the watcher has had.
  void RepeatOnReconnect(uint64_t events) {
    base::MutexLock lock(&mu_);
    repeat_ = events;
  }
  void EndJobAtWatch(int watch, v1::FineTuningJob::State state) {
    base::MutexLock lock(&mu_);
    end_at_watch_ = watch;
    end_state_ = state;
  }
  void HoldStreams() {
    base::MutexLock lock(&mu_);
    hold_ = true;
  }
  int watches() const {
    base::MutexLock lock(&mu_);
    return watches_;
  }
  v1::CreateJobRequest last_create() const {
    base::MutexLock lock(&mu_);
    return last_create_;
  }

  grpc::Status CreateJob(grpc::ServerContext*, const v1::CreateJobRequest* request, v1::FineTuningJob* job) override {
    if (grpc::Status status = Next(); !status.ok()) return status;
    base::MutexLock lock(&mu_);
    last_create_ = *request;
    *job = request->job();
    job->set_name(absl::StrCat(request->parent(), "/jobs/", request->job_id().empty() ? "made" : request->job_id()));
    job->set_state(create_state_);
    if (!request->validate_only()) jobs_[job->name()] = *job;
    job->mutable_plan()->set_steps(12);
    return grpc::Status::OK;
  }
  void set_create_state(v1::FineTuningJob::State state) {
    base::MutexLock lock(&mu_);
    create_state_ = state;
  }
  grpc::Status GetJob(grpc::ServerContext*, const v1::GetJobRequest* request, v1::FineTuningJob* job) override {
    return Update(request->name(), v1::FineTuningJob::STATE_UNSPECIFIED, job);
  }
  grpc::Status CancelJob(grpc::ServerContext*, const v1::CancelJobRequest* request, v1::FineTuningJob* job) override {
    return Update(request->name(), v1::FineTuningJob::CANCELLED, job);
  }
  grpc::Status ListJobs(grpc::ServerContext*, const v1::ListJobsRequest* request,
                        v1::ListJobsResponse* response) override {
    if (grpc::Status status = Next(); !status.ok()) return status;
    base::MutexLock lock(&mu_);
    size_t first = 0;
    (void)absl::SimpleAtoi(request->page_token(), &first);
    size_t index = 0;
    for (const auto& [name, job] : jobs_) {
      if (index >= first && index < first + kPage) *response->add_jobs() = job;
      ++index;
    }
    if (first + kPage < jobs_.size()) response->set_next_page_token(absl::StrCat(first + kPage));
    return grpc::Status::OK;
  }
  grpc::Status ListJobEvents(grpc::ServerContext*, const v1::ListJobEventsRequest* request,
                             v1::ListJobEventsResponse* response) override {
    base::MutexLock lock(&mu_);
    for (const v1::JobEvent& event : events_[request->parent()]) *response->add_events() = event;
    return grpc::Status::OK;
  }

  grpc::Status WatchJob(grpc::ServerContext* context, const v1::WatchJobRequest* request,
                        grpc::ServerWriter<v1::WatchJobResponse>* writer) override {
    std::vector<v1::WatchJobResponse> items;
    grpc::Status end = grpc::Status::OK;
    bool hold = false;
    {
      base::MutexLock lock(&mu_);
      if (++watches_ == end_at_watch_) {
        for (auto& [name, job] : jobs_) job.set_state(end_state_);
      }
      const auto job = jobs_.find(request->name());
      if (job == jobs_.end()) return NotFound(request->name());
      uint64_t from = std::max<uint64_t>(request->from_sequence(), 1);
      if (watches_ > 1) from -= std::min(repeat_, from - 1);
      for (const v1::JobEvent& event : events_[request->name()]) {
        if (event.sequence() >= from) *items.emplace_back().mutable_event() = event;
      }
      if (items.empty()) items.emplace_back();  // a sign of life
      *items[0].mutable_job() = job->second;
      if (items.size() > break_after_) {
        items.resize(break_after_);
        end = grpc::Status(break_code_, "connection broken");
      }
      hold = hold_;
    }
    for (const v1::WatchJobResponse& item : items) writer->Write(item);
    while (hold && !context->IsCancelled()) std::this_thread::yield();
    return end;
  }

 private:
  static grpc::Status NotFound(const std::string& name) {
    return rpc::ToGrpc(rpc::WithReason(absl::NotFoundError(name + " does not exist"), "NO_SUCH_JOB"));
  }
  grpc::Status Update(const std::string& name, v1::FineTuningJob::State state, v1::FineTuningJob* job) {
    if (grpc::Status status = Next(); !status.ok()) return status;
    base::MutexLock lock(&mu_);
    const auto found = jobs_.find(name);
    if (found == jobs_.end()) return NotFound(name);
    if (state != v1::FineTuningJob::STATE_UNSPECIFIED) found->second.set_state(state);
    *job = found->second;
    return grpc::Status::OK;
  }

  mutable base::Mutex mu_;
  std::map<std::string, v1::FineTuningJob> jobs_ ABSL_GUARDED_BY(mu_);
  std::map<std::string, std::vector<v1::JobEvent>> events_ ABSL_GUARDED_BY(mu_);
  v1::CreateJobRequest last_create_ ABSL_GUARDED_BY(mu_);
  v1::FineTuningJob::State create_state_ ABSL_GUARDED_BY(mu_) = v1::FineTuningJob::QUEUED;
  size_t break_after_ ABSL_GUARDED_BY(mu_) = std::numeric_limits<size_t>::max();
  grpc::StatusCode break_code_ ABSL_GUARDED_BY(mu_) = grpc::StatusCode::OK;
  uint64_t repeat_ ABSL_GUARDED_BY(mu_) = 0;
  int end_at_watch_ ABSL_GUARDED_BY(mu_) = -1;
  v1::FineTuningJob::State end_state_ ABSL_GUARDED_BY(mu_) = v1::FineTuningJob::SUCCEEDED;
  bool hold_ ABSL_GUARDED_BY(mu_) = false;
  int watches_ ABSL_GUARDED_BY(mu_) = 0;
};

// What an upload brought.
struct Received {
  std::string bytes;
  size_t largest_chunk = 0;
};

template <typename Request>
Received ReceiveAll(grpc::ServerReader<Request>* reader, Request* header) {
  Received received;
  reader->Read(header);
  for (Request chunk; reader->Read(&chunk);) {
    received.bytes += chunk.data();
    received.largest_chunk = std::max(received.largest_chunk, chunk.data().size());
  }
  return received;
}

class FakeDatasets final : public v1::DatasetService::Service, public Faults {
 public:
  grpc::Status CreateDataset(grpc::ServerContext*, grpc::ServerReader<v1::CreateDatasetRequest>* reader,
                             v1::Dataset* dataset) override {
    if (grpc::Status status = Next(); !status.ok()) return status;
    v1::CreateDatasetRequest header;
    const Received received = ReceiveAll(reader, &header);
    base::MutexLock lock(&mu_);
    received_ = received;
    const std::string digest = base::Sha256Hex(received.bytes);
    if (digest != header.header().digest()) return grpc::Status(grpc::StatusCode::INVALID_ARGUMENT, "another digest");
    const std::string id = header.header().dataset_id();
    dataset->set_name(
        absl::StrCat(header.header().parent(), "/datasets/", id.empty() ? "d-" + digest.substr(0, 12) : id));
    dataset->set_digest(digest);
    return grpc::Status::OK;
  }
  std::string received() const {
    base::MutexLock lock(&mu_);
    return received_.bytes;
  }
  size_t largest_chunk() const {
    base::MutexLock lock(&mu_);
    return received_.largest_chunk;
  }

 private:
  mutable base::Mutex mu_;
  Received received_ ABSL_GUARDED_BY(mu_);
};

class FakeModels final : public v1::ModelService::Service, public Faults {
 public:
  grpc::Status CreateModel(grpc::ServerContext*, grpc::ServerReader<v1::CreateModelRequest>* reader,
                           v1::Model* model) override {
    v1::CreateModelRequest header;
    const Received received = ReceiveAll(reader, &header);
    base::MutexLock lock(&mu_);
    bytes_received_ += static_cast<int64_t>(received.bytes.size());
    const std::string& digest = header.header().digest();
    if (received.bytes.empty() && !files_.contains(digest)) {
      return grpc::Status(grpc::StatusCode::FAILED_PRECONDITION, "no data");
    }
    if (!received.bytes.empty()) files_[digest] = received.bytes;
    model->set_name(absl::StrCat(header.header().parent(), "/models/m-", digest.substr(0, 12)));
    model->set_digest(digest);
    model->set_bytes(static_cast<int64_t>(files_[digest].size()));
    models_[model->name()] = *model;
    return grpc::Status::OK;
  }
  grpc::Status GetModel(grpc::ServerContext*, const v1::GetModelRequest* request, v1::Model* model) override {
    base::MutexLock lock(&mu_);
    if (!models_.contains(request->name())) return grpc::Status(grpc::StatusCode::NOT_FOUND, request->name());
    *model = models_[request->name()];
    return grpc::Status::OK;
  }
  grpc::Status ListModels(grpc::ServerContext*, const v1::ListModelsRequest*,
                          v1::ListModelsResponse* response) override {
    base::MutexLock lock(&mu_);
    for (const auto& [name, model] : models_) *response->add_models() = model;
    return grpc::Status::OK;
  }
  grpc::Status DownloadModel(grpc::ServerContext*, const v1::DownloadModelRequest* request,
                             grpc::ServerWriter<v1::Chunk>* writer) override {
    base::MutexLock lock(&mu_);
    const std::string& bytes = files_[models_[request->name()].digest()];
    v1::Chunk chunk;
    const size_t first = std::min<size_t>(bytes.size(), 1 << 20);
    chunk.set_data(bytes.substr(0, first));
    writer->Write(chunk);
    if (breaks_ > 0) {
      --breaks_;
      return grpc::Status(grpc::StatusCode::UNAVAILABLE, "connection broken");
    }
    for (size_t at = first; at < bytes.size(); at += 1 << 20) {
      chunk.set_data(bytes.substr(at, 1 << 20));
      writer->Write(chunk);
    }
    return grpc::Status::OK;
  }
  void BreakDownloads(int n) {
    base::MutexLock lock(&mu_);
    breaks_ = n;
  }
  int64_t bytes_received() const {
    base::MutexLock lock(&mu_);
    return bytes_received_;
  }

 private:
  mutable base::Mutex mu_;
  std::map<std::string, std::string> files_ ABSL_GUARDED_BY(mu_);  // by digest
  std::map<std::string, v1::Model> models_ ABSL_GUARDED_BY(mu_);
  int64_t bytes_received_ ABSL_GUARDED_BY(mu_) = 0;
  int breaks_ ABSL_GUARDED_BY(mu_) = 0;
};

// Adapters by name, jobs' as well.
class FakeAdapters final : public v1::AdapterService::Service {
 public:
  void Add(const std::string& name, std::string bytes) {
    base::MutexLock lock(&mu_);
    files_[name] = std::move(bytes);
  }
  grpc::Status DownloadAdapter(grpc::ServerContext*, const v1::DownloadAdapterRequest* request,
                               grpc::ServerWriter<v1::Chunk>* writer) override {
    base::MutexLock lock(&mu_);
    const auto found = files_.find(request->name());
    if (found == files_.end()) return grpc::Status(grpc::StatusCode::NOT_FOUND, request->name());
    v1::Chunk chunk;
    chunk.set_data(found->second);
    writer->Write(chunk);
    return grpc::Status::OK;
  }

 private:
  base::Mutex mu_;
  std::map<std::string, std::string> files_ ABSL_GUARDED_BY(mu_);
};

class FakeTokens final : public v1::TokenService::Service, public Faults {
 public:
  static constexpr char kSecret[] = "qzo_secret";

  std::vector<v1::Token> tokens() const {
    base::MutexLock lock(&mu_);
    return tokens_;
  }

  grpc::Status CreateToken(grpc::ServerContext*, const v1::CreateTokenRequest* request,
                           v1::CreateTokenResponse* response) override {
    if (grpc::Status status = Next(); !status.ok()) return status;
    base::MutexLock lock(&mu_);
    v1::Token& token = tokens_.emplace_back(request->token());
    token.set_name(
        absl::StrCat(request->parent(), "/tokens/", request->token_id().empty() ? "made" : request->token_id()));
    *response->mutable_token() = token;
    response->set_secret(kSecret);
    return grpc::Status::OK;
  }
  grpc::Status ListTokens(grpc::ServerContext*, const v1::ListTokensRequest* request,
                          v1::ListTokensResponse* response) override {
    base::MutexLock lock(&mu_);
    for (const v1::Token& token : tokens_) {
      if (token.name().starts_with(request->parent() + "/")) *response->add_tokens() = token;
    }
    return grpc::Status::OK;
  }
  grpc::Status RevokeToken(grpc::ServerContext*, const v1::RevokeTokenRequest* request,
                           google::protobuf::Empty*) override {
    base::MutexLock lock(&mu_);
    const size_t revoked =
        std::erase_if(tokens_, [&](const v1::Token& token) { return token.name() == request->name(); });
    return revoked == 1 ? grpc::Status::OK : grpc::Status(grpc::StatusCode::NOT_FOUND, request->name());
  }

 private:
  mutable base::Mutex mu_;
  std::vector<v1::Token> tokens_ ABSL_GUARDED_BY(mu_);
};

// Shows what the test puts in, in pages of two, whatever the filters.
class FakeAudit final : public v1::AuditService::Service {
 public:
  void Add(const v1::AuditRecord& record) {
    base::MutexLock lock(&mu_);
    records_.push_back(record);
  }
  v1::ListAuditRecordsRequest last_request() const {
    base::MutexLock lock(&mu_);
    return last_request_;
  }

  grpc::Status ListAuditRecords(grpc::ServerContext*, const v1::ListAuditRecordsRequest* request,
                                v1::ListAuditRecordsResponse* response) override {
    base::MutexLock lock(&mu_);
    last_request_ = *request;
    size_t next = request->page_token().empty() ? 0 : std::stoul(request->page_token());
    for (const size_t end = next + static_cast<size_t>(std::min(2, request->page_size()));
         next < std::min(end, records_.size()); ++next) {
      *response->add_records() = records_[next];
    }
    if (next < records_.size()) response->set_next_page_token(std::to_string(next));
    return grpc::Status::OK;
  }

 private:
  mutable base::Mutex mu_;
  std::vector<v1::AuditRecord> records_ ABSL_GUARDED_BY(mu_);
  v1::ListAuditRecordsRequest last_request_ ABSL_GUARDED_BY(mu_);
};

class FakeServer {
 public:
  FakeServer() {
    grpc::ServerBuilder builder;
    builder.RegisterService(&jobs).RegisterService(&datasets).RegisterService(&models).RegisterService(&adapters);
    builder.RegisterService(&tokens).RegisterService(&audit);
    server_ = builder.BuildAndStart();
  }
  ~FakeServer() { server_->Shutdown(std::chrono::system_clock::now()); }
  std::shared_ptr<grpc::Channel> Channel() { return server_->InProcessChannel(grpc::ChannelArguments()); }

  FakeJobs jobs;
  FakeDatasets datasets;
  FakeModels models;
  FakeAdapters adapters;
  FakeTokens tokens;
  FakeAudit audit;

 private:
  std::unique_ptr<grpc::Server> server_;
};

}  // namespace qzo::client

#endif  // QZO_CLIENT_TESTING_FAKE_SERVER_H_
