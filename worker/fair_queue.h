// What a thread has to do for several jobs: in order within a job, in turn between jobs, so that a long queue of one
// delays another by one task at most.
#ifndef QZO_WORKER_FAIR_QUEUE_H_
#define QZO_WORKER_FAIR_QUEUE_H_

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <utility>

#include "base/mutex.h"

namespace qzo::worker {

// Thread-safe; one thread calls RunNext.
class FairQueue {
 public:
  using Task = std::function<bool()>;  // true: to be called again at its lane's next turn

  void Push(uint64_t lane, Task task);
  // The lane's tasks wait until Release.
  void Hold(uint64_t lane);
  void Release(uint64_t lane);
  // Forgets the lane and its tasks; one that is running ends, and is not called again.
  void Drop(uint64_t lane);
  // `idle` is called once, by RunNext, as soon as no task is left but those of lanes on hold.
  void WhenIdle(std::function<void()> idle);

  // Waits for a task and runs it. False after Stop.
  bool RunNext();
  // Forgets all lanes, and what is pushed from now on.
  void Stop();

 private:
  struct Lane {
    std::deque<Task> tasks;
    bool held = false;
    bool running = false;
  };
  // Gives a lane its turn when it may have one. A lane is in turns_ exactly when it has tasks, is not held and does not
  // run.
  void Enqueue(uint64_t id, const Lane& lane) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void Finish(uint64_t id, Task* again) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  base::Mutex mu_;
  base::CondVar changed_;
  std::map<uint64_t, Lane> lanes_ ABSL_GUARDED_BY(mu_);
  std::deque<uint64_t> turns_ ABSL_GUARDED_BY(mu_);
  std::function<void()> idle_ ABSL_GUARDED_BY(mu_);
  bool stopped_ ABSL_GUARDED_BY(mu_) = false;
};

}  // namespace qzo::worker

#endif  // QZO_WORKER_FAIR_QUEUE_H_
