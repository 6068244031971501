// The composition root: builds the worker's parts, runs them, and ends them in order.
#ifndef QZO_WORKER_WORKER_H_
#define QZO_WORKER_WORKER_H_

#include "absl/status/status.h"
#include "worker/flags.h"

namespace qzo::worker {

// Works until it has drained: after SIGTERM, SIGINT or the coordinator's wish. Call before any thread is started.
// Possible errors: at the start, a model file that cannot be read, an address that cannot be bound, clear text not
// allowed; later, UNAVAILABLE when a fault has made the GPU unusable for this process.
absl::Status RunWorker(const Flags& flags);

}  // namespace qzo::worker

#endif  // QZO_WORKER_WORKER_H_
