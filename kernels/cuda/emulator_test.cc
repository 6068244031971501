// The emulator finds what it is there to find.
#include <gmock/gmock.h>

#include "kernels/cuda/gpu.h"
#include "kernels/cuda/host/emulated_gpu.h"
#include "kernels/cuda/test_gpu.h"
#include "tests/support/status_matchers.h"

namespace qzo::kernels::cuda {
namespace {

using ::qzo::testing::StatusIs;
using ::testing::HasSubstr;

absl::Status RunKernel(const std::function<void()>& kernel, int threads = 64, size_t shared = 256,
                       emulator::Order order = emulator::Order::kForward) {
  return emulator::Launch(order, {1, 1}, threads, shared, kernel);
}

TEST(EmulatorTest, AMissingBarrierReadsWhatIsNotThereYet) {
  for (const bool barrier : {true, false}) {
    std::vector<float> forward(64), reverse(64);
    for (const auto order : {emulator::Order::kForward, emulator::Order::kReverse}) {
      std::vector<float>* const out = order == emulator::Order::kForward ? &forward : &reverse;
      ASSERT_OK(RunKernel(
          [out, barrier] {
            float* shared = reinterpret_cast<float*>(SharedMemory());
            shared[ThreadIndex()] = 1.0f;
            if (barrier) SyncThreads();
            (*out)[static_cast<size_t>(ThreadIndex())] = shared[63 - ThreadIndex()];
          },
          64, 256, order));
    }
    const std::vector<float> ones(64, 1.0f);
    EXPECT_EQ(forward == ones && reverse == ones, barrier);
  }
}

TEST(EmulatorTest, ABarrierThatSomeThreadsDoNotReachIsAnError) {
  EXPECT_THAT(RunKernel([] {
                if (ThreadIndex() < 32) SyncThreads();
              }),
              StatusIs(absl::StatusCode::kInternal, HasSubstr("32 of 64 threads wait at a barrier")));
}

TEST(EmulatorTest, AShuffleThatSomeLanesDoNotReachIsAnError) {
  EXPECT_THAT(RunKernel([] {
                if (ThreadIndex() != 5) ShuffleXor(1.0f, 1);
              }),
              StatusIs(absl::StatusCode::kInternal, HasSubstr("31 at a warp operation")));
}

TEST(EmulatorTest, AWritePastSharedMemoryIsAnError) {
  EXPECT_THAT(RunKernel([] { reinterpret_cast<float*>(SharedMemory())[ThreadIndex() + 1] = 0; }),
              StatusIs(absl::StatusCode::kInternal, HasSubstr("0 bytes past the end of shared memory")));
}

TEST(EmulatorTest, ACopyArrivesWhenItIsWaitedForAndNotBefore) {
  alignas(16) const float source[4] = {1, 2, 3, 4};
  float before = 0, after = 0;
  ASSERT_OK(RunKernel(
      [&] {
        float* shared = reinterpret_cast<float*>(SharedMemory()) + 4 * ThreadIndex();
        shared[0] = 7;
        CopyAsync16(shared, source);
        CopyAsyncCommit();
        CopyAsyncCommit();
        CopyAsyncWait<2>();
        before = shared[0];
        CopyAsyncWait<1>();
        after = shared[0];
      },
      32, 512));
  EXPECT_NE(before, before);
  EXPECT_EQ(after, 1);
}

TEST(EmulatorTest, CopiesThatNobodyWaitsForOrThatGoAstrayAreErrors) {
  alignas(16) static const float source[8] = {};
  const auto copy = [](int to, int from) {
    return RunKernel(
        [to, from] {
          CopyAsync16(SharedMemory() + to, reinterpret_cast<const std::byte*>(source) + from);
          CopyAsyncCommit();
        },
        32, 64);
  };
  EXPECT_THAT(copy(0, 0), StatusIs(absl::StatusCode::kInternal, HasSubstr("nobody waited for")));
  EXPECT_THAT(copy(0, 4), StatusIs(absl::StatusCode::kInternal, HasSubstr("misaligned")));
  EXPECT_THAT(copy(64, 0), StatusIs(absl::StatusCode::kInternal, HasSubstr("outside of shared memory")));
}

TEST(EmulatorTest, WhatNotEveryDeviceLaunchesIsAnError) {
  const auto launch = [](int x, int y, int threads, int shared) {
    return emulator::Launch(emulator::Order::kForward, {x, y}, threads, static_cast<size_t>(shared), [] {});
  };
  EXPECT_OK(launch(1, 2, 1024, 99 * 1024));
  for (const absl::Status& status : {launch(0, 1, 32, 0), launch(1, 0, 32, 0), launch(1, 65536, 32, 0),
                                     launch(1, 1, 0, 0), launch(1, 1, 48, 0), launch(1, 1, 1056, 0)}) {
    EXPECT_THAT(status, StatusIs(absl::StatusCode::kInternal, HasSubstr("no device launches a grid of")));
  }
  EXPECT_THAT(launch(1, 1, 32, 99 * 1024 + 1),
              StatusIs(absl::StatusCode::kInternal, HasSubstr("with 101377 bytes of shared memory")));
}

class EmulatedGpuTest : public ::testing::Test {
 protected:
  void Upload(OnDevice<float>* to, const float& from) {
    gpu_->Upload(reinterpret_cast<std::byte*>(to->get()), reinterpret_cast<const std::byte*>(&from), sizeof(from));
  }
  void LaunchCopy(float* from, float* to) {
    gpu_->ops().gather(gpu_->stream(), {.x = from, .map = zero_.get(), .dim = 1, .rows = one_.get(), .out = to}, 1);
  }
  const std::unique_ptr<Gpu> gpu_ = MakeEmulatedGpu();
  OnDevice<int32_t> zero_{*gpu_, std::vector<int32_t>{0}}, one_{*gpu_, std::vector<int32_t>{1}};
  OnDevice<float> a_{*gpu_, std::vector<float>{7}}, b_{*gpu_, std::vector<float>{8}};
};

TEST_F(EmulatedGpuTest, WhatIsUploadedMayNotChangeBeforeItWasWaitedFor) {
  float from = 1;
  Upload(&a_, from);
  EXPECT_OK(gpu_->Wait());
  from = 2;
  EXPECT_OK(gpu_->Wait());
  const std::unique_ptr<Gpu> other = gpu_->Share().value();
  other->Upload(reinterpret_cast<std::byte*>(a_.get()), reinterpret_cast<const std::byte*>(&from), sizeof(from));
  from = 3;
  EXPECT_THAT(other->Wait(), StatusIs(absl::StatusCode::kInternal, HasSubstr("changed before it was waited for")));
}

TEST_F(EmulatedGpuTest, WhatIsDownloadedIsThereWhenItWasWaitedForAndNotBefore) {
  float to = 1;
  gpu_->Download(reinterpret_cast<std::byte*>(&to), reinterpret_cast<const std::byte*>(a_.get()), sizeof(to));
  EXPECT_NE(to, to);
  EXPECT_OK(gpu_->Wait());
  EXPECT_EQ(to, 7);
}

TEST_F(EmulatedGpuTest, AGraphStartsWhatWasRecorded) {
  float* to = b_.get();
  OnDevice<float> c(*gpu_, std::vector<float>{9});
  gpu_->RunGraph({1, 1}, [&] { LaunchCopy(a_.get(), to); });
  EXPECT_THAT(b_.Read(), ::testing::ElementsAre(7));
  const float five = 5;
  Upload(&a_, five);
  EXPECT_OK(gpu_->Wait());
  to = c.get();
  gpu_->RunGraph({1, 1}, [&] { LaunchCopy(a_.get(), to); });
  EXPECT_THAT(b_.Read(), ::testing::ElementsAre(5));
  EXPECT_THAT(c.Read(), ::testing::ElementsAre(9));
}

TEST_F(EmulatedGpuTest, OnlyLaunchesAreRecorded) {
  const float from = 1;
  const std::unique_ptr<Gpu> other = gpu_->Share().value();
  other->RunGraph({1, 1}, [&] {
    other->Upload(reinterpret_cast<std::byte*>(a_.get()), reinterpret_cast<const std::byte*>(&from), sizeof(from));
  });
  EXPECT_THAT(other->Wait(), StatusIs(absl::StatusCode::kInternal, HasSubstr("an upload while a graph is recorded")));
}

// Fragments written down from the PTX ISA once more, independently of the emulator: A row-major in a[], B column-major.
TEST(EmulatorTest, TensorCoreFragmentsAreThoseOfThePtxManual) {
  std::mt19937 random(7);
  float a[16][16], b[16][8], expected[16][8], found[16][8];
  for (auto& row : a) {
    for (float& value : row) value = static_cast<float>(static_cast<int>(random() % 31) - 15);
  }
  for (auto& row : b) {
    for (float& value : row) value = static_cast<float>(static_cast<int>(random() % 31) - 15);
  }
  for (int i = 0; i < 16; ++i) {
    for (int j = 0; j < 8; ++j) {
      expected[i][j] = 0.5f;
      for (int k = 0; k < 16; ++k) expected[i][j] += a[i][k] * b[k][j];
    }
  }
  ASSERT_OK(RunKernel(
      [&] {
        const int group = ThreadIndex() / 4, in_group = ThreadIndex() % 4;
        uint32_t fragment[4];
        for (int i = 0; i < 4; ++i) {
          const int row = i == 0 || i == 2 ? group : group + 8, column = in_group * 2 + (i >= 2 ? 8 : 0);
          fragment[i] = PackBf16(a[row][column], a[row][column + 1]);
        }
        float d[4] = {0.5f, 0.5f, 0.5f, 0.5f};
        MmaBf16(d, fragment, PackBf16(b[in_group * 2][group], b[in_group * 2 + 1][group]),
                PackBf16(b[in_group * 2 + 8][group], b[in_group * 2 + 9][group]));
        for (int i = 0; i < 4; ++i) found[i < 2 ? group : group + 8][in_group * 2 + i % 2] = d[i];
      },
      32));
  EXPECT_EQ(std::memcmp(found, expected, sizeof(found)), 0);
}

TEST(EmulatorTest, LoadsOfMatricesAreThoseOfThePtxManual) {
  uint32_t plain[32][4], transposed[32][4];
  ASSERT_OK(RunKernel(
      [&] {
        uint16_t* shared = reinterpret_cast<uint16_t*>(SharedMemory());
        const int lane = ThreadIndex();
        for (int i = 0; i < 8; ++i) shared[8 * lane + i] = static_cast<uint16_t>(100 * lane + i);
        SyncThreads();
        LoadMatrices(plain[lane], shared + 8 * lane);
        LoadMatricesTransposed(transposed[lane], shared + 8 * lane);
      },
      32, 512));
  for (int lane = 0; lane < 32; ++lane) {
    for (int matrix = 0; matrix < 4; ++matrix) {
      const auto element = [&](int row, int column) {
        return static_cast<uint32_t>(100 * (8 * matrix + row) + column);
      };
      const int first = lane / 4, second = lane % 4 * 2;
      EXPECT_EQ(plain[lane][matrix], element(first, second) | element(first, second + 1) << 16);
      EXPECT_EQ(transposed[lane][matrix], element(second, first) | element(second + 1, first) << 16);
    }
  }
}

}  // namespace
}  // namespace qzo::kernels::cuda
