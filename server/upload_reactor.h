// A client-streaming call that carries files: a header, then the data in chunks of at most 1 MiB; where there are
// several, each after its name.
#ifndef QZO_SERVER_UPLOAD_REACTOR_H_
#define QZO_SERVER_UPLOAD_REACTOR_H_

#include <grpcpp/server_context.h>
#include <grpcpp/support/server_callback.h>

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "base/mutex.h"
#include "base/status_macros.h"
#include "proto/grpc_status.h"
#include "server/backend.h"
#include "server/errors.h"
#include "server/stall_guard.h"

namespace qzo::server {

inline constexpr size_t kMaxChunkBytes = size_t{1} << 20;

// What a service makes of an upload. Calls come one at a time, from any thread. Destroying it leaves nothing of an
// upload that Finish did not accept.
template <typename Header, typename Response>
class UploadReceiver {
 public:
  virtual ~UploadReceiver() = default;
  // True when the data need not follow: Finish comes next.
  virtual absl::StatusOr<bool> Begin(const Header& header, const Identity& caller) = 0;
  // The data to come are those of the file of this name.
  virtual absl::Status BeginFile(const std::string& name) {
    return InvalidField("file", absl::StrCat("'", name.substr(0, 80), "' was sent, expected data without a name"));
  }
  virtual absl::Status Append(std::string_view data) = 0;
  // `aborted` tells whether the sender has gone away: to be asked right before the upload is made visible, because a
  // broken stream may look like a finished one for a moment.
  virtual absl::StatusOr<Response> Finish(const std::function<bool()>& aborted) = 0;
};

// Deletes itself. Messages are handled on backend.calls, the end of the upload on backend.heavy; neither thread waits
// for the sender, who is cut off when nothing comes for backend.stall.
template <typename Request, typename Response>
class UploadReactor final : public grpc::ServerReadReactor<Request> {
 public:
  using Receiver = UploadReceiver<typename Request::Header, Response>;

  UploadReactor(const Backend& backend, grpc::CallbackServerContext* context, Response* response,
                std::unique_ptr<Receiver> receiver)
      : context_(context),
        calls_(backend.calls),
        heavy_(backend.heavy),
        response_(response),
        receiver_(std::move(receiver)) {
    absl::StatusOr<std::shared_ptr<Admission>> admission =
        backend.access->Admit(context, Request::descriptor(), nullptr);
    if (!admission.ok()) {
      this->Finish(rpc::ToGrpc(admission.status()));
      return;
    }
    admission_ = *std::move(admission);
    guard_.emplace(backend.stall, [context] { context->TryCancel(); });
    stream_ = std::make_unique<OpenStreams::Entry>(
        backend.streams,
        OpenStreams::Stream{
            .caller = admission_->caller(), .context = context, .end = [this](const absl::Status& why) { Cut(why); }});
    Next(absl::OkStatus());
  }

  void OnReadDone(bool ok) override {
    {
      base::MutexLock lock(&mu_);
      reading_ = false;
      if (concluding_) return;  // cut off meanwhile
      guard_->Moved();
      concluding_ = !ok;
    }
    if (ok) {
      calls_->Run([this] { Next(Handle()); });
    } else {
      heavy_->Run(
          [this] { Conclude(begun_ ? absl::OkStatus() : InvalidField("header", "missing, expected it first")); });
    }
  }
  void OnDone() override { delete this; }

 private:
  // Reads on, or ends the upload for what went wrong with the last message or meanwhile.
  void Next(absl::Status status) {
    {
      base::MutexLock lock(&mu_);
      status.Update(cut_);
      if (status.ok()) {
        reading_ = true;
        guard_->Wait();
        this->StartRead(&request_);
        return;
      }
      concluding_ = true;
    }
    heavy_->Run([this, status] { Conclude(status); });
  }

  // Whoever sends nothing is not waited for. An upload that has begun to end does so.
  void Cut(const absl::Status& why) {
    base::MutexLock lock(&mu_);
    if (concluding_) return;
    cut_ = why;
    if (!reading_) return;
    concluding_ = true;
    heavy_->Run([this, why] { Conclude(why); });
  }

  absl::Status Handle() {
    if (request_.has_header()) {
      if (std::exchange(begun_, true)) return InvalidField("header", "sent twice");
      QZO_RETURN_IF_ERROR(admission_->CheckHeader(request_.header()));
      QZO_ASSIGN_OR_RETURN(complete_, receiver_->Begin(request_.header(), admission_->caller()));
      return absl::OkStatus();
    }
    if (!begun_) return InvalidField("header", "missing, expected it first");
    // Nothing more is needed, but a sender that is in the middle of writing hears an answer only after it has ended.
    if (complete_) return absl::OkStatus();
    if constexpr (requires { request_.has_file(); }) {
      if (request_.has_file()) return receiver_->BeginFile(request_.file());
    }
    if (request_.data().size() > kMaxChunkBytes) {
      return InvalidField("data", absl::StrCat(request_.data().size(), " bytes, expected at most ", kMaxChunkBytes));
    }
    return receiver_->Append(request_.data());
  }

  void Conclude(absl::Status status) {
    const auto aborted = [this] { return context_->IsCancelled(); };
    if (status.ok() && aborted()) status = absl::CancelledError("the upload was broken off");
    if (status.ok()) {
      absl::StatusOr<Response> response = receiver_->Finish(aborted);
      status = response.status();
      if (status.ok()) *response_ = std::move(*response);
    }
    receiver_.reset();  // whoever gets the answer finds nothing left behind
    stream_.reset();
    guard_.reset();
    admission_->Conclude(status, *response_);
    admission_.reset();
    this->Finish(rpc::ToGrpc(status));
  }

  grpc::CallbackServerContext* const context_;
  Executor* const calls_;
  Executor* const heavy_;
  Response* const response_;

  // Of whoever handles a message or the end.
  std::shared_ptr<Admission> admission_;
  std::optional<StallGuard> guard_;
  std::unique_ptr<OpenStreams::Entry> stream_;
  std::unique_ptr<Receiver> receiver_;
  Request request_;
  bool begun_ = false;
  bool complete_ = false;

  base::Mutex mu_;
  bool reading_ ABSL_GUARDED_BY(mu_) = false;
  bool concluding_ ABSL_GUARDED_BY(mu_) = false;  // Conclude runs, or will
  absl::Status cut_ ABSL_GUARDED_BY(mu_);
};

}  // namespace qzo::server

#endif  // QZO_SERVER_UPLOAD_REACTOR_H_
