// JobService (qzo/v1/job.proto): checks requests, asks the coordinator or the store, maps the answer. Thread-safe.
#ifndef QZO_SERVER_JOB_SERVICE_H_
#define QZO_SERVER_JOB_SERVICE_H_

#include "absl/status/statusor.h"
#include "base/mutex.h"
#include "qzo/v1/job.grpc.pb.h"
#include "server/backend.h"

namespace qzo::server {

class JobService final : public v1::JobService::CallbackService {
 public:
  explicit JobService(const Backend& backend) : backend_(backend) {}

  grpc::ServerUnaryReactor* CreateJob(grpc::CallbackServerContext* context, const v1::CreateJobRequest* request,
                                      v1::FineTuningJob* response) override;
  grpc::ServerUnaryReactor* GetJob(grpc::CallbackServerContext* context, const v1::GetJobRequest* request,
                                   v1::FineTuningJob* response) override;
  grpc::ServerUnaryReactor* ListJobs(grpc::CallbackServerContext* context, const v1::ListJobsRequest* request,
                                     v1::ListJobsResponse* response) override;
  grpc::ServerUnaryReactor* DeleteJob(grpc::CallbackServerContext* context, const v1::DeleteJobRequest* request,
                                      google::protobuf::Empty* response) override;
  grpc::ServerUnaryReactor* CancelJob(grpc::CallbackServerContext* context, const v1::CancelJobRequest* request,
                                      v1::FineTuningJob* response) override;
  grpc::ServerUnaryReactor* PauseJob(grpc::CallbackServerContext* context, const v1::PauseJobRequest* request,
                                     v1::FineTuningJob* response) override;
  grpc::ServerUnaryReactor* ResumeJob(grpc::CallbackServerContext* context, const v1::ResumeJobRequest* request,
                                      v1::FineTuningJob* response) override;
  grpc::ServerUnaryReactor* RetryJob(grpc::CallbackServerContext* context, const v1::RetryJobRequest* request,
                                     v1::FineTuningJob* response) override;
  grpc::ServerWriteReactor<v1::WatchJobResponse>* WatchJob(grpc::CallbackServerContext* context,
                                                           const v1::WatchJobRequest* request) override;
  grpc::ServerUnaryReactor* ListJobEvents(grpc::CallbackServerContext* context, const v1::ListJobEventsRequest* request,
                                          v1::ListJobEventsResponse* response) override;
  grpc::ServerUnaryReactor* ListEvaluations(grpc::CallbackServerContext* context,
                                            const v1::ListEvaluationsRequest* request,
                                            v1::ListEvaluationsResponse* response) override;
  grpc::ServerWriteReactor<v1::Chunk>* DownloadJournal(grpc::CallbackServerContext* context,
                                                       const v1::DownloadJournalRequest* request) override;

 private:
  absl::StatusOr<v1::FineTuningJob> Create(const v1::CreateJobRequest& request);
  absl::StatusOr<v1::ListJobsResponse> List(const v1::ListJobsRequest& request);
  absl::StatusOr<v1::FineTuningJob> Retry(const std::string& name);
  absl::StatusOr<v1::ListJobEventsResponse> ListEvents(const v1::ListJobEventsRequest& request);
  absl::StatusOr<v1::ListEvaluationsResponse> ListEvals(const v1::ListEvaluationsRequest& request);
  // CancelJob and its like: the name is checked, then `verb` is asked for.
  template <typename Request>
  grpc::ServerUnaryReactor* Steer(grpc::CallbackServerContext* context, const Request* request,
                                  v1::FineTuningJob* response,
                                  absl::StatusOr<v1::FineTuningJob> (Coordinator::*verb)(const std::string&));

  const Backend backend_;
  base::Mutex opening_;  // held from the count of open jobs until there is one more
};

}  // namespace qzo::server

#endif  // QZO_SERVER_JOB_SERVICE_H_
