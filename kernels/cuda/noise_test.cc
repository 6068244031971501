// The bits of the host's noise, perturbation and update.
#include "kernels/cuda/test_gpu.h"
#include "kernels/test_data.h"

namespace qzo::kernels::cuda {
namespace {

class CudaNoiseTest : public OnTestGpu<::testing::TestWithParam<NoiseKind>> {
 protected:
  NoiseKey KeyOf(uint32_t probe) const {
    return {.kind = GetParam(), .seed = 0xfedcba9876543210u, .step = 41, .probe = probe, .tensor = 3};
  }
  LaneNoise LaneOf(uint32_t probe, float signed_epsilon) const {
    return {.seed = KeyOf(0).seed, .step = 41, .probe = probe, .signed_epsilon = signed_epsilon, .kind = GetParam()};
  }
  std::mt19937 random_{11};
};

TEST_P(CudaNoiseTest, PerturbedMultipliersHaveTheBitsOfTheReference) {
  for (const size_t count : {1, 127, 700}) {
    for (const bool with_units : {false, true}) {
      const std::vector<float> k = RandomFloats(random_, count), units = RandomFloats(random_, count);
      std::vector<float> expected(count);
      AllKernels().front()->perturb(KeyOf(2), 0, static_cast<int64_t>(count), k.data(),
                                    with_units ? units.data() : nullptr, -0.01f, expected.data());
      OnDevice<float> device_k(*gpu_, k), device_units(*gpu_, units), out(*gpu_, count);
      gpu_->ops().perturb(gpu_->stream(),
                          {.multipliers = {device_k.get(), with_units ? device_units.get() : nullptr, 3},
                           .lane = LaneOf(2, -0.01f),
                           .count = static_cast<uint32_t>(count),
                           .out = out.get()});
      EXPECT_EQ(FirstDifference(out.Read(), expected), -1) << count << " units " << with_units;
    }
  }
}

TEST(CudaUpdateTest, ATensorMayHaveAlmostTwoToTheThirtySecondValues) {
  EXPECT_EQ(UpdateBlocks(0xffffffffu), 1 << 24);
  EXPECT_EQ(UpdateBlocks(256), 1);
  EXPECT_EQ(UpdateBlocks(257), 2);
  EXPECT_EQ(UpdateIndex((1 << 24) - 1, 255), 0xffffffffu);
}

TEST_P(CudaNoiseTest, UpdatesOfAllTensorsHaveTheBitsOfTheReference) {
  constexpr uint32_t kCounts[] = {517, 1, 256, 40};
  constexpr uint32_t kOrdinals[] = {3, 0, 7, 8};
  constexpr float kDeltaUnit = 0.3f;
  const std::vector<float> coefficients = {0.03f, 0.0f, -2.0f, 1e-4f};
  std::vector<UpdateTensor> tensors;
  int64_t all = 0, multiplied = 0;
  int blocks = 0;
  for (size_t i = 0; i < 4; ++i) {
    const bool deltas = i == 2;  // in the middle: units lie elsewhere than multipliers
    tensors.push_back({all, kCounts[i], kOrdinals[i], blocks, deltas, multiplied});
    all += kCounts[i];
    if (!deltas) multiplied += kCounts[i];
    blocks += UpdateBlocks(kCounts[i]);
  }
  for (const bool with_units : {false, true}) {
    std::vector<float> k = RandomFloats(random_, static_cast<size_t>(all));
    const std::vector<float> units = RandomFloats(random_, static_cast<size_t>(multiplied));
    std::vector<NoiseKey> keys;
    std::vector<LaneNoise> probes;
    for (uint32_t probe = 0; probe < coefficients.size(); ++probe) {
      keys.push_back(KeyOf(probe));
      probes.push_back(LaneOf(probe, 0));
    }
    OnDevice<float> device_k(*gpu_, k), device_units(*gpu_, units), device_coefficients(*gpu_, coefficients);
    OnDevice<LaneNoise> device_probes(*gpu_, probes);
    OnDevice<UpdateTensor> device_tensors(*gpu_, tensors);
    gpu_->ops().update(gpu_->stream(), {.k = device_k.get(),
                                        .unit = with_units ? device_units.get() : nullptr,
                                        .delta_unit = kDeltaUnit,
                                        .tensors = device_tensors.get(),
                                        .tensor_count = static_cast<int>(tensors.size()),
                                        .blocks = blocks,
                                        .probes = device_probes.get(),
                                        .coefficients = device_coefficients.get(),
                                        .probe_count = static_cast<int>(coefficients.size())});
    for (const UpdateTensor& tensor : tensors) {
      for (NoiseKey& key : keys) key.tensor = tensor.ordinal;
      float* const values = k.data() + tensor.begin;
      if (!tensor.deltas) {
        AllKernels().front()->update(keys, coefficients, 0, tensor.count,
                                     with_units ? units.data() + tensor.unit : nullptr, values);
        continue;
      }
      for (size_t i = 0; i < keys.size(); ++i) {
        if (coefficients[i] == 0) continue;
        AllKernels().front()->perturb(keys[i], 0, tensor.count, values, nullptr, -(coefficients[i] * kDeltaUnit),
                                      values);
      }
    }
    EXPECT_EQ(FirstDifference(device_k.Read(), k), -1) << "units " << with_units;
  }
}

INSTANTIATE_TEST_SUITE_P(Kinds, CudaNoiseTest, ::testing::Values(NoiseKind::kRademacher, NoiseKind::kGaussian),
                         [](const auto& kind) {
                           return kind.param == NoiseKind::kRademacher ? "Rademacher" : "Gaussian";
                         });

}  // namespace
}  // namespace qzo::kernels::cuda
