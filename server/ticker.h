// A thread that does something again and again. Thread-compatible.
#ifndef QZO_SERVER_TICKER_H_
#define QZO_SERVER_TICKER_H_

#include <functional>
#include <thread>

#include "absl/time/time.h"
#include "base/mutex.h"

namespace qzo::server {

class Ticker {
 public:
  // `tick` is called every `interval` of real time, the first time after one.
  Ticker(absl::Duration interval, std::function<void()> tick);
  // Afterwards `tick` is not running and will not be called.
  ~Ticker();
  Ticker(const Ticker&) = delete;
  Ticker& operator=(const Ticker&) = delete;

 private:
  void Run();

  const absl::Duration interval_;
  const std::function<void()> tick_;
  base::Mutex mu_;
  base::CondVar stop_;
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  std::thread thread_;
};

}  // namespace qzo::server

#endif  // QZO_SERVER_TICKER_H_
