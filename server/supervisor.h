// Keeps one child process running: starts it, starts it again when it ends (after a pause that doubles while it ends
// early), and ends it with SIGTERM, then SIGKILL. The child dies with this process, whatever ends it. Thread-safe.
#ifndef QZO_SERVER_SUPERVISOR_H_
#define QZO_SERVER_SUPERVISOR_H_

#include <sys/types.h>

#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "absl/time/time.h"
#include "base/mutex.h"

namespace qzo::server {

class Supervisor {
 public:
  struct Options {
    std::string program;  // path
    std::vector<std::string> arguments;
    absl::Duration first_pause = absl::Milliseconds(500);
    absl::Duration longest_pause = absl::Seconds(30);
    absl::Duration healthy_after = absl::Minutes(1);  // a run this long makes the next pause the first one again
    absl::Duration stop_grace = absl::Seconds(10);    // between SIGTERM and SIGKILL
    std::function<void(int run)> on_start;            // optional: the run-th start (from 1) was made
  };

  explicit Supervisor(Options options);
  // Ends the child and waits for it.
  ~Supervisor();
  Supervisor(const Supervisor&) = delete;
  Supervisor& operator=(const Supervisor&) = delete;

 private:
  void Loop();
  // Starts the child; -1 when there is no process to be had.
  pid_t Spawn() const;
  // Until the child has ended; returns how, in words.
  std::string Await(pid_t pid);

  const Options options_;
  base::Mutex mu_;
  base::CondVar changed_;
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  pid_t child_ ABSL_GUARDED_BY(mu_) = -1;
  std::thread thread_;
};

}  // namespace qzo::server

#endif  // QZO_SERVER_SUPERVISOR_H_
