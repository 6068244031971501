// Random operands for the tests of this folder, and the fixture that runs a test on every variant.
#ifndef QZO_KERNELS_TEST_DATA_H_
#define QZO_KERNELS_TEST_DATA_H_

#include <gtest/gtest.h>

#include <bit>
#include <cstdint>
#include <cstring>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "kernels/emulated.h"
#include "kernels/kernels.h"
#include "kernels/weights.h"

namespace qzo::kernels {

// Mostly in (−1, 1), with zeros of both signs and denormals among them.
inline std::vector<float> RandomFloats(std::mt19937& random, size_t count) {
  std::uniform_real_distribution<float> uniform(-1, 1);
  std::vector<float> values(count);
  for (float& value : values) {
    const uint32_t dice = random() % 64;
    value = dice == 0 ? 0.0f : dice == 1 ? -0.0f : uniform(random) * (dice == 2 ? 1e-39f : 1.0f);
  }
  return values;
}

// Where a block of a quantized type has its half-precision scale and, if there is one, its minimum.
inline std::vector<size_t> HalvesOf(WeightType type) {
  switch (type) {
    case WeightType::kQ4_1:
    case WeightType::kQ5_1:
    case WeightType::kQ4_K:
    case WeightType::kQ5_K:
      return {0, 2};
    case WeightType::kQ2_K:
      return {80, 82};
    case WeightType::kQ3_K:
    case WeightType::kQ6_K:
    case WeightType::kTQ1_0:
    case WeightType::kTQ2_0:
      return {static_cast<size_t>(BlockBytes(type)) - 2};
    default:
      return {0};
  }
}

// Random stored bytes whose values are finite and of ordinary size; block scales of both signs, zero and denormal too.
inline std::vector<std::byte> RandomWeights(std::mt19937& random, WeightType type, int64_t rows, int64_t cols) {
  const size_t block = static_cast<size_t>(BlockBytes(type));
  std::vector<std::byte> bytes(static_cast<size_t>(rows * (cols / BlockValues(type))) * block);
  const auto random_half = [&] {
    const uint32_t exponent = random() % 16;  // up to 1/2 … 1, down to denormal
    return static_cast<uint16_t>((random() & 0x83ffu) | exponent << 10);
  };
  for (size_t at = 0; at < bytes.size(); at += block) {
    for (size_t i = 0; i < block; ++i) bytes[at + i] = static_cast<std::byte>(random());
    if (type == WeightType::kF32) {
      const float value = RandomFloats(random, 1)[0];
      std::memcpy(&bytes[at], &value, 4);
    } else if (type == WeightType::kBF16) {
      const uint16_t value = static_cast<uint16_t>(std::bit_cast<uint32_t>(RandomFloats(random, 1)[0]) >> 16);
      std::memcpy(&bytes[at], &value, 2);
    } else if (type >= WeightType::kU2x32) {  // scales of at most half precision
      const float scale = HalfToFloat(random_half());
      const int64_t bits = (BlockBytes(type) - 4) * 8 / BlockValues(type);
      const uint32_t word = std::bit_cast<uint32_t>(scale) | static_cast<uint32_t>(random() % ((1u << bits) + 1));
      std::memcpy(&bytes[at], &word, 4);
    } else if (type == WeightType::kMXFP4) {
      bytes[at] = static_cast<std::byte>(random() % 8 == 0 ? random() % 2 : 120 + random() % 8);
    } else {
      if (type == WeightType::kIQ1_M) {  // the half is spread over four words: leave its exponent small
        bytes[at + 55] &= std::byte{0x8f};
        continue;
      }
      for (const size_t offset : HalvesOf(type)) {
        const uint16_t half = random_half();
        std::memcpy(&bytes[at + offset], &half, 2);
      }
    }
  }
  return bytes;
}

inline std::vector<WeightType> AllWeightTypes() {
  std::vector<WeightType> types;
  for (int type = 0; type <= static_cast<int>(WeightType::kU8x128); ++type) {
    types.push_back(static_cast<WeightType>(type));
  }
  return types;
}

// A matrix product with operands of its own. Rows of x and y are longer than they need be; the excess of y must stay as
// it is.
struct MatMulCase {
  MatMulCase(std::mt19937& random, WeightType type, int64_t m, int64_t n, int64_t k, Granularity granularity,
             std::vector<int64_t> lane_ends, bool with_multipliers, bool accumulate, int64_t group = 0)
      : x(RandomFloats(random, static_cast<size_t>(m * (k + 3)))),
        w(RandomWeights(random, type, n, k)),
        y(RandomFloats(random, static_cast<size_t>(m * (n + 5)))) {
    const size_t per_lane = static_cast<size_t>(
        granularity == Granularity::kChannel ? n : n * (k / (group != 0 ? group : GroupValues(type))));
    int64_t begin = 0;
    for (const int64_t end : lane_ends) {
      multipliers.push_back(RandomFloats(random, per_lane));
      // One lane without multipliers among those with.
      const bool ones = !with_multipliers || lanes.size() == 1;
      lanes.push_back({begin, end, ones ? nullptr : multipliers.back().data()});
      begin = end;
    }
    args = {.x = x.data(),
            .ldx = k + 3,
            .w = {type, w.data(), n, k, group},
            .granularity = granularity,
            .lanes = lanes,
            .y = y.data(),
            .ldy = n + 5,
            .accumulate = accumulate};
  }
  MatMulCase(const MatMulCase&) = delete;
  MatMulCase& operator=(const MatMulCase&) = delete;

  // y after columns [begin, end) were computed by `kernels` from the same start.
  std::vector<float> Run(const Kernels& kernels, int64_t begin, int64_t end) const {
    std::vector<float> result = y;
    MatMulArgs run = args;
    run.y = result.data();
    kernels.matmul(run, begin, end);
    return result;
  }
  std::vector<float> Run(const Kernels& kernels) const { return Run(kernels, 0, args.w.rows); }

  std::vector<float> x;
  std::vector<std::byte> w;
  std::vector<float> y;
  std::vector<std::vector<float>> multipliers;
  std::vector<LaneRows> lanes;
  MatMulArgs args;
};

// Index of the first element whose bits differ, or -1.
inline int64_t FirstDifference(const std::vector<float>& a, const std::vector<float>& b) {
  for (size_t i = 0; i < a.size(); ++i) {
    if (std::bit_cast<uint32_t>(a[i]) != std::bit_cast<uint32_t>(b[i])) return static_cast<int64_t>(i);
  }
  return a.size() == b.size() ? -1 : static_cast<int64_t>(std::min(a.size(), b.size()));
}

class EveryVariant : public ::testing::TestWithParam<const Kernels*> {
 protected:
  void SetUp() override {
    if (!GetParam()->supported()) GTEST_SKIP() << "this machine lacks " << GetParam()->name;
  }
  const Kernels& kernels() const { return *GetParam(); }
  const Kernels& reference() const { return *AllKernels().front(); }
  std::mt19937 random_{20240607};
};

#define QZO_INSTANTIATE_EVERY_VARIANT(suite)                                     \
  INSTANTIATE_TEST_SUITE_P(Variants, suite, ::testing::ValuesIn(EveryKernels()), \
                           [](const auto& variant) { return std::string(variant.param->name); })

}  // namespace qzo::kernels

#endif  // QZO_KERNELS_TEST_DATA_H_
