// A clock that moves only when told to. Thread-safe.
#ifndef QZO_TESTS_SUPPORT_FAKE_CLOCK_H_
#define QZO_TESTS_SUPPORT_FAKE_CLOCK_H_

#include "base/clock.h"
#include "base/mutex.h"

namespace qzo::testing {

class FakeClock final : public base::Clock {
 public:
  absl::Time Now() const override { return absl::FromUnixSeconds(1'700'000'000) + Monotonic(); }
  absl::Duration Monotonic() const override {
    base::MutexLock lock(&mu_);
    return elapsed_;
  }
  void Advance(absl::Duration by) {
    base::MutexLock lock(&mu_);
    elapsed_ += by;
  }

 private:
  mutable base::Mutex mu_;
  absl::Duration elapsed_ ABSL_GUARDED_BY(mu_);
};

}  // namespace qzo::testing

#endif  // QZO_TESTS_SUPPORT_FAKE_CLOCK_H_
