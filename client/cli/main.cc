#include <pthread.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <iostream>
#include <thread>

#include "base/log.h"
#include "client/cli/exit_code.h"
#include "client/cli/run.h"

namespace {

// The first ^C ends what is being waited for, the second one the process. Made before any other thread, which then
// inherit that SIGINT is blocked.
class InterruptOnSignal {
 public:
  explicit InterruptOnSignal(qzo::client::Interrupt* interrupt) {
    sigemptyset(&set_);
    sigaddset(&set_, SIGINT);
    sigaddset(&set_, SIGUSR1);  // ends the thread
    pthread_sigmask(SIG_BLOCK, &set_, nullptr);
    thread_ = std::thread([this, interrupt] {
      int signal = 0;
      while (sigwait(&set_, &signal) == 0 && signal == SIGINT) {
        if (interrupt->triggered()) ::_exit(qzo::client::kDetached);
        interrupt->Trigger();
      }
    });
  }
  ~InterruptOnSignal() {
    pthread_kill(thread_.native_handle(), SIGUSR1);
    thread_.join();
  }

 private:
  sigset_t set_;
  std::thread thread_;
};

int TerminalColumns(int fd) {
  winsize size{};
  return ::ioctl(fd, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

}  // namespace

int main(int argc, char** argv) {
  qzo::client::Interrupt interrupt;
  const InterruptOnSignal watch(&interrupt);
  if (!qzo::base::InitLogging("warn", "text").ok()) return qzo::client::kFailed;
  qzo::client::Environment env;
  env.in = &std::cin;
  env.out = &std::cout;
  env.err = &std::cerr;
  env.out_is_terminal = ::isatty(STDOUT_FILENO) != 0;
  env.err_is_terminal = ::isatty(STDERR_FILENO) != 0;
  env.columns = TerminalColumns(STDERR_FILENO);
  env.client.interrupt = &interrupt;
  return qzo::client::RunQzoctl({argv + 1, argv + argc}, env);
}
