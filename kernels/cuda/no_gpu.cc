#include "kernels/cuda/backend.h"

namespace qzo::kernels::cuda {

absl::StatusOr<std::unique_ptr<Gpu>> OpenGpu() {
  return absl::UnavailableError("no CUDA device: this program was built without the CUDA toolkit");
}

}  // namespace qzo::kernels::cuda
