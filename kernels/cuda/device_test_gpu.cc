#include <iostream>
#include <utility>

#include "kernels/cuda/test_gpu.h"

namespace qzo::kernels::cuda {

std::unique_ptr<Gpu> MakeTestGpu(emulator::Order) {
  absl::StatusOr<std::unique_ptr<Gpu>> gpu = OpenGpu();
  if (gpu.ok()) return std::move(gpu).value();
  std::cout << gpu.status().message() << "\n";
  return nullptr;
}

}  // namespace qzo::kernels::cuda
