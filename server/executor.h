// A few threads that run what would hold up gRPC's own: the store, the disk, parsing and tokenizing. Thread-safe.
#ifndef QZO_SERVER_EXECUTOR_H_
#define QZO_SERVER_EXECUTOR_H_

#include <deque>
#include <functional>
#include <thread>
#include <vector>

#include "base/mutex.h"

namespace qzo::server {

class Executor {
 public:
  explicit Executor(int threads);
  // Runs everything that was given to it, then returns.
  ~Executor();
  Executor(const Executor&) = delete;
  Executor& operator=(const Executor&) = delete;

  // Starts in the order given; never runs `work` on the calling thread.
  void Run(std::function<void()> work);

 private:
  void Loop();

  base::Mutex mu_;
  base::CondVar changed_;
  std::deque<std::function<void()>> queue_ ABSL_GUARDED_BY(mu_);
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  std::vector<std::thread> threads_;
};

}  // namespace qzo::server

#endif  // QZO_SERVER_EXECUTOR_H_
