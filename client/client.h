// A typed client of the API: deadlines, retries, uploads and downloads, and watching that survives broken connections.
//
// Only UNAVAILABLE is tried again, and only where a repetition cannot do harm: reads, and creates with a request_id;
// and whatever the server refused with a time to wait. Statuses are those of the server with their details
// (proto/grpc_status.h reads them). Thread-safe.
#ifndef QZO_CLIENT_CLIENT_H_
#define QZO_CLIENT_CLIENT_H_

#include <grpcpp/channel.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "base/fs.h"
#include "client/interrupt.h"
#include "proto/dial.h"
#include "qzo/v1/adapter.grpc.pb.h"
#include "qzo/v1/audit.grpc.pb.h"
#include "qzo/v1/dataset.grpc.pb.h"
#include "qzo/v1/inference.grpc.pb.h"
#include "qzo/v1/job.grpc.pb.h"
#include "qzo/v1/model.grpc.pb.h"
#include "qzo/v1/token.grpc.pb.h"
#include "qzo/v1/worker.grpc.pb.h"

namespace qzo::client {

// A channel whose pings notice a dead peer within 40 s.
absl::StatusOr<std::shared_ptr<grpc::Channel>> Dial(const rpc::Endpoint& endpoint);

// A random UUID.
std::string NewRequestId();

// SUCCEEDED, FAILED or CANCELLED.
bool HasEnded(v1::FineTuningJob::State state);

struct ClientOptions {
  absl::Duration call_timeout = absl::Seconds(10);
  // Of an upload or download, and one second more for every MiB that it is known to have.
  absl::Duration transfer_timeout = absl::Minutes(10);
  int attempts = 4;
  absl::Duration first_backoff = absl::Milliseconds(200);  // doubles, up to
  absl::Duration max_backoff = absl::Seconds(5);
  absl::Duration watch_patience = absl::Minutes(5);  // how long Watch goes on trying without hearing anything
  base::FileSystem* fs = base::RealFileSystem();
  const base::Clock* clock = base::SystemClock();
  Interrupt* interrupt = nullptr;  // optional
  // Waits between attempts; false = interrupted. Default: the interrupt's Sleep.
  std::function<bool(absl::Duration)> pause;
};

// Bytes that have gone over, and all there are (0 = not known).
using TransferProgress = std::function<void(uint64_t done, uint64_t total)>;

struct UploadOptions {
  std::string id;  // optional; the server names it by its digest otherwise
  std::string display_name;
  std::string request_id;        // optional; made here otherwise
  std::optional<v1::Task> task;  // datasets, with model: every row is rendered and tokenized
  std::string model;
  TransferProgress progress;
};

struct UploadFile {
  std::string name;  // in the model's list
  std::string path;
};

class Client {
 public:
  Client(const std::shared_ptr<grpc::Channel>& channel, ClientOptions options);

  absl::StatusOr<v1::FineTuningJob> CreateJob(const v1::CreateJobRequest& request);
  absl::StatusOr<v1::FineTuningJob> GetJob(const std::string& name);
  absl::StatusOr<std::vector<v1::FineTuningJob>> ListJobs(const std::string& parent);  // all pages
  absl::Status DeleteJob(const std::string& name, bool force);
  absl::StatusOr<v1::FineTuningJob> CancelJob(const std::string& name);
  absl::StatusOr<v1::FineTuningJob> PauseJob(const std::string& name);
  absl::StatusOr<v1::FineTuningJob> ResumeJob(const std::string& name);
  absl::StatusOr<v1::FineTuningJob> RetryJob(const std::string& name);
  absl::StatusOr<std::vector<v1::JobEvent>> ListJobEvents(const std::string& job);
  absl::StatusOr<std::vector<v1::Evaluation>> ListEvaluations(const std::string& job);

  // Hands every item from `from_sequence` on to `on_item`, each event once and in order, over as many connections as it
  // takes, until the job has ended or `on_item` returns false. Returns the job as GetJob then sees it, never a guess
  // from the stream. Possible errors: CANCELLED (interrupted), DEADLINE_EXCEEDED (after `timeout`), UNAVAILABLE
  // (patience ran out), the server's.
  absl::StatusOr<v1::FineTuningJob> Watch(const std::string& name, uint64_t from_sequence, absl::Duration timeout,
                                          const std::function<bool(const v1::WatchJobResponse&)>& on_item);

