#include "server/ticker.h"

#include <utility>

namespace qzo::server {

Ticker::Ticker(absl::Duration interval, std::function<void()> tick)
    : interval_(interval), tick_(std::move(tick)), thread_([this] { Run(); }) {}

Ticker::~Ticker() {
  {
    base::MutexLock lock(&mu_);
    stopping_ = true;
    stop_.SignalAll();
  }
  thread_.join();
}

void Ticker::Run() {
  for (;;) {
    {
      base::MutexLock lock(&mu_);
      if (!stopping_) stop_.WaitFor(&mu_, interval_);
      if (stopping_) return;
    }
    tick_();
  }
}

}  // namespace qzo::server
