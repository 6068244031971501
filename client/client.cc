#include "client/client.h"

#include <algorithm>
#include <random>
#include <utility>

#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "base/status_macros.h"
#include "proto/grpc_status.h"

namespace qzo::client {
namespace {

constexpr int kPageSize = 1000;
// A watch is renewed this often, so that a server that hangs with its connection open is noticed.
constexpr absl::Duration kStreamLife = absl::Minutes(5);

// What a broken connection can look like; Watch goes on after these.
bool MayBeTransport(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kUnavailable:
    case absl::StatusCode::kCancelled:
    case absl::StatusCode::kDeadlineExceeded:
    case absl::StatusCode::kInternal:
    case absl::StatusCode::kUnknown:
      return true;
    default:
      return false;
  }
}

// Every element of a list, page by page. `call` gets the request of a page; `field` names its elements.
template <typename Element, typename Response, typename Request, typename Call, typename Field>
absl::StatusOr<std::vector<Element>> AllPages(Request request, const Call& call, const Field& field) {
  std::vector<Element> all;
  request.set_page_size(kPageSize);
  do {
    QZO_ASSIGN_OR_RETURN(Response page, call(request));
    for (Element& element : *field(&page)) all.push_back(std::move(element));
    request.set_page_token(page.next_page_token());
  } while (!request.page_token().empty());
  return all;
}

template <typename Request>
Request Named(const std::string& name) {
  Request request;
  request.set_name(name);
  return request;
}

template <typename Request>
Request Under(const std::string& parent) {
  Request request;
  request.set_parent(parent);
  return request;
}

}  // namespace

absl::StatusOr<std::shared_ptr<grpc::Channel>> Dial(const rpc::Endpoint& endpoint) {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, 30'000);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 10'000);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  arguments.SetInt(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  // The default waits up to two minutes before it dials again, and every call fails meanwhile.
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 5'000);
  return rpc::Dial(endpoint, arguments);
}

std::string NewRequestId() {
  std::random_device device;
  std::uniform_int_distribution<uint32_t> word;
  const uint32_t a = word(device), b = word(device), c = word(device), d = word(device);
  return absl::StrFormat("%08x-%04x-4%03x-%04x-%04x%08x", a, b >> 16, b & 0xFFF, (c >> 16 & 0x3FFF) | 0x8000,
                         c & 0xFFFF, d);
}

bool HasEnded(v1::FineTuningJob::State state) {
  return state == v1::FineTuningJob::SUCCEEDED || state == v1::FineTuningJob::FAILED ||
         state == v1::FineTuningJob::CANCELLED;
}

Client::Client(const std::shared_ptr<grpc::Channel>& channel, ClientOptions options)
    : options_(std::move(options)),
      jobs_(v1::JobService::NewStub(channel)),
      datasets_(v1::DatasetService::NewStub(channel)),
      models_(v1::ModelService::NewStub(channel)),
      adapters_(v1::AdapterService::NewStub(channel)),
      workers_(v1::WorkerService::NewStub(channel)),
      tokens_(v1::TokenService::NewStub(channel)),
      audit_(v1::AuditService::NewStub(channel)),
      inference_(v1::InferenceService::NewStub(channel)) {}

void Client::Arm(grpc::ClientContext* context, absl::Duration timeout) const {
  context->set_deadline(absl::ToChronoTime(absl::Now() + timeout));
}

bool Client::Pause(int attempt, absl::Duration at_least) {
  const absl::Duration wait =
      std::max(at_least, std::min(options_.max_backoff, options_.first_backoff * (1 << std::min(attempt, 16))));
  if (options_.pause) return options_.pause(wait);
  if (options_.interrupt != nullptr) return options_.interrupt->Sleep(wait);
  absl::SleepFor(wait);
  return true;
}

