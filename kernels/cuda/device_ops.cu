// The ops on a CUDA device: everything that nvcc compiles.
#include <vector>

#include "kernels/cuda/device_ops.h"
#include "kernels/cuda/launch.h"

namespace qzo::kernels::cuda {
namespace {

struct Kernel {
  const void* function;
  int shared_bytes;
};
std::vector<Kernel>& Kernels() {
  static std::vector<Kernel> kernels;
  return kernels;
}

// Lists a kernel before main, because something launches it.
template <auto kKernel, int kSharedBytes>
struct Listed {
  static const bool kListed;
};
template <auto kKernel, int kSharedBytes>
const bool Listed<kKernel, kSharedBytes>::kListed =
    (Kernels().push_back({reinterpret_cast<const void*>(kKernel), kSharedBytes}), true);

struct DeviceLauncher {
  // What goes wrong in a launch stays the runtime's last error.
  template <auto kKernel, int kSharedBytes, typename Params>
  static void Run(void* stream, int grid_x, int grid_y, int threads, const Params& params) {
    static_cast<void>(&Listed<kKernel, kSharedBytes>::kListed);
    const dim3 grid(static_cast<unsigned>(grid_x), static_cast<unsigned>(grid_y));
    kKernel<<<grid, static_cast<unsigned>(threads), kSharedBytes, static_cast<cudaStream_t>(stream)>>>(params);
  }
};

}  // namespace

const GpuOps& DeviceOps() { return Launches<DeviceLauncher>::kOps; }

int KernelCount() { return static_cast<int>(Kernels().size()); }

cudaError_t LoadKernels() {
  for (const Kernel& kernel : Kernels()) {
    cudaFuncAttributes attributes;
    if (const cudaError_t error = cudaFuncGetAttributes(&attributes, kernel.function); error != cudaSuccess) {
      return error;
    }
    if (const cudaError_t error =
            cudaFuncSetAttribute(kernel.function, cudaFuncAttributeMaxDynamicSharedMemorySize, kernel.shared_bytes);
        error != cudaSuccess) {
      return error;
    }
  }
  return cudaSuccess;
}

}  // namespace qzo::kernels::cuda
