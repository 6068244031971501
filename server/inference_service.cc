#include "server/inference_service.h"

#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "proto/grpc_status.h"
#include "qzo/v1/model.pb.h"
#include "qzo/v1/stored.pb.h"
#include "server/errors.h"
#include "server/resource_names.h"
#include "server/resources.h"
#include "server/stall_guard.h"

namespace qzo::server {
namespace {

constexpr uint32_t kMaxTokens = 4096;
constexpr int kMaxRows = 256;
constexpr size_t kMaxQueuedRequests = 1024;

// The digests that model or adapter stand for.
template <typename Request>
absl::StatusOr<v1::ServingRequest> Resolve(const Backend& backend, const Request& request) {
  QZO_RETURN_IF_ERROR(ParseParent(request.parent()).status());
  if (request.model().empty() == request.adapter().empty())
    return InvalidField("adapter", "expected a model or an adapter, one of them");
  v1::ServingRequest serving;
  if (!request.model().empty()) {
    QZO_ASSIGN_OR_RETURN(const auto model, GetMessage<v1::Model>(backend.store, kModelKind, "model", request.model()));
    serving.set_model_digest(model.digest());
    return serving;
  }
  QZO_ASSIGN_OR_RETURN(const auto stored,
                       GetMessage<v1::StoredAdapter>(backend.store, kAdapterKind, "adapter", request.adapter()));
  if (!backend.blobs->Exists(stored.adapter().base_model_digest())) {
    return rpc::WithReason(
        absl::FailedPreconditionError(absl::StrCat("the base model of ", request.adapter(), " was deleted")),
        "INPUT_DELETED");
  }
  serving.set_model_digest(stored.adapter().base_model_digest());
  serving.set_adapter_blob(stored.blob());
  return serving;
}

absl::StatusOr<v1::ServingRequest> ResolveGenerate(const Backend& backend, const v1::GenerateRequest& request) {
  const v1::SamplingOptions& sampling = request.sampling();
  if (sampling.max_tokens() > kMaxTokens) {
    return InvalidField("sampling.max_tokens", absl::StrCat(sampling.max_tokens(), ", expected at most ", kMaxTokens));
  }
  if (request.input_case() == v1::GenerateRequest::INPUT_NOT_SET)
    return InvalidField("prompt", "expected a prompt, a conversation or a row");
  QZO_ASSIGN_OR_RETURN(v1::ServingRequest serving, Resolve(backend, request));
  *serving.mutable_generate() = request;
  return serving;
}

absl::StatusOr<v1::ServingRequest> ResolveScore(const Backend& backend, const v1::ScoreRequest& request) {
  if (request.rows().empty() || request.rows_size() > kMaxRows) {
    return InvalidField("rows", absl::StrCat(request.rows_size(), " rows, expected 1 to ", kMaxRows));
  }
  QZO_ASSIGN_OR_RETURN(v1::ServingRequest serving, Resolve(backend, request));
  *serving.mutable_score() = request;
  return serving;
}

// Sends texts as they come. Deletes itself. Its lock is never held while the router is called.
class GenerateReactor final : public grpc::ServerWriteReactor<v1::GenerateResponse> {
 public:
  GenerateReactor(const Backend& backend, InferenceRouter* router, grpc::CallbackServerContext* context,
                  const v1::GenerateRequest& request)
      : backend_(backend), router_(router) {
    absl::StatusOr<std::shared_ptr<Admission>> admission =
        backend_.access->Admit(context, v1::GenerateRequest::descriptor(), &request);
    if (!admission.ok()) {
      Finish(rpc::ToGrpc(admission.status()));
      return;
    }
    admission_ = *std::move(admission);
    guard_.emplace(backend_.stall, [context] { context->TryCancel(); });
    stream_ = std::make_unique<OpenStreams::Entry>(
        backend_.streams, OpenStreams::Stream{.caller = admission_->caller(),
                                              .context = context,
                                              .end = [this](const absl::Status& why) { EndWith(why); },
                                              .endless = true});
    backend_.calls->Run([this, request] { Begin(request); });
  }

  void OnWriteDone(bool ok) override {
    guard_->Moved();
    base::MutexLock lock(&mu_);
    writing_ = false;
    queue_.pop_front();
    if (!ok && !over_) over_ = absl::CancelledError("the connection broke");
    Proceed();
  }
  void OnCancel() override { EndWith(absl::CancelledError("cancelled by the client")); }
  void OnDone() override { delete this; }

