// SIGTERM and SIGINT: the first one asks for an orderly end, the second one ends the process at once.
#ifndef QZO_BASE_SIGNALS_H_
#define QZO_BASE_SIGNALS_H_

#include <functional>
#include <thread>

namespace qzo::base {

// Make it before any other thread: it blocks both signals for those started later. `stop` is called on a thread of its
// own, where anything is allowed.
class SignalWatch {
 public:
  SignalWatch();
  ~SignalWatch();
  SignalWatch(const SignalWatch&) = delete;
  SignalWatch& operator=(const SignalWatch&) = delete;

  // Call once; what `stop` uses must outlive the watch's Disarm.
  void Arm(std::function<void()> stop);
  // After it returns `stop` is not running and will not be called.
  void Disarm();

 private:
  void Watch(const std::function<void()>& stop);

  int signals_ = -1;  // signalfd
  int wake_ = -1;     // eventfd
  std::thread thread_;
};

}  // namespace qzo::base

#endif  // QZO_BASE_SIGNALS_H_
