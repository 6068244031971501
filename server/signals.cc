#include "server/signals.h"

#include <signal.h>
#include <unistd.h>

#include <thread>

namespace qzo::server {
namespace {

constexpr int kBySignal = 128;  // the shell's convention for exit codes

sigset_t StopSignals() {
  sigset_t set;
  ::sigemptyset(&set);
  ::sigaddset(&set, SIGTERM);
  ::sigaddset(&set, SIGINT);
  return set;
}

int Wait() {
  const sigset_t set = StopSignals();
  int signal = 0;
  ::sigwait(&set, &signal);
  return signal;
}

}  // namespace

void BlockStopSignals() {
  const sigset_t set = StopSignals();
  ::pthread_sigmask(SIG_BLOCK, &set, nullptr);
}

int WaitForStopSignal() {
  const int signal = Wait();
  std::thread([] { ::_exit(kBySignal + Wait()); }).detach();
  return signal;
}

}  // namespace qzo::server
