// A Gpu whose memory is the host's and whose kernels run on the emulator. As strict as a device may be: what is
// downloaded is NaN until it is waited for; what is uploaded may not change before; graphs start what was recorded,
// with the parameters of that time; nothing but launches may be recorded. Tests only.
#ifndef QZO_KERNELS_CUDA_HOST_EMULATED_GPU_H_
#define QZO_KERNELS_CUDA_HOST_EMULATED_GPU_H_

#include <memory>

#include "kernels/cuda/backend.h"
#include "kernels/cuda/host/emulator.h"

namespace qzo::kernels::cuda {

std::unique_ptr<Gpu> MakeEmulatedGpu(emulator::Order order = emulator::Order::kForward);
// As a fault on the device: nothing runs on it any more, nor on what shares it. `gpu` is one of those made above.
void LoseEmulatedGpu(Gpu* gpu);

}  // namespace qzo::kernels::cuda

#endif  // QZO_KERNELS_CUDA_HOST_EMULATED_GPU_H_
