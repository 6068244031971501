#include "server/watch_reactor.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "base/status_macros.h"
#include "proto/grpc_status.h"
#include "server/errors.h"
#include "server/live_job.h"
#include "server/resource_names.h"
#include "server/resources.h"

namespace qzo::server {
namespace {

constexpr int kEventsPerRead = 256;
constexpr absl::Duration kJobInterval = absl::Seconds(1);

}  // namespace

void WatchReactor::Bell::Ring(bool tick, const absl::Status& over) {
  base::MutexLock lock(&mu);
  if (reactor != nullptr) reactor->Wake(tick, over);
}

WatchReactor::WatchReactor(const Backend& backend, grpc::CallbackServerContext* context,
                           const v1::WatchJobRequest& request)
    : backend_(backend),
      context_(context),
      name_(request.name()),
      next_sequence_(std::max<uint64_t>(1, request.from_sequence())) {
  absl::StatusOr<std::shared_ptr<Admission>> admission =
      backend_.access->Admit(context, v1::WatchJobRequest::descriptor(), &request);
  if (!admission.ok()) {
    Finish(rpc::ToGrpc(admission.status()));
    return;
  }
  admission_ = *std::move(admission);
  guard_.emplace(backend_.stall, [context] { context->TryCancel(); });
  {
    base::MutexLock lock(&bell_->mu);
    bell_->reactor = this;
  }
  backend_.calls->Run([this] {
    if (const absl::Status status = Begin(); !status.ok()) return End(status);
    Run();
  });
}

absl::Status WatchReactor::Begin() {
  QZO_RETURN_IF_ERROR(ParseName(kJobKind, "name", name_).status());
  QZO_ASSIGN_OR_RETURN(const v1::FineTuningJob job, backend_.coordinator->Get(name_));
  uid_ = job.uid();
  QZO_ASSIGN_OR_RETURN(watch_,
                       backend_.coordinator->Watch(name_, [bell = bell_] { bell->Ring(false, absl::OkStatus()); }));
  stream_ = std::make_unique<OpenStreams::Entry>(
      backend_.streams, OpenStreams::Stream{.caller = admission_->caller(),
                                            .context = context_,
                                            .end = [bell = bell_](const absl::Status& why) { bell->Ring(false, why); },
                                            .endless = true});
  SetTimer();
  return absl::OkStatus();
}

void WatchReactor::OnWriteDone(bool ok) {
  guard_->Moved();
  backend_.calls->Run([this, ok] {
    if (!ok) return End(absl::CancelledError("the connection broke"));
    Run();
  });
}

void WatchReactor::OnCancel() { Wake(false, absl::CancelledError("cancelled by the client")); }

void WatchReactor::Wake(bool tick, const absl::Status& over) {
  base::MutexLock lock(&mu_);
  woken_ = true;
  tick_ = tick_ || tick;
  over_.Update(over);
  if (std::exchange(waiting_, false)) backend_.calls->Run([this] { Run(); });
}

void WatchReactor::Run() {
  for (;;) {
    bool tick = false;
    absl::Status status;
    {
      base::MutexLock lock(&mu_);
      woken_ = false;
      tick = std::exchange(tick_, false);
      status = over_;
    }
    if (!status.ok()) return End(status);
    if (tick) SetTimer();
    const bool silent = tick && !std::exchange(sent_since_tick_, false);
    if (events_.empty()) status = ReadEvents();
    if (!status.ok()) return End(status);
    if (events_.empty() && ended_ && first_sent_) return End(absl::OkStatus());
    if (!events_.empty() || silent || !first_sent_) {
      std::optional<v1::JobEvent> event;
      if (!events_.empty()) {
        event = std::move(events_.front());
        events_.pop_front();
      }
      if (status = Send(std::move(event)); !status.ok()) return End(status);
      return;
    }
    base::MutexLock lock(&mu_);
    if (woken_) continue;
    waiting_ = true;
    return;
  }
}

absl::Status WatchReactor::ReadEvents() {
  // The state before the events: a stored end means that the events before it are stored, too.
  const absl::StatusOr<StoredResource> job = backend_.store->GetByUid(uid_);
  if (absl::IsNotFound(job.status())) return NoSuch(kJobKind, name_);
  QZO_RETURN_IF_ERROR(job.status());
  ended_ = IsTerminal(static_cast<v1::FineTuningJob::State>(job->state));
  QZO_ASSIGN_OR_RETURN(const std::vector<StoredEvent> stored,
                       backend_.store->ReadEvents(uid_, next_sequence_, kEventsPerRead));
  for (const StoredEvent& event : stored) {
    v1::JobEvent parsed;
    if (!parsed.ParseFromString(event.body))
      return absl::DataLossError(absl::StrCat(name_, ": event ", event.sequence, " is damaged"));
    events_.push_back(std::move(parsed));
    next_sequence_ = event.sequence + 1;
  }
  return absl::OkStatus();
}

absl::Status WatchReactor::Send(std::optional<v1::JobEvent> event) {
  const absl::Duration now = backend_.clock->Monotonic();
  const bool changed = event && event->data_case() == v1::JobEvent::kState;
  response_.Clear();
  if (event) *response_.mutable_event() = *std::move(event);
  if (changed || !first_sent_ || now - job_sent_at_ >= kJobInterval) {
    QZO_ASSIGN_OR_RETURN(*response_.mutable_job(), backend_.coordinator->Get(name_));
    job_sent_at_ = now;
  }
  first_sent_ = true;
  sent_since_tick_ = true;
  guard_->Wait();
  StartWrite(&response_);
  return absl::OkStatus();
}

void WatchReactor::SetTimer() {
  // An alarm cannot be set again from its own callback. Two ticks without a word between them are the longest silence.
  timer_ = std::make_unique<grpc::Alarm>();
  timer_->Set(absl::ToChronoTime(absl::Now() + backend_.sign_of_life / 2), [bell = bell_](bool expired) {
    if (expired) bell->Ring(true, absl::OkStatus());
  });
}

void WatchReactor::End(const absl::Status& status) {
  {
    base::MutexLock lock(&bell_->mu);
    bell_->reactor = nullptr;
  }
  if (watch_) backend_.coordinator->Unwatch(*watch_);
  stream_.reset();
  timer_.reset();
  guard_.reset();
  admission_.reset();
  Finish(rpc::ToGrpc(status));
}

}  // namespace qzo::server
