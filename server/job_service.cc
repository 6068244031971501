#include "server/job_service.h"

#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "method/journal.h"
#include "proto/grpc_status.h"
#include "proto/spec_convert.h"
#include "server/download_reactor.h"
#include "server/errors.h"
#include "server/job_validation.h"
#include "server/live_job.h"
#include "server/resource_names.h"
#include "server/resources.h"
#include "server/unary.h"
#include "server/watch_reactor.h"

namespace qzo::server {
namespace {

constexpr size_t kMaxDisplayNameBytes = 256;
constexpr int kMaxLabels = 64;
constexpr size_t kMaxLabelBytes = 63;

absl::Status CheckDescription(const v1::FineTuningJob& job) {
  if (job.display_name().size() > kMaxDisplayNameBytes) {
    return InvalidField("job.display_name",
                        absl::StrCat(job.display_name().size(), " bytes, expected at most ", kMaxDisplayNameBytes));
  }
  if (job.labels_size() > kMaxLabels) {
    return InvalidField("job.labels", absl::StrCat(job.labels_size(), " labels, expected at most ", kMaxLabels));
  }
  for (const auto& [key, value] : job.labels()) {
    if (key.empty() || key.size() > kMaxLabelBytes || value.size() > kMaxLabelBytes) {
      return InvalidField("job.labels", absl::StrCat("'", key.substr(0, kMaxLabelBytes), "': expected a key of 1 to ",
                                                     kMaxLabelBytes, " bytes and a value of at most as many"));
    }
  }
  return absl::OkStatus();
}

}  // namespace

grpc::ServerUnaryReactor* JobService::CreateJob(grpc::CallbackServerContext* context,
                                                const v1::CreateJobRequest* request, v1::FineTuningJob* response) {
  return AnswerOn(backend_, backend_.heavy, context, request, response, [this, request] { return Create(*request); });
}

absl::StatusOr<v1::FineTuningJob> JobService::Create(const v1::CreateJobRequest& request) {
  QZO_ASSIGN_OR_RETURN(const std::string project, ParseParent(request.parent()));
  if (!request.job_id().empty()) QZO_RETURN_IF_ERROR(CheckId("job_id", request.job_id()));
  QZO_RETURN_IF_ERROR(CheckRequestId(request.request_id()));
  QZO_RETURN_IF_ERROR(CheckDescription(request.job()));
  if (!request.validate_only()) {
    const absl::StatusOr<StoredResource> earlier =
        ResourceOfRequest(backend_.store, kJobKind, project, request.request_id());
    if (earlier.ok()) return backend_.coordinator->Get(NameOf(earlier->key));
    if (!absl::IsNotFound(earlier.status())) return earlier.status();
  }
  const BlobKeeper::Hold hold(backend_.keeper);
  QZO_ASSIGN_OR_RETURN(ResolvedJob resolved,
                       ResolveJob(backend_.store, backend_.blobs, backend_.models, request.job().spec()));
  v1::FineTuningJob job;
  job.set_name(NameOf({kJobKind, project, request.job_id().empty() ? RandomId("job-") : request.job_id()}));
  job.set_display_name(request.job().display_name());
  *job.mutable_labels() = request.job().labels();
  *job.mutable_spec() = std::move(resolved.spec);
  *job.mutable_plan() = std::move(resolved.plan);
  if (request.validate_only()) return job;
  base::MutexLock lock(&opening_);
  QZO_RETURN_IF_ERROR(backend_.quota->CheckJobs(project));
  return backend_.coordinator->Create(std::move(job), resolved.facts, request.request_id());
}

template <typename Request>
grpc::ServerUnaryReactor* JobService::Steer(
    grpc::CallbackServerContext* context, const Request* request, v1::FineTuningJob* response,
    absl::StatusOr<v1::FineTuningJob> (Coordinator::*verb)(const std::string&)) {
  return AnswerOn(backend_, context, request, response,
                  [coordinator = backend_.coordinator, request, verb]() -> absl::StatusOr<v1::FineTuningJob> {
                    QZO_RETURN_IF_ERROR(ParseName(kJobKind, "name", request->name()).status());
                    return (coordinator->*verb)(request->name());
                  });
}

grpc::ServerUnaryReactor* JobService::GetJob(grpc::CallbackServerContext* context, const v1::GetJobRequest* request,
                                             v1::FineTuningJob* response) {
  return Steer(context, request, response, &Coordinator::Get);
}

grpc::ServerUnaryReactor* JobService::CancelJob(grpc::CallbackServerContext* context,
                                                const v1::CancelJobRequest* request, v1::FineTuningJob* response) {
  return Steer(context, request, response, &Coordinator::Cancel);
}

grpc::ServerUnaryReactor* JobService::PauseJob(grpc::CallbackServerContext* context, const v1::PauseJobRequest* request,
                                               v1::FineTuningJob* response) {
  return Steer(context, request, response, &Coordinator::Pause);
}

grpc::ServerUnaryReactor* JobService::ResumeJob(grpc::CallbackServerContext* context,
                                                const v1::ResumeJobRequest* request, v1::FineTuningJob* response) {
  return Steer(context, request, response, &Coordinator::Resume);
}

grpc::ServerUnaryReactor* JobService::RetryJob(grpc::CallbackServerContext* context, const v1::RetryJobRequest* request,
                                               v1::FineTuningJob* response) {
  return AnswerOn(backend_, context, request, response, [this, request] { return Retry(request->name()); });
}

absl::StatusOr<v1::FineTuningJob> JobService::Retry(const std::string& name) {
  QZO_ASSIGN_OR_RETURN(const ResourceKey key, ParseName(kJobKind, "name", name));
  const BlobKeeper::Hold hold(backend_.keeper);
  QZO_ASSIGN_OR_RETURN(const v1::FineTuningJob job, backend_.coordinator->Get(name));
  // A job that has ended does not keep its inputs from being deleted.
  const v1::JobSpec& spec = job.spec();
  const std::vector<std::pair<std::string, std::string>> inputs = {
      {spec.base_model(), spec.base_model_digest()},
      {spec.training_dataset(), spec.training_digest()},
      {spec.validation_dataset(), spec.validation_digest()},
      {spec.test_dataset(), spec.test_digest()}};
  for (const auto& [input, digest] : inputs) {
    if (digest.empty() || backend_.blobs->Exists(digest)) continue;
    return rpc::WithReason(
        absl::FailedPreconditionError(absl::StrCat("cannot retry ", name, ": ", input, " was deleted")),
        "INPUT_DELETED");
  }
  base::MutexLock lock(&opening_);
  if (IsTerminal(job.state())) QZO_RETURN_IF_ERROR(backend_.quota->CheckJobs(key.project));
  return backend_.coordinator->Retry(name);
}

grpc::ServerUnaryReactor* JobService::DeleteJob(grpc::CallbackServerContext* context,
                                                const v1::DeleteJobRequest* request,
                                                google::protobuf::Empty* response) {
  return AnswerOn(backend_, context, request, response, [this, request]() -> absl::StatusOr<google::protobuf::Empty> {
    QZO_RETURN_IF_ERROR(ParseName(kJobKind, "name", request->name()).status());
    QZO_RETURN_IF_ERROR(backend_.coordinator->Delete(request->name(), request->force()));
    return google::protobuf::Empty();
  });
}

grpc::ServerUnaryReactor* JobService::ListJobs(grpc::CallbackServerContext* context, const v1::ListJobsRequest* request,
                                               v1::ListJobsResponse* response) {
  return AnswerOn(backend_, context, request, response, [this, request] { return List(*request); });
}

absl::StatusOr<v1::ListJobsResponse> JobService::List(const v1::ListJobsRequest& request) {
  const std::vector<int32_t> states(request.states().begin(), request.states().end());
  QZO_ASSIGN_OR_RETURN(const ResourcePage page, ListResources(backend_.store, kJobKind, request.parent(),
                                                              request.page_size(), request.page_token(), states));
  v1::ListJobsResponse response;
  for (const StoredResource& resource : page.resources) {
    absl::StatusOr<v1::FineTuningJob> job = backend_.coordinator->Get(NameOf(resource.key));
    if (absl::IsNotFound(job.status())) continue;  // deleted since the page was read
    QZO_RETURN_IF_ERROR(job.status());
    *response.add_jobs() = *std::move(job);
  }
  response.set_next_page_token(page.next_page_token);
  return response;
}

grpc::ServerWriteReactor<v1::WatchJobResponse>* JobService::WatchJob(grpc::CallbackServerContext* context,
                                                                     const v1::WatchJobRequest* request) {
  return new WatchReactor(backend_, context, *request);
}

grpc::ServerUnaryReactor* JobService::ListJobEvents(grpc::CallbackServerContext* context,
                                                    const v1::ListJobEventsRequest* request,
                                                    v1::ListJobEventsResponse* response) {
  return AnswerOn(backend_, context, request, response, [this, request] { return ListEvents(*request); });
}

absl::StatusOr<v1::ListJobEventsResponse> JobService::ListEvents(const v1::ListJobEventsRequest& request) {
  QZO_ASSIGN_OR_RETURN(const StoredResource job, FindResource(backend_.store, kJobKind, "parent", request.parent()));
  QZO_ASSIGN_OR_RETURN(const int size, PageSize(request.page_size()));
  uint64_t from = 1;
  if (!request.page_token().empty()) {
    QZO_ASSIGN_OR_RETURN(const std::string position, DecodePageToken(request.page_token()));
    if (!absl::SimpleAtoi(position, &from)) return InvalidField("page_token", "not a token of an earlier answer");
  }
  QZO_ASSIGN_OR_RETURN(const std::vector<StoredEvent> stored, backend_.store->ReadEvents(job.uid, from, size + 1));
  v1::ListJobEventsResponse response;
  for (const StoredEvent& event : stored) {
    if (response.events_size() == size) {
      response.set_next_page_token(EncodePageToken(absl::StrCat(event.sequence)));
      break;
    }
    if (!response.add_events()->ParseFromString(event.body)) {
      return absl::DataLossError(absl::StrCat(request.parent(), ": event ", event.sequence, " is damaged"));
    }
  }
  return response;
}

grpc::ServerUnaryReactor* JobService::ListEvaluations(grpc::CallbackServerContext* context,
                                                      const v1::ListEvaluationsRequest* request,
                                                      v1::ListEvaluationsResponse* response) {
  return AnswerOn(backend_, context, request, response, [this, request] { return ListEvals(*request); });
}

absl::StatusOr<v1::ListEvaluationsResponse> JobService::ListEvals(const v1::ListEvaluationsRequest& request) {
  QZO_ASSIGN_OR_RETURN(const StoredResource job, FindResource(backend_.store, kJobKind, "parent", request.parent()));
  QZO_ASSIGN_OR_RETURN(const std::vector<StoredEvaluation> stored, backend_.store->ReadEvaluations(job.uid));
  v1::ListEvaluationsResponse response;
  for (const StoredEvaluation& evaluation : stored) {
    QZO_ASSIGN_OR_RETURN(const core::EvaluationRecord record, DecodeEvaluation(evaluation));
    if (record.split == core::Split::kTrain) continue;  // not of a whole split: it is there for its digest
    *response.add_evaluations() = rpc::ToProto(record.sums, record.step, SplitName(record.split));
  }
  return response;
}

grpc::ServerWriteReactor<v1::Chunk>* JobService::DownloadJournal(grpc::CallbackServerContext* context,
                                                                 const v1::DownloadJournalRequest* request) {
  return new DownloadReactor(backend_, context, *request, [this, name = request->name()]() -> absl::StatusOr<Payload> {
    QZO_ASSIGN_OR_RETURN(const StoredResource job, FindResource(backend_.store, kJobKind, "name", name));
    QZO_ASSIGN_OR_RETURN(const method::JournalChunk journal, backend_.store->ReadJournal(job.uid, 0, job.next_step));
    Payload payload;
    if (!journal.records.empty()) payload.text = method::EncodeChunk(journal);
    return payload;
  });
}

}  // namespace qzo::server
