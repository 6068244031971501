// One worker's stream: hands what it says to the coordinator and sends what the coordinator says to it.
#ifndef QZO_SERVER_WORK_REACTOR_H_
#define QZO_SERVER_WORK_REACTOR_H_

#include <grpcpp/server_context.h>
#include <grpcpp/support/server_callback.h>

#include <deque>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "base/mutex.h"
#include "qzo/v1/worker.pb.h"
#include "server/backend.h"

namespace qzo::server {

// Deletes itself. Send and Close may be called from any thread, with the coordinator's lock held: they take a lock of
// their own and start at most one gRPC operation, which never calls back on the same stack.
class WorkReactor final : public grpc::ServerBidiReactor<v1::WorkerMessage, v1::CoordinatorMessage>,
                          public WorkerStream {
 public:
  WorkReactor(const Backend& backend, grpc::CallbackServerContext* context, std::shared_ptr<Admission> admission);

  // Messages wait their turn. A worker that lets too many pile up (a dead peer, a stopped process) is cut off.
  void Send(const v1::CoordinatorMessage& message) override;
  // What was sent before still goes out when `status` is OK; otherwise it is dropped.
  void Close(const absl::Status& status) override;
  void Tick() override;

  void OnReadDone(bool ok) override;
  void OnWriteDone(bool ok) override;
  void OnCancel() override;
  void OnDone() override { delete this; }

 private:
  absl::Status Receive();
  // The stream is at its end: the coordinator forgets it.
  void Detach(const char* reason);
  // Starts the next write or, when there is none and the stream is closed, finishes.
  void Proceed() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // A read that waits makes gRPC give back the flow-control window of what was read at once, in a packet of its own;
  // without one it travels with the next write. So after results nothing is read until the worker is sent its next
  // work, for a second at most: an idle worker's other messages wait that long.
  void PauseReading() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void ResumeReading() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  const Backend backend_;
  grpc::CallbackServerContext* const context_;
  const std::shared_ptr<Admission> admission_;
  std::unique_ptr<OpenStreams::Entry> stream_;

  // Of OnReadDone, which is called once at a time.
  v1::WorkerMessage incoming_;
  std::string worker_;  // "" before Attach and after Detach
  bool leaving_ = false;

  base::Mutex mu_;
  std::deque<v1::CoordinatorMessage> queue_ ABSL_GUARDED_BY(mu_);  // the first one is being written when writing_
  size_t queued_bytes_ ABSL_GUARDED_BY(mu_) = 0;
  bool writing_ ABSL_GUARDED_BY(mu_) = false;
  bool finished_ ABSL_GUARDED_BY(mu_) = false;
  bool written_since_read_ ABSL_GUARDED_BY(mu_) = false;
  int paused_ticks_ ABSL_GUARDED_BY(mu_) = 0;  // left of the pause; 0: a read waits
  std::optional<absl::Status> closed_ ABSL_GUARDED_BY(mu_);
};

}  // namespace qzo::server

#endif  // QZO_SERVER_WORK_REACTOR_H_
