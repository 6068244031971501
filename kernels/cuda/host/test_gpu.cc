#include "kernels/cuda/test_gpu.h"

#include "kernels/cuda/host/emulated_gpu.h"

namespace qzo::kernels::cuda {

std::unique_ptr<Gpu> MakeTestGpu(emulator::Order order) { return MakeEmulatedGpu(order); }

}  // namespace qzo::kernels::cuda
