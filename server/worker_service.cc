#include "server/worker_service.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "server/resource_names.h"
#include "server/resources.h"
#include "server/unary.h"

namespace qzo::server {
namespace {

// Workers serve every project; the names of jobs are their projects' own.
void HideOtherProjects(const Identity& caller, v1::Worker* worker) {
  if (caller.project == kEveryProject) return;
  auto* jobs = worker->mutable_jobs();
  const std::string own = absl::StrCat("projects/", caller.project, "/");
  jobs->erase(std::remove_if(jobs->begin(), jobs->end(), [&](const auto& job) { return !job.starts_with(own); }),
              jobs->end());
}

}  // namespace

grpc::ServerUnaryReactor* WorkerService::GetWorker(grpc::CallbackServerContext* context,
                                                   const v1::GetWorkerRequest* request, v1::Worker* response) {
  return AnswerOn(backend_, context, request, response,
                  [this, request](const Identity& caller) -> absl::StatusOr<v1::Worker> {
                    QZO_RETURN_IF_ERROR(ParseWorker(request->name()).status());
                    QZO_ASSIGN_OR_RETURN(v1::Worker worker, backend_.coordinator->GetWorker(request->name()));
                    HideOtherProjects(caller, &worker);
                    return worker;
                  });
}

grpc::ServerUnaryReactor* WorkerService::ListWorkers(grpc::CallbackServerContext* context,
                                                     const v1::ListWorkersRequest* request,
                                                     v1::ListWorkersResponse* response) {
  return AnswerOn(backend_, context, request, response,
                  [this, request](const Identity& caller) -> absl::StatusOr<v1::ListWorkersResponse> {
                    QZO_ASSIGN_OR_RETURN(const int size, PageSize(request->page_size()));
                    std::string after;  // the last name of the page before
                    if (!request->page_token().empty()) {
                      QZO_ASSIGN_OR_RETURN(after, DecodePageToken(request->page_token()));
                    }
                    std::vector<v1::Worker> workers = backend_.coordinator->ListWorkers();
                    std::sort(workers.begin(), workers.end(),
                              [](const auto& a, const auto& b) { return a.name() < b.name(); });
                    v1::ListWorkersResponse answer;
                    for (v1::Worker& worker : workers) {
                      if (worker.name() <= after) continue;
                      if (answer.workers_size() == size) {
                        answer.set_next_page_token(EncodePageToken(answer.workers(size - 1).name()));
                        break;
                      }
                      HideOtherProjects(caller, &worker);
                      *answer.add_workers() = std::move(worker);
                    }
                    return answer;
                  });
}

grpc::ServerUnaryReactor* WorkerService::DrainWorker(grpc::CallbackServerContext* context,
                                                     const v1::DrainWorkerRequest* request, v1::Worker* response) {
  return AnswerOn(backend_, context, request, response, [this, request]() -> absl::StatusOr<v1::Worker> {
    QZO_RETURN_IF_ERROR(ParseWorker(request->name()).status());
    return backend_.coordinator->Drain(request->name());
  });
}

}  // namespace qzo::server
