#include "kernels/weights.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <vector>

#include "kernels/code_range.h"
#include "kernels/test_data.h"
#include "tests/support/temp_dir.h"

namespace qzo::kernels {
namespace {

std::string Golden(WeightType type, const std::string& part) {
  std::ifstream file(testing::TestFile("golden/gguf/" + std::string(WeightTypeName(type)) + "." + part + ".bin"),
                     std::ios::binary);
  EXPECT_TRUE(file.is_open());
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

TEST(Weights, DecodeTheGoldenBlocks) {
  for (const WeightType type : AllWeightTypes()) {
    if (BlockValues(type) == 1 || type >= WeightType::kU2x32) continue;  // those have EncodeCodes
    const std::string blocks = Golden(type, "blocks"), expected = Golden(type, "f32");
    const int64_t cols = static_cast<int64_t>(expected.size() / sizeof(float)) / 2;
    ASSERT_EQ(cols, 4 * BlockValues(type)) << WeightTypeName(type);
    std::vector<float> decoded(static_cast<size_t>(2 * cols));
    const WeightMatrix w{type, reinterpret_cast<const std::byte*>(blocks.data()), 2, cols};
    for (int64_t row = 0; row < 2; ++row) DequantizeRow(w, row, decoded.data() + row * cols);
    EXPECT_EQ(std::memcmp(decoded.data(), expected.data(), expected.size()), 0) << WeightTypeName(type);
  }
}

TEST(Weights, ConvertEveryHalf) {
  for (uint32_t half = 0; half <= 0xffff; ++half) {
    const float value = HalfToFloat(static_cast<uint16_t>(half));
    const int exponent = static_cast<int>(half >> 10 & 31), fraction = static_cast<int>(half & 0x3ff);
    if (exponent == 31) {
      EXPECT_EQ(std::isnan(value), fraction != 0);
      EXPECT_EQ(std::isinf(value), fraction == 0);
    } else {
      const double expected = exponent == 0 ? std::ldexp(fraction, -24) : std::ldexp(1024 + fraction, exponent - 25);
      ASSERT_EQ(std::fabs(value), expected) << half;
    }
    EXPECT_EQ(std::signbit(value), half >> 15 == 1);
  }
}

TEST(Weights, DecodePlainTypes) {
  const float floats[] = {1.5f, -0.0f, 1e-40f};
  const uint16_t halves[] = {0x3e00, 0x8000, 0x0001};
  const uint16_t brains[] = {0x3fc0, 0x8000, 0x0001};
  float out[3];
  DequantizeRow({WeightType::kF32, reinterpret_cast<const std::byte*>(floats), 1, 3}, 0, out);
  EXPECT_EQ(std::memcmp(out, floats, sizeof(out)), 0);
  DequantizeRow({WeightType::kF16, reinterpret_cast<const std::byte*>(halves), 3, 1}, 2, out);
  EXPECT_EQ(out[0], 0x1p-24f);
  DequantizeRow({WeightType::kBF16, reinterpret_cast<const std::byte*>(brains), 1, 3}, 0, out);
  EXPECT_EQ(out[0], 1.5f);
  EXPECT_TRUE(std::signbit(out[1]));
  EXPECT_EQ(std::bit_cast<uint32_t>(out[2]), 0x00010000u);
}

TEST(Weights, DescribeTheirTypes) {
  const struct {
    WeightType type;
    std::string_view name;
    int64_t values, bytes, group;
  } expected[] = {{WeightType::kF32, "F32", 1, 4, 1},
                  {WeightType::kF16, "F16", 1, 2, 1},
                  {WeightType::kBF16, "BF16", 1, 2, 1},
                  {WeightType::kQ4_0, "Q4_0", 32, 18, 32},
                  {WeightType::kQ4_1, "Q4_1", 32, 20, 32},
                  {WeightType::kQ5_0, "Q5_0", 32, 22, 32},
                  {WeightType::kQ5_1, "Q5_1", 32, 24, 32},
                  {WeightType::kQ8_0, "Q8_0", 32, 34, 32},
                  {WeightType::kIQ4_NL, "IQ4_NL", 32, 18, 32},
                  {WeightType::kMXFP4, "MXFP4", 32, 17, 32},
                  {WeightType::kQ2_K, "Q2_K", 256, 84, 16},
                  {WeightType::kQ3_K, "Q3_K", 256, 110, 16},
                  {WeightType::kQ4_K, "Q4_K", 256, 144, 32},
                  {WeightType::kQ5_K, "Q5_K", 256, 176, 32},
                  {WeightType::kQ6_K, "Q6_K", 256, 210, 16},
                  {WeightType::kIQ4_XS, "IQ4_XS", 256, 136, 32},
                  {WeightType::kTQ1_0, "TQ1_0", 256, 54, 256},
                  {WeightType::kTQ2_0, "TQ2_0", 256, 66, 256},
                  {WeightType::kIQ1_S, "IQ1_S", 256, 50, 32},
                  {WeightType::kIQ1_M, "IQ1_M", 256, 56, 16},
                  {WeightType::kIQ2_XXS, "IQ2_XXS", 256, 66, 32},
                  {WeightType::kIQ2_XS, "IQ2_XS", 256, 74, 16},
                  {WeightType::kIQ2_S, "IQ2_S", 256, 82, 16},
                  {WeightType::kIQ3_XXS, "IQ3_XXS", 256, 98, 32},
                  {WeightType::kIQ3_S, "IQ3_S", 256, 110, 32},
                  {WeightType::kU2x32, "U2x32", 32, 12, 32},
                  {WeightType::kU3x32, "U3x32", 32, 16, 32},
                  {WeightType::kU4x32, "U4x32", 32, 20, 32},
                  {WeightType::kU8x32, "U8x32", 32, 36, 32},
                  {WeightType::kU2x128, "U2x128", 128, 36, 128},
                  {WeightType::kU3x128, "U3x128", 128, 52, 128},
                  {WeightType::kU4x128, "U4x128", 128, 68, 128},
                  {WeightType::kU8x128, "U8x128", 128, 132, 128}};
  ASSERT_EQ(std::size(expected), AllWeightTypes().size());
  for (const auto& row : expected) {
    EXPECT_EQ(WeightTypeName(row.type), row.name);
    EXPECT_EQ(FindWeightType(row.name), row.type);
    EXPECT_EQ(BlockValues(row.type), row.values);
    EXPECT_EQ(BlockBytes(row.type), row.bytes);
    EXPECT_EQ(GroupValues(row.type), row.group);
  }
  EXPECT_EQ(FindWeightType("Q8_K"), std::nullopt);
}

TEST(Weights, PackedCodesAreReadBack) {
  std::mt19937 random(9);
  for (const int bits : {2, 3, 4, 8}) {
    for (const bool wide : {false, true}) {
      const WeightType type = PackedType(bits, wide);
      const size_t cols = 256;
      std::vector<std::byte> row(cols / static_cast<size_t>(BlockValues(type)) * static_cast<size_t>(BlockBytes(type)));
      std::vector<float> expected(cols), decoded(cols);
      const int zeros[] = {0, 1 << bits, 1 << (bits - 1), 3};
      for (size_t k = 0; k < cols; k += 32) {
        const size_t block = k / static_cast<size_t>(BlockValues(type));
        const float scale = 0.25f * static_cast<float>(block + 1);
        uint8_t codes[32];
        for (size_t i = 0; i < 32; ++i) {
          codes[i] = static_cast<uint8_t>(random() % (1u << bits));
          expected[k + i] = scale * static_cast<float>(codes[i] - zeros[block % 4]);
        }
        EncodeCodes(type, scale, zeros[block % 4], codes, static_cast<int64_t>(k), row.data());
      }
      DequantizeRow({type, row.data(), 1, static_cast<int64_t>(cols)}, 0, decoded.data());
      EXPECT_EQ(decoded, expected) << WeightTypeName(type);
    }
  }
}

TEST(Weights, KnowWhichCodesAreSmall) {
  std::mt19937 random(7);
  for (const WeightType type : AllWeightTypes()) {
    if (BlockValues(type) == 1) continue;
    const int64_t cols = 64 * 256;
    const std::vector<std::byte> row = RandomWeights(random, type, 1, cols);
    int largest = 0;
    for (int64_t k = 0; k < cols; k += 32) {
      CodeBlock block;
      DecodeCodes(type, row.data(), k, &block);
      for (const int8_t code : block.codes) largest = std::max(largest, std::abs(code));
    }
    EXPECT_EQ(largest <= 16, HasSmallCodes(type)) << WeightTypeName(type) << " has a code of magnitude " << largest;
  }
}

TEST(Weights, CodesCoverTheirScaleGroups) {
  std::mt19937 random(7);
  for (const WeightType type : AllWeightTypes()) {
    if (BlockValues(type) == 1) continue;
    const int64_t cols = 2 * BlockValues(type);
    const std::vector<std::byte> row = RandomWeights(random, type, 1, cols);
    for (int64_t k = 0; k < cols; k += 32) {
      CodeBlock block;
      DecodeCodes(type, row.data(), k, &block);
      if (GroupValues(type) == 16) continue;
      EXPECT_EQ(block.scale[0], block.scale[1]) << WeightTypeName(type);
      EXPECT_EQ(block.minimum[0], block.minimum[1]) << WeightTypeName(type);
    }
  }
}

using DequantizeTest = EveryVariant;

TEST_P(DequantizeTest, EqualsTheReference) {
  for (const WeightType type : AllWeightTypes()) {
    const size_t cols = 512;
    const std::vector<std::byte> bytes = RandomWeights(random_, type, 3, cols);
    const WeightMatrix w{type, bytes.data(), 3, cols};
    std::vector<float> row(cols), expected(cols);
    kernels().dequantize_row(w, 2, row.data());
    reference().dequantize_row(w, 2, expected.data());
    EXPECT_EQ(FirstDifference(row, expected), -1);
  }
}
QZO_INSTANTIATE_EVERY_VARIANT(DequantizeTest);

}  // namespace
}  // namespace qzo::kernels