absl::Status Client::Attempts(bool repeatable, const std::function<absl::Status()>& call) {
  for (int attempt = 0;; ++attempt) {
    absl::Status status = call();
    if (options_.interrupt != nullptr && options_.interrupt->triggered()) return absl::CancelledError("interrupted");
    const std::optional<absl::Duration> refused_for = rpc::RetryDelayOf(status);
    if (!refused_for && !(absl::IsUnavailable(status) && repeatable)) return status;
    if (attempt + 1 >= options_.attempts) return status;
    if (!Pause(attempt, refused_for.value_or(absl::ZeroDuration()))) return absl::CancelledError("interrupted");
  }
}

template <typename Stub, typename Request, typename Response>
absl::StatusOr<Response> Client::Unary(Stub* stub,
                                       grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&, Response*),
                                       const Request& request, bool repeatable) {
  Response response;
  QZO_RETURN_IF_ERROR(Attempts(repeatable, [&] {
    grpc::ClientContext context;
    // CreateJob tokenizes every row of its datasets before it answers.
    Arm(&context, std::is_same_v<Request, v1::CreateJobRequest> ? options_.transfer_timeout : options_.call_timeout);
    const Interrupt::Scope scope(options_.interrupt, &context);
    return rpc::FromGrpc((stub->*method)(&context, request, &response));
  }));
  return response;
}

absl::StatusOr<v1::FineTuningJob> Client::CreateJob(const v1::CreateJobRequest& request) {
  return Unary(jobs_.get(), &v1::JobService::Stub::CreateJob, request,
               !request.request_id().empty() || request.validate_only());
}

absl::StatusOr<v1::FineTuningJob> Client::GetJob(const std::string& name) {
  return Unary(jobs_.get(), &v1::JobService::Stub::GetJob, Named<v1::GetJobRequest>(name), true);
}

absl::StatusOr<std::vector<v1::FineTuningJob>> Client::ListJobs(const std::string& parent) {
  return AllPages<v1::FineTuningJob, v1::ListJobsResponse>(
      Under<v1::ListJobsRequest>(parent),
      [this](const auto& request) { return Unary(jobs_.get(), &v1::JobService::Stub::ListJobs, request, true); },
      [](auto* page) { return page->mutable_jobs(); });
}

absl::Status Client::DeleteJob(const std::string& name, bool force) {
  auto request = Named<v1::DeleteJobRequest>(name);
  request.set_force(force);
  return Unary(jobs_.get(), &v1::JobService::Stub::DeleteJob, request, false).status();
}

absl::StatusOr<v1::FineTuningJob> Client::CancelJob(const std::string& name) {
  return Unary(jobs_.get(), &v1::JobService::Stub::CancelJob, Named<v1::CancelJobRequest>(name), false);
}

absl::StatusOr<v1::FineTuningJob> Client::PauseJob(const std::string& name) {
  return Unary(jobs_.get(), &v1::JobService::Stub::PauseJob, Named<v1::PauseJobRequest>(name), false);
}

absl::StatusOr<v1::FineTuningJob> Client::ResumeJob(const std::string& name) {
  return Unary(jobs_.get(), &v1::JobService::Stub::ResumeJob, Named<v1::ResumeJobRequest>(name), false);
}

absl::StatusOr<v1::FineTuningJob> Client::RetryJob(const std::string& name) {
  return Unary(jobs_.get(), &v1::JobService::Stub::RetryJob, Named<v1::RetryJobRequest>(name), false);
}

absl::StatusOr<std::vector<v1::JobEvent>> Client::ListJobEvents(const std::string& job) {
  return AllPages<v1::JobEvent, v1::ListJobEventsResponse>(
      Under<v1::ListJobEventsRequest>(job),
      [this](const auto& request) { return Unary(jobs_.get(), &v1::JobService::Stub::ListJobEvents, request, true); },
      [](auto* page) { return page->mutable_events(); });
}

absl::StatusOr<std::vector<v1::Evaluation>> Client::ListEvaluations(const std::string& job) {
  QZO_ASSIGN_OR_RETURN(
      const v1::ListEvaluationsResponse response,
      Unary(jobs_.get(), &v1::JobService::Stub::ListEvaluations, Under<v1::ListEvaluationsRequest>(job), true));
  return std::vector<v1::Evaluation>(response.evaluations().begin(), response.evaluations().end());
}

