#include "server/page/site.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "base/status_macros.h"
#include "proto/grpc_status.h"
#include "server/tokens.h"

namespace qzo::server {
namespace {

constexpr absl::Duration kDeadline = absl::Seconds(10);
constexpr int kJobsShown = 25;
constexpr size_t kCurvesShown = 8;  // of the list: each takes a walk through the job's events
constexpr size_t kEventsShown = 100;
constexpr int kEventPage = 1000;
constexpr int kMaxEventPages = 8;
constexpr char kCookie[] = "qzo_token";

template <typename Request, typename Response, typename Stub>
absl::StatusOr<Response> Call(const std::string& secret, Stub* stub,
                              grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&, Response*),
                              const Request& request) {
  grpc::ClientContext context;
  context.set_deadline(absl::ToChronoTime(absl::Now() + kDeadline));
  if (!secret.empty()) context.AddMetadata("authorization", "Bearer " + secret);
  Response response;
  const grpc::Status status = (stub->*method)(&context, request, &response);
  if (!status.ok()) return rpc::FromGrpc(status);
  return response;
}

// What metadata can hold; "" otherwise, which opens nothing.
std::string CleanSecret(absl::string_view text) {
  const absl::string_view secret = absl::StripAsciiWhitespace(text);
  const bool clean = std::all_of(secret.begin(), secret.end(), [](char c) { return c > ' ' && c < '\x7F'; });
  return clean ? std::string(secret) : "";
}

std::string SecretOf(const PageRequest& request) {
  if (absl::StartsWithIgnoreCase(request.authorization, "bearer ")) {
    return CleanSecret(absl::string_view(request.authorization).substr(7));
  }
  for (absl::string_view cookie : absl::StrSplit(request.cookie, ';')) {
    cookie = absl::StripAsciiWhitespace(cookie);
    if (absl::ConsumePrefix(&cookie, absl::StrCat(kCookie, "="))) return CleanSecret(cookie);
  }
  return "";
}

int HttpCode(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kInvalidArgument:
      return 400;
    case absl::StatusCode::kUnauthenticated:
      return 401;
    case absl::StatusCode::kPermissionDenied:
      return 403;
    case absl::StatusCode::kNotFound:
      return 404;
    case absl::StatusCode::kFailedPrecondition:
      return 409;
    case absl::StatusCode::kResourceExhausted:
      return 429;
    case absl::StatusCode::kUnavailable:
    case absl::StatusCode::kDeadlineExceeded:
      return 503;
    default:
      return 500;
  }
}

PageAnswer GoTo(const char* path, const std::string& cookie, bool secure) {
  return {303,
          "text/plain; charset=utf-8",
          "",
          {{"Location", path},
           {"Set-Cookie", absl::StrCat(kCookie, "=", cookie, "; Path=/; HttpOnly; SameSite=Strict",
                                       secure ? "; Secure" : "", cookie.empty() ? "; Max-Age=0" : "")}}};
}

Curves CurvesOf(const v1::FineTuningJob& job, const std::vector<v1::JobEvent>& events) {
  Curves curves{.total_steps = job.progress().total_steps(), .training = {}, .validation = {}};
  for (const v1::JobEvent& event : events) {
    if (event.has_step()) curves.training.push_back({event.step().step(), event.step().train_loss()});
    if (event.has_evaluation() && event.evaluation().split() == "validation") {
      curves.validation.push_back({event.evaluation().step(), event.evaluation().loss()});
    }
  }
  return curves;
}

bool HasEnded(const v1::FineTuningJob& job) { return job.has_end_time(); }

}  // namespace

Site::Site(Options options, const std::shared_ptr<grpc::Channel>& channel, const base::Clock* clock)
    : options_(std::move(options)),
      clock_(clock),
      jobs_(v1::JobService::NewStub(channel)),
      adapters_(v1::AdapterService::NewStub(channel)),
      workers_(v1::WorkerService::NewStub(channel)) {}

PageAnswer Site::Answer(const PageRequest& request) {
  if (request.method == "POST") {
    if (request.path == "/sign-in") return GoTo("/", CleanSecret(request.token), options_.secure);
    if (request.path == "/sign-out") return GoTo("/", "", options_.secure);
    return {405, "text/plain; charset=utf-8", "this page is for reading\n", {{"Allow", "GET"}}};
  }
  if (request.path == "/style.css") return {200, "text/css; charset=utf-8", kStyleSheet};
  if (request.path == "/refresh.js") return {200, "text/javascript; charset=utf-8", kRefreshScript};
  const std::string secret = SecretOf(request);
  absl::StatusOr<PageAnswer> shown = Show(request, secret);
  if (shown.ok()) return *std::move(shown);
  const absl::Status& status = shown.status();
  PageAnswer answer{.code = HttpCode(status)};
  if (absl::IsUnauthenticated(status)) {
    answer.headers.emplace_back("WWW-Authenticate", "Bearer");
    const Html body =
        SignInBody(secret.empty() ? "This server wants to know who you are." : std::string(status.message()));
    answer.body = Page("Sign in", body, false);
  } else {
    answer.body = Page("Error", ErrorBody(status), !request.cookie.empty());
  }
  return answer;
}

