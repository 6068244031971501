// Communicators between emulated GPUs of one process. Tests only.
#ifndef QZO_KERNELS_CUDA_HOST_EMULATED_COMMUNICATORS_H_
#define QZO_KERNELS_CUDA_HOST_EMULATED_COMMUNICATORS_H_

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <string>

#include "base/mutex.h"
#include "kernels/cuda/communicator.h"

namespace qzo::kernels::cuda {

// As strict as NCCL: both ends must come, sends and receives must agree in their sizes, and one send at most is under
// way. Both ends of a communicator must join the same object.
class EmulatedCommunicators final : public Communicators {
 public:
  int version() const override { return 1; }
  absl::StatusOr<std::string> NewId() override;
  absl::StatusOr<std::unique_ptr<Communicator>> Join(const std::string& id, int rank,
                                                     const Interrupt& interrupt) override;

  // From now on nothing arrives, and nothing says so: a network that swallows what is sent.
  void Stall() { stalled_ = true; }
  int64_t bytes() const { return bytes_; }  // that have arrived

 private:
  struct Pair;
  class End;

  std::atomic<bool> stalled_{false};
  std::atomic<int64_t> bytes_{0};
  base::Mutex mu_;
  uint64_t ids_ ABSL_GUARDED_BY(mu_) = 0;
  std::map<std::string, std::shared_ptr<Pair>> pairs_ ABSL_GUARDED_BY(mu_);
};

}  // namespace qzo::kernels::cuda

#endif  // QZO_KERNELS_CUDA_HOST_EMULATED_COMMUNICATORS_H_
