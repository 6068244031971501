// What device_gpu.cc, which the host's compiler compiles, needs of device_ops.cu.
#ifndef QZO_KERNELS_CUDA_DEVICE_OPS_H_
#define QZO_KERNELS_CUDA_DEVICE_OPS_H_

namespace qzo::kernels::cuda {

struct GpuOps;
const GpuOps& DeviceOps();
// Whether this program holds code for the current device.
bool DeviceHasCode();

}  // namespace qzo::kernels::cuda

#endif  // QZO_KERNELS_CUDA_DEVICE_OPS_H_