absl::StatusOr<v1::FineTuningJob> Client::Watch(const std::string& name, uint64_t from_sequence, absl::Duration timeout,
                                                const std::function<bool(const v1::WatchJobResponse&)>& on_item) {
  v1::WatchJobRequest request = Named<v1::WatchJobRequest>(name);
  request.set_from_sequence(std::max<uint64_t>(from_sequence, 1));
  const absl::Duration end = options_.clock->Monotonic() + timeout;
  absl::Duration last_heard = options_.clock->Monotonic();
  int failures = 0;
  for (;;) {
    grpc::ClientContext context;
    Arm(&context, std::min(kStreamLife, end - options_.clock->Monotonic()));
    const Interrupt::Scope scope(options_.interrupt, &context);
    const auto stream = jobs_->WatchJob(&context, request);
    bool stopped = false;
    for (v1::WatchJobResponse item; !stopped && stream->Read(&item);) {
      failures = 0;
      last_heard = options_.clock->Monotonic();
      if (item.has_event()) {
        if (item.event().sequence() < request.from_sequence())
          item.clear_event();
        else
          request.set_from_sequence(item.event().sequence() + 1);
      }
      stopped = !on_item(item);
    }
    if (stopped) context.TryCancel();
    absl::Status status = rpc::FromGrpc(stream->Finish());
    if (options_.interrupt != nullptr && options_.interrupt->triggered()) return absl::CancelledError("interrupted");
    if (stopped || status.ok()) {
      absl::StatusOr<v1::FineTuningJob> job = GetJob(name);
      if (job.ok() ? stopped || HasEnded(job->state()) : !absl::IsUnavailable(job.status())) return job;
      status =
          job.ok() ? absl::UnavailableError("the server closed the stream before the job had ended") : job.status();
    }
    const std::optional<absl::Duration> refused_for = rpc::RetryDelayOf(status);
    if (!MayBeTransport(status) && !refused_for) return status;
    const absl::Duration now = options_.clock->Monotonic();
    if (now >= end)
      return absl::DeadlineExceededError(absl::StrFormat("gave up after %s", absl::FormatDuration(timeout)));
    if (now - last_heard >= options_.watch_patience) return absl::UnavailableError(status.message());
    if (!Pause(failures++, refused_for.value_or(absl::ZeroDuration()))) return absl::CancelledError("interrupted");
  }
}

absl::StatusOr<v1::Dataset> Client::GetDataset(const std::string& name) {
  return Unary(datasets_.get(), &v1::DatasetService::Stub::GetDataset, Named<v1::GetDatasetRequest>(name), true);
}

absl::StatusOr<std::vector<v1::Dataset>> Client::ListDatasets(const std::string& parent) {
  return AllPages<v1::Dataset, v1::ListDatasetsResponse>(
      Under<v1::ListDatasetsRequest>(parent),
      [this](const auto& request) {
        return Unary(datasets_.get(), &v1::DatasetService::Stub::ListDatasets, request, true);
      },
      [](auto* page) { return page->mutable_datasets(); });
}

absl::Status Client::DeleteDataset(const std::string& name) {
  return Unary(datasets_.get(), &v1::DatasetService::Stub::DeleteDataset, Named<v1::DeleteDatasetRequest>(name), false)
      .status();
}

absl::StatusOr<v1::Model> Client::GetModel(const std::string& name) {
  return Unary(models_.get(), &v1::ModelService::Stub::GetModel, Named<v1::GetModelRequest>(name), true);
}

absl::StatusOr<std::vector<v1::Model>> Client::ListModels(const std::string& parent) {
  return AllPages<v1::Model, v1::ListModelsResponse>(
      Under<v1::ListModelsRequest>(parent),
      [this](const auto& request) { return Unary(models_.get(), &v1::ModelService::Stub::ListModels, request, true); },
      [](auto* page) { return page->mutable_models(); });
}

absl::Status Client::DeleteModel(const std::string& name) {
  return Unary(models_.get(), &v1::ModelService::Stub::DeleteModel, Named<v1::DeleteModelRequest>(name), false)
      .status();
}

