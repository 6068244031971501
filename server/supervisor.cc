#include "server/supervisor.h"

#include <signal.h>
#include <spdlog/spdlog.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"

namespace qzo::server {
namespace {

constexpr int kCannotExecute = 127;

}  // namespace

Supervisor::Supervisor(Options options) : options_(std::move(options)), thread_([this] { Loop(); }) {}

Supervisor::~Supervisor() {
  {
    base::MutexLock lock(&mu_);
    stopping_ = true;
    changed_.SignalAll();
    if (child_ > 0) ::kill(child_, SIGTERM);
    const absl::Time deadline = absl::Now() + options_.stop_grace;
    while (child_ > 0 && absl::Now() < deadline) changed_.WaitFor(&mu_, deadline - absl::Now());
    if (child_ > 0) ::kill(child_, SIGKILL);
  }
  thread_.join();
}

void Supervisor::Loop() {
  absl::Duration pause = options_.first_pause;
  for (int run = 1;; ++run) {
    const absl::Time start = absl::Now();
    pid_t pid = -1;
    {
      base::MutexLock lock(&mu_);
      if (stopping_) return;
      pid = child_ = Spawn();
    }
    if (options_.on_start) options_.on_start(run);
    const std::string end = pid > 0 ? Await(pid) : "could not be started";
    base::MutexLock lock(&mu_);
    if (stopping_) return;
    if (absl::Now() - start >= options_.healthy_after) pause = options_.first_pause;
    spdlog::warn("{} {}; starting it again in {}", options_.program, end, absl::FormatDuration(pause));
    const absl::Time resume = absl::Now() + pause;
    while (!stopping_ && absl::Now() < resume) changed_.WaitFor(&mu_, resume - absl::Now());
    pause = std::min(2 * pause, options_.longest_pause);
  }
}

pid_t Supervisor::Spawn() const {
  std::vector<char*> argv = {const_cast<char*>(options_.program.c_str())};
  for (const std::string& argument : options_.arguments) argv.push_back(const_cast<char*>(argument.c_str()));
  argv.push_back(nullptr);
  const pid_t parent = ::getpid();
  const pid_t pid = ::fork();
  if (pid != 0) return pid;
  // Only async-signal-safe calls from here: other threads of the parent may hold any lock. The child leaves the
  // terminal's signals to us, and gets none of our blocked ones.
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != parent) ::_exit(kCannotExecute);  // the parent ended before prctl
  ::setpgid(0, 0);
  sigset_t none;
  ::sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  ::execv(argv[0], argv.data());
  ::_exit(kCannotExecute);
}

std::string Supervisor::Await(pid_t pid) {
  siginfo_t info{};
  // The process stays a zombie until the lock is held, so that nobody signals a stranger with its id.
  while (::waitid(P_PID, static_cast<id_t>(pid), &info, WEXITED | WNOWAIT) != 0 && errno == EINTR) {
  }
  base::MutexLock lock(&mu_);
  ::waitpid(pid, nullptr, 0);
  child_ = -1;
  changed_.SignalAll();
  if (info.si_code != CLD_EXITED) return absl::StrCat("was ended by signal ", info.si_status);
  if (info.si_status == kCannotExecute) return "could not be executed";
  return absl::StrCat("ended with exit code ", info.si_status);
}

}  // namespace qzo::server
