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
    Read();
  }

  void OnReadDone(bool ok) override {
    guard_->Moved();
    if (ok) {
      calls_->Run([this] { Take(); });
    } else {
      heavy_->Run(
          [this] { Conclude(begun_ ? absl::OkStatus() : InvalidField("header", "missing, expected it first")); });
    }
  }
  void OnDone() override { delete this; }

 private:
  void Read() {
    guard_->Wait();
    this->StartRead(&request_);
  }

  void Take() {
    const absl::StatusOr<bool> complete = Handle();
    if (!complete.ok()) {
      heavy_->Run([this, status = complete.status()] { Conclude(status); });
    } else {
      complete_ = *complete;
      Read();
    }
  }

  absl::StatusOr<bool> Handle() {
    if (request_.has_header()) {
      if (std::exchange(begun_, true)) return InvalidField("header", "sent twice");
      QZO_RETURN_IF_ERROR(admission_->CheckHeader(request_.header()));
      return receiver_->Begin(request_.header(), admission_->caller());
    }
    if (!begun_) return InvalidField("header", "missing, expected it first");
    // Nothing more is needed, but a sender that is in the middle of writing hears an answer only after it has ended.
    if (complete_) return true;
    if constexpr (requires { request_.has_file(); }) {
      if (request_.has_file()) {
        QZO_RETURN_IF_ERROR(receiver_->BeginFile(request_.file()));
        return false;
      }
    }
    if (request_.data().size() > kMaxChunkBytes) {
      return InvalidField("data", absl::StrCat(request_.data().size(), " bytes, expected at most ", kMaxChunkBytes));
    }
    QZO_RETURN_IF_ERROR(receiver_->Append(request_.data()));
    return false;
  }

  void Conclude(absl::Status status) {
    const auto aborted = [this] { return context_->IsCancelled(); };
    if (status.ok() && aborted()) status = absl::CancelledError("the upload was broken off");
    if (status.ok()) {
      absl::StatusOr<Response> response = receiver_->Finish(aborted);
      if (response.ok()) *response_ = *std::move(response);
      status = response.status();
    }
    receiver_.reset();  // whoever gets the answer finds nothing left behind
    guard_.reset();
    admission_->Note(status, response_);
    admission_.reset();
    this->Finish(rpc::ToGrpc(status));
  }

  grpc::CallbackServerContext* const context_;
  std::shared_ptr<Admission> admission_;
  std::optional<StallGuard> guard_;
  Executor* const calls_;
  Executor* const heavy_;
  Response* const response_;
  std::unique_ptr<Receiver> receiver_;
  Request request_;
  bool begun_ = false;
  bool complete_ = false;
};

}  // namespace qzo::server

#endif  // QZO_SERVER_UPLOAD_REACTOR_H_
