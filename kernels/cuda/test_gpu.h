// What the tests of this folder share: the emulated device in every order of threads, or a real one, and its memory as
// vectors.
#ifndef QZO_KERNELS_CUDA_TEST_GPU_H_
#define QZO_KERNELS_CUDA_TEST_GPU_H_

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "kernels/cuda/backend.h"
#include "kernels/cuda/host/emulator.h"
#include "kernels/cuda/ops.h"

namespace qzo::kernels::cuda {

// The emulator, or in the programs cuda_device_* the machine's GPU, whose threads have an order of their own; nullptr
// where there is none.
std::unique_ptr<Gpu> MakeTestGpu(emulator::Order order = emulator::Order::kForward);

// Device memory with a copy of `values`, or of a count of NaNs. Guards behind it must stay as they are.
template <typename T>
class OnDevice {
 public:
  OnDevice(Gpu& gpu, const std::vector<T>& values) : OnDevice(gpu, values.size()) {
    gpu.Upload(memory_, reinterpret_cast<const std::byte*>(values.data()), bytes_);
    EXPECT_TRUE(gpu.Wait().ok());
  }
  OnDevice(Gpu& gpu, size_t count) : gpu_(gpu), bytes_(count * sizeof(T)) {
    memory_ = *gpu.Allocate(bytes_ + kGuardBytes);
    std::vector<std::byte> content(bytes_, std::byte{0xff});
    content.resize(bytes_ + kGuardBytes, kGuard);
    gpu.Upload(memory_, content.data(), content.size());
    EXPECT_TRUE(gpu.Wait().ok());
  }
  ~OnDevice() {
    std::vector<std::byte> guard(kGuardBytes);
    gpu_.Download(guard.data(), memory_ + bytes_, kGuardBytes);
    static_cast<void>(gpu_.Wait());
    EXPECT_EQ(guard, std::vector<std::byte>(kGuardBytes, kGuard)) << "a write past the end of an array";
    gpu_.Free(memory_);
  }
  OnDevice(const OnDevice&) = delete;
  OnDevice& operator=(const OnDevice&) = delete;

  T* get() { return reinterpret_cast<T*>(memory_); }
  std::vector<T> Read() {
    std::vector<T> values(bytes_ / sizeof(T));
    gpu_.Download(reinterpret_cast<std::byte*>(values.data()), memory_, bytes_);
    const absl::Status status = gpu_.Wait();
    EXPECT_TRUE(status.ok()) << status.message();
    return values;
  }

 private:
  static constexpr size_t kGuardBytes = 64;
  static constexpr std::byte kGuard{0x5a};
  Gpu& gpu_;
  const size_t bytes_;
  std::byte* memory_;
};

// Cuts the `count` rows of a lane, which follow `*rows` others, into strips.
inline void AddStrips(int lane, int count, int* rows, std::vector<Strip>* strips) {
  for (int left = count; left > 0; left -= kStripRows) {
    const int taken = std::min(left, kStripRows);
    strips->push_back({.begin = *rows, .rows = taken, .lane = lane});
    *rows += taken;
  }
}

// Every schedule must give the same bits.
class EveryOrder : public ::testing::TestWithParam<emulator::Order> {
 protected:
  void SetUp() override {
    if (gpu_ == nullptr) GTEST_SKIP() << "no GPU";
  }
  Gpu& gpu() { return *gpu_; }
  std::mt19937 random_{20240607};

 private:
  const std::unique_ptr<Gpu> gpu_ = MakeTestGpu(GetParam());
};

template <typename Base = ::testing::Test>
class OnTestGpu : public Base {
 protected:
  void SetUp() override {
    if (gpu_ == nullptr) GTEST_SKIP() << "no GPU";
  }
  const std::unique_ptr<Gpu> gpu_ = MakeTestGpu();
};

inline std::string OrderName(const ::testing::TestParamInfo<emulator::Order>& info) {
  return info.param == emulator::Order::kForward   ? "Forward"
         : info.param == emulator::Order::kReverse ? "Reverse"
                                                   : "Shuffled";
}
#define QZO_INSTANTIATE_EVERY_ORDER(suite) \
  INSTANTIATE_TEST_SUITE_P(                \
      Orders, suite,                       \
      ::testing::Values(emulator::Order::kForward, emulator::Order::kReverse, emulator::Order::kShuffled), OrderName)

}  // namespace qzo::kernels::cuda

#endif  // QZO_KERNELS_CUDA_TEST_GPU_H_
