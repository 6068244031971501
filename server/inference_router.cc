#include "server/inference_router.h"

#include <tuple>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "proto/grpc_status.h"

namespace qzo::server {
namespace {

constexpr absl::Duration kRetryDelay = absl::Seconds(1);

bool IsLast(const v1::ServingMessage& message) {
  return !message.has_text() || message.text().finish() != v1::GenerateResponse::FINISH_UNSPECIFIED;
}

}  // namespace

uint64_t InferenceRouter::AddWorker(const v1::ServingHello& hello, Send send) {
  base::MutexLock lock(&mu_);
  workers_[next_] = {hello.worker(), hello.slots(), std::move(send)};
  return next_++;
}

void InferenceRouter::Retire(uint64_t worker) {
  base::MutexLock lock(&mu_);
  if (const auto found = workers_.find(worker); found != workers_.end()) found->second.retired = true;
}

void InferenceRouter::RemoveWorker(uint64_t worker) {
  base::MutexLock lock(&mu_);
  const auto found = workers_.find(worker);
  if (found == workers_.end()) return;
  found->second.retired = true;
  const std::set<uint64_t> open = found->second.requests;
  for (const uint64_t request : open) {
    PlaceAgain(request, absl::UnavailableError(absl::StrCat(found->second.name, ", which was answering, is gone")));
  }
  workers_.erase(found);
}

void InferenceRouter::Receive(uint64_t worker, const v1::ServingMessage& message) {
  base::MutexLock lock(&mu_);
  const auto found = requests_.find(message.request());
  if (found == requests_.end() || found->second.worker != worker) return;  // cancelled, or another worker's by now
  Request& request = found->second;
  if (message.has_error() && !request.answered) {
    if (const absl::Status status = rpc::FromProto(message.error()); absl::IsUnavailable(status))
      return PlaceAgain(message.request(), status);
  }
  request.answered = true;
  request.sink(message);
  if (IsLast(message)) End(message.request());
}

absl::StatusOr<uint64_t> InferenceRouter::Begin(v1::ServingRequest request, Sink sink) {
  base::MutexLock lock(&mu_);
  const uint64_t id = next_++;
  request.set_request(id);
  Request& added = requests_[id] = {std::move(request), std::move(sink)};
  const absl::Status placed = Place(&added);
  if (placed.ok()) return id;
  requests_.erase(id);
  return placed;
}

void InferenceRouter::Cancel(uint64_t request) {
  base::MutexLock lock(&mu_);
  const auto found = requests_.find(request);
  if (found == requests_.end()) return;
  v1::ServingRequest cancel;
  cancel.set_request(request);
  cancel.mutable_cancel();
  workers_.at(found->second.worker).send(cancel);
  End(request);
}

absl::Status InferenceRouter::Place(Request* request) {
  bool any = false;
  const auto order = [&](const Worker& worker) {
    return std::tuple(worker.model != request->request.model_digest(), worker.requests.size());
  };
  auto best = workers_.end();
  for (auto at = workers_.begin(); at != workers_.end(); ++at) {
    if (at->second.retired || request->tried.contains(at->first)) continue;
    any = true;
    if (at->second.requests.size() >= at->second.slots) continue;
    if (best == workers_.end() || order(at->second) < order(best->second)) best = at;
  }
  if (!any) return rpc::WithReason(absl::UnavailableError("no worker is attached that could serve"), "NO_WORKER");
  if (best == workers_.end()) {
    return rpc::WithRetryDelay(
        rpc::WithReason(absl::ResourceExhaustedError("every worker answers as many requests as it may at once"),
                        "SERVING_FULL"),
        kRetryDelay);
  }
  request->worker = best->first;
  request->tried.insert(best->first);
  best->second.model = request->request.model_digest();
  best->second.requests.insert(request->request.request());
  best->second.send(request->request);
  return absl::OkStatus();
}

void InferenceRouter::PlaceAgain(uint64_t id, const absl::Status& why) {
  Request& request = requests_.at(id);
  workers_.at(request.worker).requests.erase(id);
  if (!request.answered && Place(&request).ok()) return;
  v1::ServingMessage message;
  message.set_request(id);
  *message.mutable_error() = rpc::ToProto(why);
  request.sink(message);
  requests_.erase(id);
}

void InferenceRouter::End(uint64_t id) {
  const auto found = requests_.find(id);
  workers_.at(found->second.worker).requests.erase(id);
  requests_.erase(found);
}

}  // namespace qzo::server
