// Notices a peer that neither sends nor reads any more though its connection is alive. Thread-safe.
#ifndef QZO_SERVER_STALL_GUARD_H_
#define QZO_SERVER_STALL_GUARD_H_

#include <functional>
#include <memory>

#include "absl/time/time.h"

namespace qzo::server {

class StallGuard {
 public:
  // `on_stall` is called once, quickly, when the peer was waited for during `patience` to twice as long.
  StallGuard(absl::Duration patience, std::function<void()> on_stall);
  // Afterwards `on_stall` is not running and will not be called.
  ~StallGuard();
  StallGuard(const StallGuard&) = delete;
  StallGuard& operator=(const StallGuard&) = delete;

  // From here on it is the peer's turn.
  void Wait();
  // The peer did its part.
  void Moved();

 private:
  struct State;
  static void SetAlarm(const std::shared_ptr<State>& state);
  static void Tick(const std::shared_ptr<State>& state);

  const std::shared_ptr<State> state_;
};

}  // namespace qzo::server

#endif  // QZO_SERVER_STALL_GUARD_H_