absl::StatusOr<v1::Adapter> Client::GetAdapter(const std::string& name) {
  return Unary(adapters_.get(), &v1::AdapterService::Stub::GetAdapter, Named<v1::GetAdapterRequest>(name), true);
}

absl::StatusOr<std::vector<v1::Adapter>> Client::ListAdapters(const std::string& parent) {
  return AllPages<v1::Adapter, v1::ListAdaptersResponse>(
      Under<v1::ListAdaptersRequest>(parent),
      [this](const auto& request) {
        return Unary(adapters_.get(), &v1::AdapterService::Stub::ListAdapters, request, true);
      },
      [](auto* page) { return page->mutable_adapters(); });
}

absl::Status Client::DeleteAdapter(const std::string& name) {
  return Unary(adapters_.get(), &v1::AdapterService::Stub::DeleteAdapter, Named<v1::DeleteAdapterRequest>(name), false)
      .status();
}

absl::StatusOr<v1::Worker> Client::GetWorker(const std::string& name) {
  return Unary(workers_.get(), &v1::WorkerService::Stub::GetWorker, Named<v1::GetWorkerRequest>(name), true);
}

absl::StatusOr<std::vector<v1::Worker>> Client::ListWorkers() {
  return AllPages<v1::Worker, v1::ListWorkersResponse>(
      v1::ListWorkersRequest(),
      [this](const auto& request) {
        return Unary(workers_.get(), &v1::WorkerService::Stub::ListWorkers, request, true);
      },
      [](auto* page) { return page->mutable_workers(); });
}

absl::StatusOr<v1::Worker> Client::DrainWorker(const std::string& name) {
  return Unary(workers_.get(), &v1::WorkerService::Stub::DrainWorker, Named<v1::DrainWorkerRequest>(name), true);
}

absl::Status Client::Generate(const v1::GenerateRequest& request,
                              const std::function<void(const v1::GenerateResponse&)>& on_piece) {
  grpc::ClientContext context;
  Arm(&context, options_.transfer_timeout);
  const Interrupt::Scope scope(options_.interrupt, &context);
  const auto stream = inference_->Generate(&context, request);
  for (v1::GenerateResponse piece; stream->Read(&piece);) on_piece(piece);
  return rpc::FromGrpc(stream->Finish());
}

absl::StatusOr<v1::CreateTokenResponse> Client::CreateToken(const v1::CreateTokenRequest& request) {
  return Unary(tokens_.get(), &v1::TokenService::Stub::CreateToken, request, false);
}

absl::StatusOr<v1::Token> Client::GetToken(const std::string& name) {
  return Unary(tokens_.get(), &v1::TokenService::Stub::GetToken, Named<v1::GetTokenRequest>(name), true);
}

absl::StatusOr<std::vector<v1::Token>> Client::ListTokens(const std::string& parent) {
  return AllPages<v1::Token, v1::ListTokensResponse>(
      Under<v1::ListTokensRequest>(parent),
      [this](const auto& request) { return Unary(tokens_.get(), &v1::TokenService::Stub::ListTokens, request, true); },
      [](auto* page) { return page->mutable_tokens(); });
}

absl::Status Client::RevokeToken(const std::string& name) {
  return Unary(tokens_.get(), &v1::TokenService::Stub::RevokeToken, Named<v1::RevokeTokenRequest>(name), false)
      .status();
}

absl::StatusOr<std::vector<v1::AuditRecord>> Client::ListAuditRecords(v1::ListAuditRecordsRequest request, int limit) {
  std::vector<v1::AuditRecord> records;
  do {
    request.set_page_size(std::min(kPageSize, limit - static_cast<int>(records.size())));
    QZO_ASSIGN_OR_RETURN(v1::ListAuditRecordsResponse page,
                         Unary(audit_.get(), &v1::AuditService::Stub::ListAuditRecords, request, true));
    for (v1::AuditRecord& record : *page.mutable_records()) records.push_back(std::move(record));
    request.set_page_token(page.next_page_token());
  } while (!request.page_token().empty() && static_cast<int>(records.size()) < limit);
  return records;
}

}  // namespace qzo::client
