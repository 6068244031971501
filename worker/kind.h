// What workers must have in common to give bit-identical losses.
#ifndef QZO_WORKER_KIND_H_
#define QZO_WORKER_KIND_H_

#include <string>

#include "kernels/integer.h"

namespace qzo::worker {

// The arithmetic of the matrix products, the version of all arithmetic in kernels/ and model/graph, to be raised with
// every change that alters a bit of a loss, and the device class: "int16-1/cpu". Kernel variants of one kind agree bit
// for bit.
inline std::string KindOf(kernels::Arithmetic arithmetic) {
  return std::string(kernels::ArithmeticName(arithmetic)) + "-1/cpu";
}
// The same of passes on a GPU (kernels/cuda), by architecture, for tensor cores of different ones may round
// differently: "cuda-bf16-1/sm_90".
inline std::string KindOfGpu(const std::string& architecture) { return "cuda-bf16-1/" + architecture; }

}  // namespace qzo::worker

#endif  // QZO_WORKER_KIND_H_
