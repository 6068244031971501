#include "kernels/noise.h"

#include <algorithm>
#include <cmath>
#include <fstream>
#include <sstream>

#include "kernels/test_data.h"
#include "tests/support/temp_dir.h"

namespace qzo::kernels {
namespace {

constexpr uint64_t kSeed = 0x0123456789abcdefu;

class NoiseTest : public EveryVariant {
 protected:
  std::vector<float> Noise(const NoiseKey& key, int64_t begin, int64_t count) const {
    std::vector<float> z(static_cast<size_t>(count));
    kernels().noise(key, begin, count, z.data());
    return z;
  }
  std::vector<float> Floats(int64_t count) { return RandomFloats(random_, static_cast<size_t>(count)); }
};

TEST_P(NoiseTest, GivesTheGoldenVectors) {
  std::ifstream file(testing::TestFile("golden/noise.txt"));
  std::string signs, word;
  std::vector<float> gaussian;
  for (std::string line; std::getline(file, line);) {
    std::istringstream text(line);
    text >> word;
    if (word == "rademacher") text >> signs;
    if (word != "gaussian") continue;
    for (uint32_t bits; text >> std::hex >> bits;) gaussian.push_back(FromBits(bits));
  }
  ASSERT_EQ(signs.size(), 128u);
  ASSERT_EQ(gaussian.size(), 32u);
  NoiseKey key{.kind = NoiseKind::kRademacher, .seed = kSeed, .step = 7, .probe = 3, .tensor = 5};
  const std::vector<float> z = Noise(key, 256, 128);
  for (size_t i = 0; i < 128; ++i) EXPECT_EQ(z[i], signs[i] == '+' ? 1.0f : -1.0f) << i;
  key.kind = NoiseKind::kGaussian;
  EXPECT_EQ(FirstDifference(Noise(key, 128, 32), gaussian), -1);
}

TEST_P(NoiseTest, EqualsTheReferenceForAnyRange) {
  for (const NoiseKind kind : {NoiseKind::kRademacher, NoiseKind::kGaussian}) {
    const NoiseKey key{.kind = kind, .seed = kSeed, .step = 1, .probe = 2, .tensor = 3};
    for (const int64_t begin : {int64_t{0}, int64_t{128}, int64_t{2048}, int64_t{128} << 20}) {
      for (const int64_t count : {1, 15, 16, 17, 100, 128, 129, 2047, 2048, 2049, 5000}) {
        std::vector<float> expected(static_cast<size_t>(count));
        reference().noise(key, begin, count, expected.data());
        ASSERT_EQ(FirstDifference(Noise(key, begin, count), expected), -1) << begin << " " << count;
      }
    }
  }
}

TEST_P(NoiseTest, DependsOnEveryPartOfTheKeyAndNotOnTheRangeAskedFor) {
  for (const NoiseKind kind : {NoiseKind::kRademacher, NoiseKind::kGaussian}) {
    const NoiseKey key{.kind = kind, .seed = kSeed, .step = 1, .probe = 2, .tensor = 3};
    const std::vector<float> z = Noise(key, 0, 4096);
    EXPECT_TRUE(std::equal(z.begin() + 2944, z.end(), Noise(key, 2944, 1152).begin()));
    for (int part = 0; part < 5; ++part) {
      NoiseKey other = key;
      if (part == 0) other.seed ^= 1;
      if (part == 1) other.seed ^= uint64_t{1} << 63;
      if (part == 2) ++other.step;
      if (part == 3) ++other.probe;
      if (part == 4) ++other.tensor;
      const std::vector<float> different = Noise(other, 0, 4096);
      double correlation = 0;
      for (size_t i = 0; i < z.size(); ++i) correlation += z[i] * different[i];
      EXPECT_LT(std::fabs(correlation), 5 * std::sqrt(4096.0)) << part;  // five standard deviations
    }
  }
}

// Bounds are five standard errors of the statistic over a million values.
TEST_P(NoiseTest, RademacherIsBalanced) {
  const int64_t count = 1 << 20;
  const std::vector<float> z = Noise({.kind = NoiseKind::kRademacher, .seed = 99}, 0, count);
  double sum = 0, neighbours = 0;
  for (size_t i = 0; i < z.size(); ++i) {
    ASSERT_EQ(std::fabs(z[i]), 1.0f);
    sum += z[i];
    if (i > 0) neighbours += z[i] * z[i - 1];
  }
  EXPECT_LT(std::fabs(sum), 5 * std::sqrt(static_cast<double>(count)));
  EXPECT_LT(std::fabs(neighbours), 5 * std::sqrt(static_cast<double>(count)));
}

TEST_P(NoiseTest, GaussianIsStandardNormal) {
  const size_t count = 1 << 20;
  std::vector<float> z = Noise({.kind = NoiseKind::kGaussian, .seed = 99}, 0, static_cast<int64_t>(count));
  double moments[5] = {}, neighbours = 0;
  for (size_t i = 0; i < count; ++i) {
    for (int power = 1; power <= 4; ++power)
      moments[power] += std::pow(double{z[i]}, power) / static_cast<double>(count);
    if (i > 0) neighbours += double{z[i]} * z[i - 1] / static_cast<double>(count);
  }
  const double error = 5 / std::sqrt(static_cast<double>(count));
  EXPECT_NEAR(moments[1], 0, error);
  EXPECT_NEAR(moments[2], 1, error * std::sqrt(2.0));
  EXPECT_NEAR(moments[3], 0, error * std::sqrt(15.0));
  EXPECT_NEAR(moments[4], 3, error * std::sqrt(96.0));
  EXPECT_NEAR(neighbours, 0, error);
  std::sort(z.begin(), z.end());
  double distance = 0;  // Kolmogorov–Smirnov; 1.95 / sqrt(count) is exceeded once in a thousand seeds
  for (size_t i = 0; i < count; ++i) {
    const double below = std::erfc(-z[i] / std::sqrt(2.0)) / 2,
                 at = static_cast<double>(i) / static_cast<double>(count);
    distance = std::max(distance, std::fabs(below - at));
  }
  EXPECT_LT(distance * std::sqrt(static_cast<double>(count)), 1.95);
  EXPECT_LT(std::max(-z.front(), z.back()), 5.77f);
}

TEST(BoxMuller, StaysNearTheExactTransform) {
  for (uint32_t block = 0; block < 100'000; ++block) {
    const base::PhiloxWords words = NoiseWords({.seed = kSeed}, block);
    float n0, n1;
    BoxMuller(words.w[0], words.w[1], &n0, &n1);
    const double r = std::sqrt(-2 * std::log(((words.w[0] >> 8) + 1.0) * 0x1p-24));
    const int32_t offset = static_cast<int32_t>(words.w[1] << 2) >> 8;
    const double angle = M_PI / 2 * (offset * 0x1p-24 + static_cast<double>(words.w[1] >> 30));
    ASSERT_NEAR(n0, r * std::cos(angle), 1e-6);
    ASSERT_NEAR(n1, r * std::sin(angle), 1e-6);
  }
}

TEST_P(NoiseTest, PerturbEqualsTheReferenceAndTheFormula) {
  for (const NoiseKind kind : {NoiseKind::kRademacher, NoiseKind::kGaussian}) {
    const NoiseKey key{.kind = kind, .seed = kSeed, .step = 1};
    for (const int64_t count : {1, 16, 33, 2048, 3001}) {
      const std::vector<float> k = Floats(count), unit = Floats(count), z = Noise(key, 384, count);
      for (const float* maybe_unit : {unit.data(), static_cast<const float*>(nullptr)}) {
        std::vector<float> out(k.size()), expected(k.size()), formula(k.size());
        kernels().perturb(key, 384, count, k.data(), maybe_unit, -1e-3f, out.data());
        reference().perturb(key, 384, count, k.data(), maybe_unit, -1e-3f, expected.data());
        for (size_t i = 0; i < k.size(); ++i) {
          formula[i] = Fma(-1e-3f * (maybe_unit == nullptr ? 1.0f : unit[i]), z[i], k[i]);
        }
        ASSERT_EQ(FirstDifference(out, expected), -1) << count;
        ASSERT_EQ(FirstDifference(out, formula), -1) << count;
        std::vector<float> in_place = k;
        kernels().perturb(key, 384, count, in_place.data(), maybe_unit, -1e-3f, in_place.data());
        ASSERT_EQ(FirstDifference(in_place, formula), -1) << count;
      }
    }
  }
}

TEST_P(NoiseTest, UpdateEqualsTheReferenceAndTheFormula) {
  for (const NoiseKind kind : {NoiseKind::kRademacher, NoiseKind::kGaussian}) {
    const std::vector<NoiseKey> keys = {{.kind = kind, .seed = kSeed, .step = 1, .probe = 0},
                                        {.kind = kind, .seed = kSeed, .step = 1, .probe = 1},
                                        {.kind = kind, .seed = kSeed, .step = 1, .probe = 2}};
    const std::vector<float> coefficients = {0.3f, 0.0f, -0.7f};
    for (const int64_t count : {1, 16, 33, 2048, 3001}) {
      const std::vector<float> start = Floats(count), unit = Floats(count);
      for (const float* maybe_unit : {unit.data(), static_cast<const float*>(nullptr)}) {
        std::vector<float> k = start, expected = start, formula = start;
        kernels().update(keys, coefficients, 128, count, maybe_unit, k.data());
        reference().update(keys, coefficients, 128, count, maybe_unit, expected.data());
        for (size_t probe = 0; probe < 3; probe += 2) {
          const std::vector<float> z = Noise(keys[probe], 128, count);
          for (size_t i = 0; i < formula.size(); ++i) {
            const float u = maybe_unit == nullptr ? 1.0f : unit[i];
            const float moved = Fma(-(coefficients[probe] * u), z[i], formula[i]);
            const float floor = maybe_unit == nullptr ? 0x1p-6f : 1e-7f * std::fabs(u);
            formula[i] = floor > moved ? floor : moved;
          }
        }
        ASSERT_EQ(FirstDifference(k, expected), -1) << count;
        ASSERT_EQ(FirstDifference(k, formula), -1) << count;
      }
    }
  }
}

TEST_P(NoiseTest, UpdateStopsAtTheFloor) {
  const std::vector<NoiseKey> key = {{.kind = NoiseKind::kRademacher, .seed = kSeed}};
  const std::vector<float> huge = {100.0f};
  std::vector<float> k(256, 1.0f);
  kernels().update(key, huge, 0, 256, nullptr, k.data());
  EXPECT_GT(std::count(k.begin(), k.end(), 0x1p-6f), 64);
  EXPECT_EQ(std::count(k.begin(), k.end(), 0x1p-6f) + std::count(k.begin(), k.end(), 101.0f), 256);

  // In absolute mode a scale may be negative, and where it is 0 the multiplier never moves.
  std::vector<float> unit(256, -2.0f);
  unit[7] = 0;
  k.assign(256, 1.0f);
  kernels().update(key, huge, 0, 256, unit.data(), k.data());
  EXPECT_EQ(k[7], 1.0f);
  EXPECT_EQ(std::count(k.begin(), k.end(), 1e-7f * 2.0f) + std::count(k.begin(), k.end(), 201.0f), 255);
}

TEST_P(NoiseTest, UpdateWithZeroCoefficientsLeavesEveryBit) {
  const std::vector<NoiseKey> keys(2, NoiseKey{.seed = kSeed});
  const std::vector<float> zeros = {0.0f, -0.0f};
  const std::vector<float> start = Floats(300);  // values below the floor among them
  std::vector<float> k = start;
  kernels().update(keys, zeros, 0, 300, nullptr, k.data());
  EXPECT_EQ(FirstDifference(k, start), -1);
}

TEST_P(NoiseTest, DenormalsAreKept) {
  const std::vector<NoiseKey> key = {{.kind = NoiseKind::kRademacher, .seed = kSeed}};
  const float tiny = 0x1p-149f;
  const std::vector<float> zero(64, 0.0f), unit(64, tiny);
  std::vector<float> out(64);
  kernels().perturb(key[0], 0, 64, zero.data(), nullptr, tiny, out.data());
  for (const float value : out) EXPECT_EQ(std::fabs(value), tiny);
  const std::vector<float> one = {1.0f};
  std::vector<float> k(64, 3 * tiny);
  kernels().update(key, one, 0, 64, unit.data(), k.data());
  EXPECT_EQ(std::count(k.begin(), k.end(), 2 * tiny) + std::count(k.begin(), k.end(), 4 * tiny), 64);
}

QZO_INSTANTIATE_EVERY_VARIANT(NoiseTest);

}  // namespace
}  // namespace qzo::kernels
