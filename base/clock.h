// The clock seam. Thread-safe.
#ifndef QZO_BASE_CLOCK_H_
#define QZO_BASE_CLOCK_H_

#include "absl/time/time.h"

namespace qzo::base {

class Clock {
 public:
  virtual ~Clock() = default;
  // Wall-clock time, for what people read (create_time, events). May jump.
  virtual absl::Time Now() const = 0;
  // Time since an arbitrary origin that never goes back, for deadlines and durations.
  virtual absl::Duration Monotonic() const = 0;
};

// The machine's clock. Lives for ever, stateless.
const Clock* SystemClock();

}  // namespace qzo::base

#endif  // QZO_BASE_CLOCK_H_