 private:
  void Begin(const v1::GenerateRequest& request) {
    absl::StatusOr<v1::ServingRequest> serving = ResolveGenerate(backend_, request);
    const absl::StatusOr<uint64_t> begun =
        serving.ok() ? router_->Begin(*std::move(serving), [this](const auto& message) { Take(message); })
                     : absl::StatusOr<uint64_t>(serving.status());
    base::MutexLock lock(&mu_);
    if (begun.ok()) {
      request_ = *begun;
    } else {
      over_ = begun.status();
    }
    begun_ = true;
    Proceed();
  }

  void Take(const v1::ServingMessage& message) {
    base::MutexLock lock(&mu_);
    if (message.has_text()) {
      queue_.push_back(message.text());
      if (message.text().finish() != v1::GenerateResponse::FINISH_UNSPECIFIED && !over_) over_ = absl::OkStatus();
    } else if (!over_) {
      over_ = message.has_error() ? rpc::FromProto(message.error())
                                  : absl::InternalError("the worker answered something else than was asked");
    }
    Proceed();
  }

  void EndWith(const absl::Status& status) {
    base::MutexLock lock(&mu_);
    if (!over_ || over_->ok()) over_ = status;
    Proceed();
  }

  // Starts the next write or, at the end, what ends the call: nothing else happens until that has begun.
  void Proceed() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    if (!begun_ || writing_ || ending_) return;
    if (over_ && !over_->ok()) queue_.clear();
    if (!queue_.empty()) {
      writing_ = true;
      guard_->Wait();
      StartWrite(&queue_.front());
    } else if (over_) {
      ending_ = true;
      backend_.calls->Run([this, status = *over_] { End(status); });
    }
  }

  void End(const absl::Status& status) {
    if (request_) router_->Cancel(*request_);
    stream_.reset();
    guard_.reset();
    admission_->Note(status);
    admission_.reset();
    Finish(rpc::ToGrpc(status));
  }

  const Backend backend_;
  InferenceRouter* const router_;
  std::shared_ptr<Admission> admission_;
  std::optional<StallGuard> guard_;
  std::unique_ptr<OpenStreams::Entry> stream_;
  std::optional<uint64_t> request_;  // set before begun_

  base::Mutex mu_;
  bool begun_ ABSL_GUARDED_BY(mu_) = false;
  bool writing_ ABSL_GUARDED_BY(mu_) = false;
  bool ending_ ABSL_GUARDED_BY(mu_) = false;
  std::deque<v1::GenerateResponse> queue_ ABSL_GUARDED_BY(mu_);  // the first one is being written when writing_
  std::optional<absl::Status> over_ ABSL_GUARDED_BY(mu_);
};

struct ScoreCall {
  grpc::ServerUnaryReactor* reactor;
  v1::ScoreResponse* response;
  Executor* executor;
  std::shared_ptr<Admission> admission;

  // Once; quick.
  void Finish(const absl::StatusOr<v1::ScoreResponse>& result) {
    if (result.ok()) *response = *result;
    admission->Note(result.status());
    executor->Run([finished = reactor, last = std::move(admission), status = result.status()]() mutable {
      last.reset();  // before the context goes
      finished->Finish(rpc::ToGrpc(status));
    });
  }
};

// A worker's stream. Deletes itself.
class ServeReactor final : public grpc::ServerBidiReactor<v1::ServingMessage, v1::ServingRequest> {
 public:
  ServeReactor(const Backend& backend, InferenceRouter* router, grpc::CallbackServerContext* context)
      : router_(router), context_(context) {
    absl::StatusOr<std::shared_ptr<Admission>> admission =
        backend.access->Admit(context, v1::ServingMessage::descriptor(), nullptr);
    if (!admission.ok()) {
      Finish(rpc::ToGrpc(admission.status()));
      return;
    }
    admission_ = *std::move(admission);
    stream_ = std::make_unique<OpenStreams::Entry>(
        backend.streams, OpenStreams::Stream{.caller = admission_->caller(),
                                             .context = context,
                                             .end = [this](const absl::Status& why) { Close(why); },
                                             .endless = true,
                                             .carries_calls = true});
    StartRead(&incoming_);
  }

