#include <cstdlib>
#include <iostream>
#include <utility>

#include "kernels/cuda/test_gpu.h"

namespace qzo::kernels::cuda {

std::unique_ptr<Gpu> MakeTestGpu(emulator::Order) {
  absl::StatusOr<std::unique_ptr<Gpu>> gpu = OpenGpu();
  if (gpu.ok()) return std::move(gpu).value();
  std::cout << gpu.status().message() << "\n";
  if (std::getenv("QZO_GPU_REQUIRED") != nullptr) {
    std::cout << "QZO_GPU_REQUIRED: a GPU is expected here" << std::endl;
    std::exit(1);
  }
  return nullptr;
}

}  // namespace qzo::kernels::cuda