absl::StatusOr<PageAnswer> Site::Show(const PageRequest& request, const std::string& secret) {
  const absl::Time now = clock_->Now();
  const bool signed_in = absl::StrContains(request.cookie, kCookie);
  if (request.path == "/") {
    QZO_ASSIGN_OR_RETURN(const JobsData view, ReadJobs(secret, request.page));
    return PageAnswer{.body = Page("Jobs", JobsBody(view, now), signed_in)};
  }
  if (request.path == "/workers") {
    QZO_ASSIGN_OR_RETURN(const std::vector<v1::Worker> workers, ReadWorkers(secret));
    return PageAnswer{.body = Page("Workers", WorkersBody(workers, now), signed_in)};
  }
  const std::vector<std::string> parts = absl::StrSplit(request.path, '/');  // "" projects p jobs j [adapter]
  const bool of_job = parts.size() >= 5 && parts[1] == "projects" && parts[3] == "jobs";
  if (of_job && parts.size() == 5) {
    QZO_ASSIGN_OR_RETURN(const JobData view, ReadJob(secret, request.path.substr(1)));
    return PageAnswer{.body = Page(parts[4], JobBody(view, now), signed_in)};
  }
  if (of_job && parts.size() == 6 && parts[5] == "adapter") {
    return Download(secret, absl::StrCat("projects/", parts[2], "/jobs/", parts[4]));
  }
  return absl::NotFoundError(absl::StrCat("nothing is at ", request.path));
}

absl::StatusOr<JobsData> Site::ReadJobs(const std::string& secret, const std::string& page) {
  v1::ListJobsRequest request;
  request.set_parent(absl::StrCat("projects/", options_.project_of(secret)));
  request.set_page_size(kJobsShown);
  request.set_page_token(page);
  QZO_ASSIGN_OR_RETURN(const v1::ListJobsResponse listed,
                       Call(secret, jobs_.get(), &v1::JobService::Stub::ListJobs, request));
  JobsData view{
      .jobs = {listed.jobs().begin(), listed.jobs().end()}, .curves = {}, .next_page_token = listed.next_page_token()};
  for (const v1::FineTuningJob& job : view.jobs) {
    if (HasEnded(job) || job.progress().step() == 0 || view.curves.size() == kCurvesShown) continue;
    const absl::StatusOr<std::vector<v1::JobEvent>> events = ReadEvents(secret, job.name());
    if (absl::IsNotFound(events.status())) continue;  // deleted meanwhile
    QZO_RETURN_IF_ERROR(events.status());
    view.curves[job.name()] = CurvesOf(job, *events);
  }
  return view;
}

absl::StatusOr<JobData> Site::ReadJob(const std::string& secret, const std::string& name) {
  JobData view;
  v1::GetJobRequest get;
  get.set_name(name);
  QZO_ASSIGN_OR_RETURN(view.job, Call(secret, jobs_.get(), &v1::JobService::Stub::GetJob, get));
  v1::ListEvaluationsRequest list;
  list.set_parent(name);
  QZO_ASSIGN_OR_RETURN(const auto evaluations, Call(secret, jobs_.get(), &v1::JobService::Stub::ListEvaluations, list));
  view.evaluations.assign(evaluations.evaluations().begin(), evaluations.evaluations().end());
  QZO_ASSIGN_OR_RETURN(view.events, ReadEvents(secret, name));
  view.curves = CurvesOf(view.job, view.events);
  if (view.events.size() > kEventsShown) view.events.erase(view.events.begin(), view.events.end() - kEventsShown);
  QZO_ASSIGN_OR_RETURN(view.workers, ReadWorkers(secret));
  std::erase_if(view.workers, [&](const v1::Worker& worker) {
    return std::find(worker.jobs().begin(), worker.jobs().end(), name) == worker.jobs().end();
  });
  return view;
}

absl::StatusOr<std::vector<v1::JobEvent>> Site::ReadEvents(const std::string& secret, const std::string& job) {
  v1::ListJobEventsRequest request;
  request.set_parent(job);
  request.set_page_size(kEventPage);
  std::vector<v1::JobEvent> events;
  for (int page = 0; page < kMaxEventPages; ++page) {
    QZO_ASSIGN_OR_RETURN(const v1::ListJobEventsResponse answer,
                         Call(secret, jobs_.get(), &v1::JobService::Stub::ListJobEvents, request));
    events.insert(events.end(), answer.events().begin(), answer.events().end());
    if (answer.next_page_token().empty()) break;
    request.set_page_token(answer.next_page_token());
  }
  return events;
}

absl::StatusOr<std::vector<v1::Worker>> Site::ReadWorkers(const std::string& secret) {
  v1::ListWorkersRequest request;
  request.set_page_size(kEventPage);
  QZO_ASSIGN_OR_RETURN(const v1::ListWorkersResponse answer,
                       Call(secret, workers_.get(), &v1::WorkerService::Stub::ListWorkers, request));
  return std::vector<v1::Worker>(answer.workers().begin(), answer.workers().end());
}

absl::StatusOr<PageAnswer> Site::Download(const std::string& secret, const std::string& job) {
  v1::GetJobRequest get;
  get.set_name(job);
  QZO_ASSIGN_OR_RETURN(const v1::FineTuningJob found, Call(secret, jobs_.get(), &v1::JobService::Stub::GetJob, get));
  v1::DownloadAdapterRequest request;
  request.set_name(found.adapter().empty() ? job : found.adapter());
  grpc::ClientContext context;
  context.set_deadline(absl::ToChronoTime(absl::Now() + kDeadline));
  if (!secret.empty()) context.AddMetadata("authorization", "Bearer " + secret);
  const auto reader = adapters_->DownloadAdapter(&context, request);
  PageAnswer answer{.type = "application/octet-stream"};
  for (v1::Chunk chunk; reader->Read(&chunk);) answer.body += chunk.data();
  if (const grpc::Status status = reader->Finish(); !status.ok()) return rpc::FromGrpc(status);
  // An id, checked by the call above: letters, digits and '-'.
  answer.headers.emplace_back(
      "Content-Disposition", absl::StrCat("attachment; filename=\"", job.substr(job.rfind('/') + 1), ".safetensors\""));
  return answer;
}

}  // namespace qzo::server