  void OnReadDone(bool ok) override {
    const absl::Status status = ok ? Receive() : absl::OkStatus();
    if (!ok || !status.ok()) Close(status);
    absl::Status end;
    {
      base::MutexLock lock(&mu_);
      if (!closed_) return StartRead(&incoming_);  // under the lock: no read after Finish
      end = *closed_;
    }
    if (worker_) router_->RemoveWorker(*worker_);
    admission_->Note(end);
    stream_.reset();
  }
  void OnWriteDone(bool ok) override {
    base::MutexLock lock(&mu_);
    writing_ = false;
    queue_.pop_front();
    if (!ok && !closed_) closed_ = absl::CancelledError("the connection broke");
    Proceed();
  }
  void OnDone() override { delete this; }

 private:
  absl::Status Receive() {
    if (!worker_) {
      if (!incoming_.has_hello() || incoming_.hello().slots() == 0) {
        return rpc::WithReason(
            absl::InvalidArgumentError("the first message of a stream must be ServingHello, with slots"), "BAD_ATTACH");
      }
      admission_->set_resource(absl::StrCat("workers/", incoming_.hello().worker()));
      worker_ = router_->AddWorker(incoming_.hello(), [this](const auto& request) { Send(request); });
    } else if (incoming_.has_leaving()) {
      router_->Retire(*worker_);
    } else {
      router_->Receive(*worker_, incoming_);
    }
    return absl::OkStatus();
  }

  void Send(const v1::ServingRequest& request) {
    base::MutexLock lock(&mu_);
    if (closed_) return;
    if (queue_.size() >= kMaxQueuedRequests) {
      closed_ =
          rpc::WithReason(absl::ResourceExhaustedError("the worker does not read what it is sent"), "WORKER_TOO_SLOW");
      context_->TryCancel();  // the write in flight would wait for ever
      return;
    }
    queue_.push_back(request);
    Proceed();
  }

  void Close(const absl::Status& status) {
    base::MutexLock lock(&mu_);
    if (!closed_) closed_ = status;
    Proceed();
  }

  void Proceed() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    if (writing_ || finished_) return;
    if (closed_) {
      finished_ = true;
      Finish(rpc::ToGrpc(*closed_));
    } else if (!queue_.empty()) {
      writing_ = true;
      StartWrite(&queue_.front());
    }
  }

  InferenceRouter* const router_;
  grpc::CallbackServerContext* const context_;
  std::shared_ptr<Admission> admission_;
  std::unique_ptr<OpenStreams::Entry> stream_;
  v1::ServingMessage incoming_;     // OnReadDone's, which is called once at a time
  std::optional<uint64_t> worker_;  // likewise

  base::Mutex mu_;
  std::deque<v1::ServingRequest> queue_ ABSL_GUARDED_BY(mu_);  // the first one is being written when writing_
  bool writing_ ABSL_GUARDED_BY(mu_) = false;
  bool finished_ ABSL_GUARDED_BY(mu_) = false;
  std::optional<absl::Status> closed_ ABSL_GUARDED_BY(mu_);
};

}  // namespace

grpc::ServerWriteReactor<v1::GenerateResponse>* InferenceService::Generate(grpc::CallbackServerContext* context,
                                                                           const v1::GenerateRequest* request) {
  return new GenerateReactor(backend_, router_, context, *request);
}

grpc::ServerUnaryReactor* InferenceService::Score(grpc::CallbackServerContext* context, const v1::ScoreRequest* request,
                                                  v1::ScoreResponse* response) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  absl::StatusOr<std::shared_ptr<Admission>> admitted =
      backend_.access->Admit(context, v1::ScoreRequest::descriptor(), request);
  if (!admitted.ok()) {
    reactor->Finish(rpc::ToGrpc(admitted.status()));
    return reactor;
  }
  const auto call = std::make_shared<ScoreCall>(ScoreCall{reactor, response, backend_.calls, *std::move(admitted)});
  backend_.calls->Run([this, request, call] {
    absl::StatusOr<v1::ServingRequest> serving = ResolveScore(backend_, *request);
    if (!serving.ok()) return call->Finish(serving.status());
    const absl::StatusOr<uint64_t> begun =
        router_->Begin(*std::move(serving), [call](const v1::ServingMessage& message) {
          if (message.has_scores()) return call->Finish(message.scores());
          call->Finish(message.has_error() ? rpc::FromProto(message.error())
                                           : absl::InternalError("the worker answered something else than was asked"));
        });
    if (!begun.ok()) call->Finish(begun.status());
  });
  return reactor;
}

grpc::ServerBidiReactor<v1::ServingMessage, v1::ServingRequest>* ServingService::Serve(
    grpc::CallbackServerContext* context) {
  return new ServeReactor(backend_, router_, context);
}

}  // namespace qzo::server
