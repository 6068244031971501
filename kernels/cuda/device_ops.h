// What device_gpu.cc, which the host's compiler compiles, needs of device_ops.cu.
#ifndef QZO_KERNELS_CUDA_DEVICE_OPS_H_
#define QZO_KERNELS_CUDA_DEVICE_OPS_H_

#include <cuda_runtime_api.h>

namespace qzo::kernels::cuda {

struct GpuOps;
const GpuOps& DeviceOps();
// Loads every kernel for the current device, and gives it leave for its shared memory. Without, the first launch would:
// while a graph is recorded, where loading is not allowed, or while a kernel runs that waits for another process, which
// loading may wait for.
cudaError_t LoadKernels();
int KernelCount();  // that LoadKernels knows

}  // namespace qzo::kernels::cuda

#endif  // QZO_KERNELS_CUDA_DEVICE_OPS_H_
