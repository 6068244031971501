// What of device_ops.cu can be tested without a device.
#include "kernels/cuda/device_ops.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>

namespace qzo::kernels::cuda {
namespace {

// The gate on the machine code holds the budget to have every kernel of the library.
TEST(DeviceOpsTest, EveryKernelIsListedToBeLoaded) {
  std::ifstream file(std::string(std::getenv("QZO_SOURCE_DIR")) + "/kernels/cuda/budget.json");
  EXPECT_EQ(KernelCount(), static_cast<int>(nlohmann::json::parse(file).size()));
}

}  // namespace
}  // namespace qzo::kernels::cuda
