#include "server/work_reactor.h"

#include <utility>

#include "proto/grpc_status.h"

namespace qzo::server {
namespace {

// Far more than a worker that reads ever has: steps wait for its answers. OpenJob with a journal is the largest
// message.
constexpr size_t kMaxQueuedMessages = 4096;
constexpr size_t kMaxQueuedBytes = size_t{256} << 20;
constexpr int kLongestPauseTicks = 10;

}  // namespace

WorkReactor::WorkReactor(const Backend& backend, grpc::CallbackServerContext* context,
                         std::shared_ptr<Admission> admission)
    : backend_(backend), context_(context), admission_(std::move(admission)) {
  stream_ = std::make_unique<OpenStreams::Entry>(
      backend_.streams, OpenStreams::Stream{.caller = admission_->caller(),
                                            .context = context,
                                            .end = [this](const absl::Status& why) { Close(why); },
                                            .endless = true});
  StartRead(&incoming_);
}

void WorkReactor::Send(const v1::CoordinatorMessage& message) {
  base::MutexLock lock(&mu_);
  if (closed_) return;
  if (queue_.size() >= kMaxQueuedMessages || queued_bytes_ >= kMaxQueuedBytes) {
    closed_ =
        rpc::WithReason(absl::ResourceExhaustedError("the worker does not read what it is sent"), "WORKER_TOO_SLOW");
    ResumeReading();
    context_->TryCancel();  // the write in flight would wait for ever
    return;
  }
  queue_.push_back(message);
  queued_bytes_ += message.ByteSizeLong();
  Proceed();
}

void WorkReactor::Close(const absl::Status& status) {
  base::MutexLock lock(&mu_);
  if (closed_) return;
  closed_ = status;
  ResumeReading();
  Proceed();
}

void WorkReactor::Tick() {
  base::MutexLock lock(&mu_);
  if (paused_ticks_ > 1) {
    --paused_ticks_;
  } else {
    ResumeReading();
  }
}

void WorkReactor::OnCancel() {
  base::MutexLock lock(&mu_);
  ResumeReading();
}

void WorkReactor::PauseReading() { paused_ticks_ = kLongestPauseTicks; }

void WorkReactor::ResumeReading() {
  if (std::exchange(paused_ticks_, 0) > 0) StartRead(&incoming_);
}

void WorkReactor::Proceed() {
  if (writing_ || finished_) return;
  if (closed_ && !closed_->ok()) queue_.clear();
  if (!queue_.empty()) {
    writing_ = true;
    written_since_read_ = true;
    StartWrite(&queue_.front());
  } else if (closed_) {
    finished_ = true;
    Finish(rpc::ToGrpc(*closed_));
  }
}

void WorkReactor::OnWriteDone(bool ok) {
  base::MutexLock lock(&mu_);
  writing_ = false;
  queued_bytes_ -= queue_.front().ByteSizeLong();
  queue_.pop_front();
  // The read that is outstanding fails, too, and does the rest.
  if (!ok && !closed_) closed_ = absl::CancelledError("the connection broke");
  ResumeReading();
  Proceed();
}

void WorkReactor::OnReadDone(bool ok) {
  {
    base::MutexLock lock(&mu_);
    written_since_read_ = false;
  }
  if (ok) {
    if (const absl::Status status = Receive(); !status.ok()) Close(status);
  } else {
    const bool broken = context_->IsCancelled() && !leaving_;
    Close(broken ? absl::CancelledError("the connection broke") : absl::OkStatus());
  }
  absl::Status end;
  {
    base::MutexLock lock(&mu_);
    if (!closed_) {  // under the lock: no read after Finish
      return incoming_.has_results() && !written_since_read_ ? PauseReading() : StartRead(&incoming_);
    }
    end = *closed_;
  }
  admission_->Note(end);
  Detach(end.ok() || absl::IsUnavailable(end) ? "closed" : absl::IsInvalidArgument(end) ? "protocol" : "lost");
}

absl::Status WorkReactor::Receive() {
  if (worker_.empty()) {
    if (!incoming_.has_attach()) {
      return rpc::WithReason(absl::InvalidArgumentError("the first message of a stream must be Attach"), "BAD_ATTACH");
    }
    absl::StatusOr<std::string> worker = backend_.coordinator->Attach(incoming_.attach(), this);
    if (!worker.ok()) return worker.status();
    worker_ = *std::move(worker);
    admission_->set_resource(worker_);
    return absl::OkStatus();
  }
  leaving_ = leaving_ || incoming_.has_leaving();
  backend_.coordinator->Receive(worker_, incoming_);
  return absl::OkStatus();
}

void WorkReactor::Detach(const char* reason) {
  stream_.reset();
  if (const std::string worker = std::exchange(worker_, ""); !worker.empty())
    backend_.coordinator->Detach(worker, reason);
}

}  // namespace qzo::server
