// Turns of a thread that works for several jobs, for a thread of one job's own, which waits for each.
#ifndef QZO_WORKER_TURNS_H_
#define QZO_WORKER_TURNS_H_

#include <cstdint>
#include <functional>
#include <memory>

#include "absl/status/status.h"
#include "worker/fair_queue.h"

namespace qzo::worker {

// Thread-safe.
class Turns {
 public:
  // The turns are those of `lane` of `queue`, which must outlive this object.
  Turns(FairQueue* queue, uint64_t lane) : queue_(*queue), lane_(lane) {}

  // Waits until `work` has run. CANCELLED when it will not, for Stop was called; RESOURCE_EXHAUSTED when memory ran out
  // in it.
  absl::Status Run(const std::function<void()>& work);
  // Work that has not begun never will.
  void Stop();

 private:
  // Of all that was asked for; tasks in the queue may outlive this object.
  struct State {
    base::Mutex mu;
    base::CondVar changed;
    bool stopped ABSL_GUARDED_BY(mu) = false;
  };

  FairQueue& queue_;
  const uint64_t lane_;
  const std::shared_ptr<State> state_ = std::make_shared<State>();
};

}  // namespace qzo::worker

#endif  // QZO_WORKER_TURNS_H_
