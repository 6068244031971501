// The ops on a CUDA device: everything that nvcc compiles.
#include "kernels/cuda/device_ops.h"
#include "kernels/cuda/launch.h"

namespace qzo::kernels::cuda {
namespace {

struct DeviceLauncher {
  template <auto kKernel, typename Params>
  static void Run(void* stream, int grid_x, int grid_y, int threads, int shared_bytes, const Params& params) {
    // Beyond 48 KiB a kernel needs leave. What goes wrong here or in the launch stays the runtime's last error.
    static const cudaError_t allowed =
        cudaFuncSetAttribute(kKernel, cudaFuncAttributeMaxDynamicSharedMemorySize, shared_bytes);
    static_cast<void>(allowed);
    const dim3 grid(static_cast<unsigned>(grid_x), static_cast<unsigned>(grid_y));
    kKernel<<<grid, static_cast<unsigned>(threads), static_cast<size_t>(shared_bytes),
              static_cast<cudaStream_t>(stream)>>>(params);
  }
};

}  // namespace

const GpuOps& DeviceOps() { return Launches<DeviceLauncher>::kOps; }

bool DeviceHasCode() {
  cudaFuncAttributes attributes;
  return cudaFuncGetAttributes(&attributes, UpdateKernel) == cudaSuccess;
}

}  // namespace qzo::kernels::cuda
