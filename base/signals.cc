#include "base/signals.h"

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <spdlog/spdlog.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <array>
#include <utility>

#include "base/log.h"

namespace qzo::base {

SignalWatch::SignalWatch() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGTERM);
  sigaddset(&set, SIGINT);
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
  signals_ = ::signalfd(-1, &set, SFD_CLOEXEC);
  wake_ = ::eventfd(0, EFD_CLOEXEC);
  QZO_CHECK(signals_ >= 0 && wake_ >= 0);
}

SignalWatch::~SignalWatch() {
  Disarm();
  ::close(signals_);
  ::close(wake_);
}

void SignalWatch::Arm(std::function<void()> stop) {
  thread_ = std::thread([this, stop = std::move(stop)] { Watch(stop); });
}

void SignalWatch::Disarm() {
  if (!thread_.joinable()) return;
  QZO_CHECK(::eventfd_write(wake_, 1) == 0);
  thread_.join();
}

void SignalWatch::Watch(const std::function<void()>& stop) {
  bool stopping = false;
  for (;;) {
    std::array<pollfd, 2> events = {{{signals_, POLLIN, 0}, {wake_, POLLIN, 0}}};
    if (::poll(events.data(), events.size(), -1) < 0) continue;  // EINTR
    if (events[1].revents != 0) return;
    signalfd_siginfo info{};
    if (::read(signals_, &info, sizeof info) != sizeof info) continue;
    if (std::exchange(stopping, true)) ::_exit(128 + static_cast<int>(info.ssi_signo));
    spdlog::info("signal {}: ending when the work at hand is done; again to stop at once", info.ssi_signo);
    stop();
  }
}

}  // namespace qzo::base
