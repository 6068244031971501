// WatchJob: a job's events from a sequence number on, and signs of life in between.
//
// One thing happens at a time: a write in flight, a run on the executor, or a wait for a wake-up (new events, a tick of
// the timer, the end of the call or of the server). Wake-ups that come at another moment are remembered.
#ifndef QZO_SERVER_WATCH_REACTOR_H_
#define QZO_SERVER_WATCH_REACTOR_H_

#include <grpcpp/alarm.h>
#include <grpcpp/server_context.h>
#include <grpcpp/support/server_callback.h>

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "base/mutex.h"
#include "qzo/v1/job.pb.h"
#include "server/backend.h"
#include "server/stall_guard.h"

namespace qzo::server {

// Deletes itself.
class WatchReactor final : public grpc::ServerWriteReactor<v1::WatchJobResponse> {
 public:
  WatchReactor(const Backend& backend, grpc::CallbackServerContext* context, const v1::WatchJobRequest& request);

  void OnWriteDone(bool ok) override;
  void OnCancel() override;
  void OnDone() override { delete this; }

 private:
  // Reaches the reactor from callbacks that may outlive it.
  struct Bell {
    base::Mutex mu;
    WatchReactor* reactor ABSL_GUARDED_BY(mu) = nullptr;
    void Ring(bool tick, const absl::Status& over);
  };

  absl::Status Begin();
  void Wake(bool tick, const absl::Status& over);
  // Takes the turn until something is on its way, everything was sent, or the call is over.
  void Run();
  absl::Status ReadEvents();
  absl::Status Send(std::optional<v1::JobEvent> event);
  void SetTimer();
  void End(const absl::Status& status);

  const Backend backend_;
  grpc::CallbackServerContext* const context_;
  const std::string name_;
  const std::shared_ptr<Bell> bell_ = std::make_shared<Bell>();

  // Of whoever has its turn.
  std::shared_ptr<Admission> admission_;
  std::optional<StallGuard> guard_;
  uint64_t next_sequence_;
  std::string uid_;
  std::optional<uint64_t> watch_;
  std::unique_ptr<OpenStreams::Entry> stream_;
  std::unique_ptr<grpc::Alarm> timer_;
  std::deque<v1::JobEvent> events_;
  bool ended_ = false;  // the job had ended before events were read last
  bool first_sent_ = false;
  bool sent_since_tick_ = false;
  absl::Duration job_sent_at_;
  v1::WatchJobResponse response_;

  base::Mutex mu_;
  bool waiting_ ABSL_GUARDED_BY(mu_) = false;
  bool woken_ ABSL_GUARDED_BY(mu_) = true;
  bool tick_ ABSL_GUARDED_BY(mu_) = false;
  absl::Status over_ ABSL_GUARDED_BY(mu_);  // not OK: the call or the server is at its end
};

}  // namespace qzo::server

#endif  // QZO_SERVER_WATCH_REACTOR_H_
