// Frames from one thread to another, in order, bounded by their bytes: one direction of a link between stages.
#ifndef QZO_WORKER_FRAME_QUEUE_H_
#define QZO_WORKER_FRAME_QUEUE_H_

#include <cstdint>
#include <deque>
#include <optional>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/mutex.h"
#include "qzo/v1/stage.pb.h"

namespace qzo::worker {

// Thread-safe. Once it has ended, every call returns why, and what was in it is gone.
class FrameQueue {
 public:
  // Push waits while `max_bytes` or more are in it.
  explicit FrameQueue(int64_t max_bytes) : max_bytes_(max_bytes) {}

  absl::Status Push(v1::StageFrame frame);
  absl::StatusOr<v1::StageFrame> Pop();  // waits for one

  // For whoever may not wait: adds beyond the bound, and takes what there is.
  void Add(v1::StageFrame frame);
  std::optional<v1::StageFrame> TryPop();
  bool full() const;

  // The other side is there.
  void Open();
  absl::Status WaitUntilOpen();

  // The first end counts: true for that one. `why` is not OK.
  bool End(const absl::Status& why);
  absl::Status status() const;  // OK until the end
  // Waits for the end, `timeout` at most.
  absl::Status WaitForEnd(absl::Duration timeout);

 private:
  v1::StageFrame TakeFirst() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  const int64_t max_bytes_;

  mutable base::Mutex mu_;
  base::CondVar changed_;
  std::deque<v1::StageFrame> frames_ ABSL_GUARDED_BY(mu_);
  int64_t bytes_ ABSL_GUARDED_BY(mu_) = 0;
  bool open_ ABSL_GUARDED_BY(mu_) = false;
  absl::Status end_ ABSL_GUARDED_BY(mu_);
};

}  // namespace qzo::worker

#endif  // QZO_WORKER_FRAME_QUEUE_H_
