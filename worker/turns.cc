#include "worker/turns.h"

#include <new>

namespace qzo::worker {
namespace {

enum class Progress { kWaiting, kRunning, kDone };

}  // namespace

absl::Status Turns::Run(const std::function<void()>& work) {
  // One at a time per caller, but callers may be several: each has its own progress under the one mutex.
  struct Turn {
    Progress progress = Progress::kWaiting;
    absl::Status result;
  };
  const auto turn = std::make_shared<Turn>();
  queue_.Push(lane_, [state = state_, turn, &work] {
    {
      base::MutexLock lock(&state->mu);
      if (state->stopped) return false;  // `work` may be gone
      turn->progress = Progress::kRunning;
    }
    absl::Status result;
    try {
      work();
    } catch (const std::bad_alloc&) {
      result = absl::ResourceExhaustedError("out of memory");
    }
    base::MutexLock lock(&state->mu);
    turn->progress = Progress::kDone;
    turn->result = result;
    state->changed.SignalAll();
    return false;
  });
  base::MutexLock lock(&state_->mu);
  while (turn->progress == Progress::kRunning || (turn->progress == Progress::kWaiting && !state_->stopped)) {
    state_->changed.Wait(&state_->mu);
  }
  if (turn->progress == Progress::kWaiting) return absl::CancelledError("the job was closed");
  return turn->result;
}

void Turns::Stop() {
  base::MutexLock lock(&state_->mu);
  state_->stopped = true;
  state_->changed.SignalAll();
}

}  // namespace qzo::worker
