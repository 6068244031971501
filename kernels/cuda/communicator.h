// Device memory from one process's GPU to another's: what carries the rows between stages where NCCL is used. One
// implementation is NCCL, the other, for tests, the emulator's.
#ifndef QZO_KERNELS_CUDA_COMMUNICATOR_H_
#define QZO_KERNELS_CUDA_COMMUNICATOR_H_

#include <cstddef>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace qzo::kernels::cuda {

// Asked again and again by whoever waits: an error ends the wait, which returns it.
using Interrupt = std::function<absl::Status()>;

// One end of two: rank 0 sends, rank 1 receives, in one order. Thread-compatible. After an error all that is left is to
// destroy it, which never waits for the other end. Possible errors: UNAVAILABLE (the other end or the way to it has
// gone), INTERNAL (anything else that the library or the device reports), what `interrupt` returned.
class Communicator {
 public:
  virtual ~Communicator() = default;
  // Waits until the send before this one has arrived, and takes a copy: `from` may change when it returns.
  // RESOURCE_EXHAUSTED where there is no device memory for that.
  virtual absl::Status Send(const std::byte* from, size_t bytes, const Interrupt& interrupt) = 0;
  // Waits until the last send has arrived: until then the device works on it, and whatever waits for the whole device,
  // as a release of its memory does, waits for the other end.
  virtual absl::Status Settle(const Interrupt& interrupt) = 0;
  // Waits for the next send, of as many bytes. After an error `to` may be written to until the communicator has been
  // destroyed.
  virtual absl::Status Receive(std::byte* to, size_t bytes, const Interrupt& interrupt) = 0;
};

// Thread-safe.
class Communicators {
 public:
  virtual ~Communicators() = default;
  virtual int version() const = 0;  // both ends must have the same; above 0
  // What the two ends of one communicator know it by, from rank 0 to rank 1 by some other way.
  virtual absl::StatusOr<std::string> NewId() = 0;
  // Waits for the other end. INVALID_ARGUMENT for what is no id; else as Communicator.
  virtual absl::StatusOr<std::unique_ptr<Communicator>> Join(const std::string& id, int rank,
                                                             const Interrupt& interrupt) = 0;
};

// NCCL, for the device of OpenGpu; the library is looked for when this is called. UNAVAILABLE, saying why there is
// none: no library, one that is too old, or a program built without its header.
absl::StatusOr<std::unique_ptr<Communicators>> OpenNccl();

}  // namespace qzo::kernels::cuda

#endif  // QZO_KERNELS_CUDA_COMMUNICATOR_H_
