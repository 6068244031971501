// Stacks that one OS thread switches between. x86-64, System V calling convention. Sanitizers are told of every switch.
#ifndef QZO_KERNELS_CUDA_HOST_FIBER_H_
#define QZO_KERNELS_CUDA_HOST_FIBER_H_

#include <cstddef>
#include <memory>

namespace qzo::kernels::cuda::emulator {

class Fiber {
 public:
  Fiber();
  ~Fiber();
  Fiber(const Fiber&) = delete;
  Fiber& operator=(const Fiber&) = delete;

  // The next Resume calls entry() on a fresh stack, whatever was there; it must not return.
  void Reset(void (*entry)());
  void Resume();                // called outside of fibers; returns when the fiber suspends
  void Suspend(bool for_good);  // called inside; for_good: it will not be resumed before a Reset

 private:
  static void Start();

  const std::unique_ptr<std::byte[]> stack_;
  void* stack_pointer_ = nullptr;
  void* caller_stack_pointer_ = nullptr;
  void (*entry_)() = nullptr;
  // AddressSanitizer's record of the stack that is being left.
  void* fake_stack_ = nullptr;
  const void* caller_bottom_ = nullptr;
  size_t caller_size_ = 0;
};

}  // namespace qzo::kernels::cuda::emulator

#endif  // QZO_KERNELS_CUDA_HOST_FIBER_H_
