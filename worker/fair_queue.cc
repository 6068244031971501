#include "worker/fair_queue.h"

#include <utility>

namespace qzo::worker {

void FairQueue::Enqueue(uint64_t id, const Lane& lane) {
  if (lane.tasks.empty() || lane.held || lane.running) return;
  turns_.push_back(id);
  changed_.SignalOne();
}

void FairQueue::Push(uint64_t lane, Task task) {
  base::MutexLock lock(&mu_);
  if (stopped_) return;
  Lane& found = lanes_[lane];
  found.tasks.push_back(std::move(task));
  if (found.tasks.size() == 1) Enqueue(lane, found);
}

void FairQueue::Hold(uint64_t lane) {
  base::MutexLock lock(&mu_);
  lanes_[lane].held = true;
  std::erase(turns_, lane);
}

void FairQueue::Release(uint64_t lane) {
  base::MutexLock lock(&mu_);
  const auto found = lanes_.find(lane);
  if (found == lanes_.end() || !found->second.held) return;
  found->second.held = false;
  Enqueue(lane, found->second);
}

void FairQueue::Drop(uint64_t lane) {
  Lane dropped;  // destroyed without the lock: tasks own what may take long to destroy
  base::MutexLock lock(&mu_);
  const auto found = lanes_.find(lane);
  if (found == lanes_.end()) return;
  dropped = std::move(found->second);
  lanes_.erase(found);
  std::erase(turns_, lane);
  changed_.SignalOne();
}

void FairQueue::WhenIdle(std::function<void()> idle) {
  base::MutexLock lock(&mu_);
  idle_ = std::move(idle);
  changed_.SignalOne();
}

void FairQueue::Stop() {
  std::map<uint64_t, Lane> dropped;  // destroyed without the lock
  base::MutexLock lock(&mu_);
  stopped_ = true;
  dropped.swap(lanes_);
  turns_.clear();
  changed_.SignalOne();
}

bool FairQueue::RunNext() {
  Task task;
  uint64_t id = 0;
  bool idle = false;
  {
    base::MutexLock lock(&mu_);
    while (!stopped_ && turns_.empty() && !idle_) changed_.Wait(&mu_);
    if (stopped_) return false;
    idle = turns_.empty();
    if (idle) {
      task = [call = std::exchange(idle_, nullptr)] { return call(), false; };
    } else {
      id = turns_.front();
      turns_.pop_front();
      Lane& lane = lanes_[id];
      task = std::move(lane.tasks.front());
      lane.tasks.pop_front();
      lane.running = true;
    }
  }
  const bool again = task();
  if (idle) return true;
  base::MutexLock lock(&mu_);
  Finish(id, again ? &task : nullptr);
  return true;
}

void FairQueue::Finish(uint64_t id, Task* again) {
  const auto found = lanes_.find(id);
  if (found == lanes_.end() || !found->second.running) return;  // dropped meanwhile
  Lane& lane = found->second;
  lane.running = false;
  if (again != nullptr) lane.tasks.push_front(std::move(*again));
  Enqueue(id, lane);
  if (lane.tasks.empty() && !lane.held) lanes_.erase(found);
}

}  // namespace qzo::worker
