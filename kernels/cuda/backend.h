// A GPU to run the ops on: memory, copies, and the order of things. One implementation is a CUDA device, the other the
// emulator of host/, so that everything above is tested without a device.
#ifndef QZO_KERNELS_CUDA_BACKEND_H_
#define QZO_KERNELS_CUDA_BACKEND_H_

#include <compare>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace qzo::kernels::cuda {

struct GpuOps;

// What a recorded graph is known by: the memory whose addresses it holds, by a number that no other memory has, and
// what is launched on it.
struct GraphKey {
  int64_t memory = 0;
  int64_t shape = 0;
  friend auto operator<=>(const GraphKey&, const GraphKey&) = default;
};

// Thread-compatible. Everything runs in the order of the calls, on one stream; launches and uploads return before they
// are done. What goes wrong in one is reported by Wait, and by every Wait after it.
class Gpu {
 public:
  virtual ~Gpu() = default;

  // The same device with a stream of its own, for another thread or another model. UNAVAILABLE where it has gone.
  virtual absl::StatusOr<std::unique_ptr<Gpu>> Share() = 0;

  virtual const std::string& name() const = 0;          // "NVIDIA H200"
  virtual const std::string& architecture() const = 0;  // "sm_90": devices of one give the same bits
  virtual int64_t free_bytes() const = 0;

  // 256-byte aligned device memory, or memory of the host that copies are fast from. RESOURCE_EXHAUSTED where there is
  // none. The memory is returned by Free of the same kind.
  virtual absl::StatusOr<std::byte*> Allocate(size_t bytes) = 0;
  virtual void Free(std::byte* memory) = 0;
  virtual absl::StatusOr<std::byte*> AllocateHost(size_t bytes) = 0;
  virtual void FreeHost(std::byte* memory) = 0;

  // `from` of Upload must stay as it is until Wait returns, but for later downloads; what is in `to` of Download is
  // there, and not before, when Wait returns.
  virtual void Upload(std::byte* to, const std::byte* from, size_t bytes) = 0;
  virtual void Download(std::byte* to, const std::byte* from, size_t bytes) = 0;
  virtual absl::Status Wait() = 0;  // INTERNAL: what went wrong since the last one

  // UNAVAILABLE, saying why, once a fault has made the device unusable for this process: every call fails from then on.
  // Thread-safe.
  virtual absl::Status Health() = 0;

  virtual const GpuOps& ops() const = 0;
  virtual void* stream() = 0;  // for ops()

  // Runs what `launch` launches, and it may do nothing else. The first time for a key it is recorded as a graph, which
  // later calls start at once, mostly without calling it: it must launch the same for the same key.
  virtual void RunGraph(const GraphKey& key, const std::function<void()>& launch) = 0;
};

// The device that CUDA lists first. Possible errors: UNAVAILABLE, saying why there is none: no driver, no device, a
// device older than compute capability 8.0, or a program built without the CUDA toolkit.
absl::StatusOr<std::unique_ptr<Gpu>> OpenGpu();

}  // namespace qzo::kernels::cuda

#endif  // QZO_KERNELS_CUDA_BACKEND_H_