  absl::StatusOr<v1::Dataset> UploadDataset(const std::string& parent, const std::string& path,
                                            const UploadOptions& options);
  absl::StatusOr<v1::Dataset> GetDataset(const std::string& name);
  absl::StatusOr<std::vector<v1::Dataset>> ListDatasets(const std::string& parent);
  absl::Status DeleteDataset(const std::string& name);

  // Sends the digest first and the file only when the server does not hold it.
  absl::StatusOr<v1::Model> UploadModel(const std::string& parent, const std::string& path,
                                        const UploadOptions& options);
  // A model in several files, in the order of their names: sends those that no model of the project has yet.
  absl::StatusOr<v1::Model> UploadModel(const std::string& parent, const std::vector<UploadFile>& files,
                                        const UploadOptions& options);
  absl::StatusOr<v1::Model> GetModel(const std::string& name);
  absl::StatusOr<std::vector<v1::Model>> ListModels(const std::string& parent);
  absl::Status DeleteModel(const std::string& name);

  absl::StatusOr<v1::Adapter> GetAdapter(const std::string& name);
  absl::StatusOr<std::vector<v1::Adapter>> ListAdapters(const std::string& parent);
  absl::Status DeleteAdapter(const std::string& name);

  // Downloads appear at `path` whole and durable, or not at all.
  // DATA_LOSS when what arrives is not `model.digest`. Of a model in several files `path` is a directory: they appear
  // there one by one, those that are there already stay, and last their list, SHA256SUMS.
  absl::Status DownloadModel(const v1::Model& model, const std::string& path, const TransferProgress& progress);
  absl::Status DownloadJournal(const std::string& job, const std::string& path);
  // `name` is an adapter or a job; `step` is for jobs only.
  absl::StatusOr<std::string> DownloadAdapter(const std::string& name, std::optional<uint32_t> step);

  absl::StatusOr<v1::Worker> GetWorker(const std::string& name);
  absl::StatusOr<std::vector<v1::Worker>> ListWorkers();
  absl::StatusOr<v1::Worker> DrainWorker(const std::string& name);

  // Hands every piece to `on_piece`. Not repeated.
  absl::Status Generate(const v1::GenerateRequest& request,
                        const std::function<void(const v1::GenerateResponse&)>& on_piece);

  absl::StatusOr<v1::CreateTokenResponse> CreateToken(const v1::CreateTokenRequest& request);
  absl::StatusOr<v1::Token> GetToken(const std::string& name);
  absl::StatusOr<std::vector<v1::Token>> ListTokens(const std::string& parent);
  absl::Status RevokeToken(const std::string& name);

  // The newest `limit` records that fit.
  absl::StatusOr<std::vector<v1::AuditRecord>> ListAuditRecords(v1::ListAuditRecordsRequest request, int limit);

 private:
  absl::Status Attempts(bool repeatable, const std::function<absl::Status()>& call);
  template <typename Stub, typename Request, typename Response>
  absl::StatusOr<Response> Unary(Stub* stub,
                                 grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&, Response*),
                                 const Request& request, bool repeatable);
  // Names ("" where there is but one file) and bytes.
  using Parts = std::vector<std::pair<std::string, std::string_view>>;
  template <typename Response, typename Request, typename Open>
  absl::StatusOr<Response> SendFiles(const Open& open, const Request& header, const Parts& parts,
                                     const TransferProgress& progress);
  absl::Status DownloadModelFile(const v1::Model& model, const v1::Model::File& file, const std::string& path,
                                 const TransferProgress& progress);
  // `open` starts a stream of chunks; `restart` begins what `sink` writes anew, before every attempt.
  template <typename Open>
  absl::Status Receive(const Open& open, int64_t bytes, const std::function<absl::Status()>& restart,
                       const std::function<absl::Status(std::string_view)>& sink);
  absl::Duration TransferTimeout(int64_t bytes) const;
  void Arm(grpc::ClientContext* context, absl::Duration timeout) const;
  bool Pause(int attempt, absl::Duration at_least = {});

  const ClientOptions options_;
  const std::unique_ptr<v1::JobService::Stub> jobs_;
  const std::unique_ptr<v1::DatasetService::Stub> datasets_;
  const std::unique_ptr<v1::ModelService::Stub> models_;
  const std::unique_ptr<v1::AdapterService::Stub> adapters_;
  const std::unique_ptr<v1::WorkerService::Stub> workers_;
  const std::unique_ptr<v1::TokenService::Stub> tokens_;
  const std::unique_ptr<v1::AuditService::Stub> audit_;
  const std::unique_ptr<v1::InferenceService::Stub> inference_;
};

}  // namespace qzo::client

#endif  // QZO_CLIENT_CLIENT_H_
