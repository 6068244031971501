#include "server/stall_guard.h"

#include <grpcpp/alarm.h>

#include <cstdint>
#include <utility>

#include "absl/time/clock.h"
#include "base/mutex.h"

namespace qzo::server {

// Shared with the alarm's callback, which may outlive the guard.
struct StallGuard::State {
  State(absl::Duration p, std::function<void()> f) : patience(p), on_stall(std::move(f)) {}

  const absl::Duration patience;
  base::Mutex mu;
  std::function<void()> on_stall ABSL_GUARDED_BY(mu);  // empty after the end
  bool waiting ABSL_GUARDED_BY(mu) = false;
  uint64_t moves ABSL_GUARDED_BY(mu) = 0;
  uint64_t moves_at_tick ABSL_GUARDED_BY(mu) = UINT64_MAX;
  std::unique_ptr<grpc::Alarm> alarm ABSL_GUARDED_BY(mu);
};

StallGuard::StallGuard(absl::Duration patience, std::function<void()> on_stall)
    : state_(std::make_shared<State>(patience, std::move(on_stall))) {
  SetAlarm(state_);
}

StallGuard::~StallGuard() {
  std::unique_ptr<grpc::Alarm> alarm;  // cancelled without the lock that its callback takes
  base::MutexLock lock(&state_->mu);
  state_->on_stall = nullptr;
  alarm = std::move(state_->alarm);
}

void StallGuard::Wait() {
  base::MutexLock lock(&state_->mu);
  state_->waiting = true;
}

void StallGuard::Moved() {
  base::MutexLock lock(&state_->mu);
  state_->waiting = false;
  ++state_->moves;
}

void StallGuard::SetAlarm(const std::shared_ptr<State>& state) {
  base::MutexLock lock(&state->mu);
  if (!state->on_stall) return;
  // An alarm cannot be set again from its own callback.
  state->alarm = std::make_unique<grpc::Alarm>();
  state->alarm->Set(absl::ToChronoTime(absl::Now() + state->patience), [state](bool expired) {
    if (expired) Tick(state);
  });
}

void StallGuard::Tick(const std::shared_ptr<State>& state) {
  {
    base::MutexLock lock(&state->mu);
    if (!state->on_stall) return;
    if (state->waiting && state->moves == state->moves_at_tick) {
      state->on_stall();
      state->on_stall = nullptr;
      return;
    }
    state->moves_at_tick = state->moves;
  }
  SetAlarm(state);
}

}  // namespace qzo::server
