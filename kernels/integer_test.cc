#include "kernels/integer.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "kernels/parallel.h"
#include "kernels/rounding.h"
#include "kernels/test_data.h"
#include "kernels/weights.h"

namespace qzo::kernels {
namespace {

std::vector<WeightType> QuantizedTypes() {
  std::vector<WeightType> types = AllWeightTypes();
  std::erase_if(types, [](WeightType type) { return !SupportsRounded(type, 256); });
  return types;
}

constexpr Arithmetic kIntegers[] = {Arithmetic::kInt16, Arithmetic::kInt8};
constexpr Granularity kGranularities[] = {Granularity::kChannel, Granularity::kGroup};

// Rounded rows with storage of their own.
struct Rounded {
  Rounded(Arithmetic arithmetic, int64_t rows, int64_t cols)
      : storage(static_cast<size_t>(RoundedBytes(arithmetic, rows, cols)), std::byte{0xa5}),
        view(MakeRoundedRows(arithmetic, storage.data(), rows, cols)) {}
  BlockSums Sums(int64_t row, int64_t b) const {
    BlockSums sums;
    std::memcpy(&sums, view.block(row, b) + view.code_bytes(), offsetof(BlockSums, starts));
    return sums;
  }
  // Code of value k of a row, in the order of the values.
  int32_t Code(int64_t row, int64_t k) const {
    const std::byte* codes = view.block(row, k / 32);
    if (view.arithmetic == Arithmetic::kInt8) return std::to_integer<int8_t>(codes[k % 32]);
    int16_t code;
    std::memcpy(&code, codes + 2 * PairPlace(static_cast<int>(k % 32)), sizeof(code));
    return code;
  }

  std::vector<std::byte> storage;
  RoundedRows view;
};

Rounded Round(const Kernels& kernels, Arithmetic arithmetic, const float* x, int64_t ldx, int64_t rows, int64_t cols) {
  Rounded result(arithmetic, rows, cols);
  kernels.round_rows(x, ldx, 0, rows, &result.view);
  return result;
}

// A matrix product of rounded rows: operands of MatMulCase, activations as the reference rounds them.
struct RoundedCase : MatMulCase {
  RoundedCase(std::mt19937& random, Arithmetic a, WeightType type, int64_t m, int64_t n, int64_t k, Granularity g,
              std::vector<int64_t> lane_ends, bool with_multipliers, bool accumulate, int64_t group = 0)
      : MatMulCase(random, type, m, n, k, g, std::move(lane_ends), with_multipliers, accumulate, group),
        arithmetic(a) {}

  RoundedMatMulArgs RoundedArgs(const Rounded& rounded, std::vector<float>* result) const {
    return {.x = rounded.view,
            .w = args.w,
            .granularity = args.granularity,
            .lanes = lanes,
            .y = result->data(),
            .ldy = args.ldy,
            .accumulate = args.accumulate};
  }
  Rounded RoundX() const {
    const int64_t rows = lanes.empty() ? 0 : lanes.back().end;
    return Round(*AllKernels().front(), arithmetic, args.x, args.ldx, rows, args.w.cols);
  }
  std::vector<float> Product(const Kernels& kernels, int64_t begin, int64_t end) const {
    std::vector<float> result = y;
    const Rounded rounded = RoundX();
    kernels.matmul_rounded(RoundedArgs(rounded, &result), begin, end);
    return result;
  }
  std::vector<float> Product(const Kernels& kernels) const { return Product(kernels, 0, args.w.rows); }

  Arithmetic arithmetic;
};

TEST(ArithmeticTest, NamesReadBack) {
  for (const Arithmetic arithmetic : {Arithmetic::kFp32, Arithmetic::kInt16, Arithmetic::kInt8}) {
    EXPECT_EQ(ParseArithmetic(ArithmeticName(arithmetic)), arithmetic);
  }
  EXPECT_EQ(ParseArithmetic("int4"), std::nullopt);
}

TEST(ArithmeticTest, TakesQuantizedWeightsInWholeBlocks) {
  EXPECT_TRUE(SupportsRounded(WeightType::kQ4_0, 64));
  EXPECT_FALSE(SupportsRounded(WeightType::kQ4_0, 48));
  EXPECT_FALSE(SupportsRounded(WeightType::kF16, 64));
  EXPECT_TRUE(SupportsRounded(WeightType::kU4x32, 64));
  EXPECT_FALSE(SupportsRounded(WeightType::kU8x32, 64));
}

using RoundRowsTest = EveryVariant;

// Random rows with what rounding treats specially among their blocks.
std::vector<float> AwkwardRows(std::mt19937& random, int64_t rows, int64_t ldx) {
  std::vector<float> x = RandomFloats(random, static_cast<size_t>(rows * ldx));
  const float special[] = {NAN, INFINITY, -INFINITY, -NAN, 3.4e38f, -3.4e38f, 1e-38f, 1e-35f, 1e-33f, 1e-45f};
  for (int64_t block = 0; block < rows * ldx / 32; block += 3) {
    float* at = &x[static_cast<size_t>(block * 32)];
    const float factor = block % 2 == 0 ? 1.0f : special[random() % 6 + 4];
    for (int i = 0; i < 32; ++i) at[i] *= factor;
    if (block % 4 == 0) at[random() % 32] = special[random() % 10];
    if (block % 5 == 0) std::fill_n(at, 32, block % 10 == 0 ? 0.0f : -0.0f);
  }
  return x;
}

TEST_P(RoundRowsTest, EqualsTheReferenceBitForBit) {
  for (const Arithmetic arithmetic : kIntegers) {
    for (const int64_t blocks : {1, 2, 15, 16, 17, 33}) {
      const int64_t rows = 6, cols = 32 * blocks, ldx = cols + 32;
      const std::vector<float> x = AwkwardRows(random_, rows, ldx);
      const Rounded got = Round(kernels(), arithmetic, x.data(), ldx, rows, cols);
      const Rounded expected = Round(reference(), arithmetic, x.data(), ldx, rows, cols);
      ASSERT_EQ(got.storage, expected.storage) << ArithmeticName(arithmetic) << " " << blocks << " blocks";
    }
  }
}

TEST_P(RoundRowsTest, WritesOnlyItsRows) {
  const std::vector<float> x = RandomFloats(random_, 5 * 64);
  for (const Arithmetic arithmetic : kIntegers) {
    const Rounded whole = Round(kernels(), arithmetic, x.data(), 64, 5, 64);
    Rounded parts(arithmetic, 5, 64);
    const Rounded untouched(arithmetic, 5, 64);
    for (const auto& [begin, end] : {std::pair{3, 5}, {0, 0}, {1, 3}}) {
      kernels().round_rows(x.data(), 64, begin, end, &parts.view);
    }
    EXPECT_EQ(std::memcmp(parts.storage.data(), untouched.storage.data(), static_cast<size_t>(whole.view.row_bytes())),
              0);
    kernels().round_rows(x.data(), 64, 0, 1, &parts.view);
    EXPECT_EQ(parts.storage, whole.storage);
  }
}

TEST_P(RoundRowsTest, RoundsToTheNearestCode) {
  const std::vector<float> x = RandomFloats(random_, 640);
  for (const Arithmetic arithmetic : kIntegers) {
    const int32_t limit = arithmetic == Arithmetic::kInt16 ? 32767 : 127;
    const Rounded rounded = Round(kernels(), arithmetic, x.data(), 640, 1, 640);
    for (int64_t b = 0; b < 20; ++b) {
      const double scale = rounded.Sums(0, b).scale;
      int32_t largest = 0, sum = 0;
      for (int64_t i = 32 * b; i < 32 * b + 32; ++i) {
        const int32_t code = rounded.Code(0, i);
        largest = std::max(largest, std::abs(code));
        sum += code;
        // Half a unit, and the roundings of s and r.
        ASSERT_NEAR(code * scale, x[static_cast<size_t>(i)], scale * (0.5 + 0x1p-22 * limit));
      }
      EXPECT_EQ(largest, limit);
      EXPECT_EQ(rounded.Sums(0, b).sums[0], rounded.Sums(0, b).scale * static_cast<float>(sum));
    }
  }
}

TEST_P(RoundRowsTest, MarksBlocksThatAreNotFiniteAndDropsThoseTooSmall) {
  std::vector<float> x(4 * 32, 0.5f);
  x[7] = INFINITY;
  x[32 + 31] = NAN;
  std::fill_n(&x[64], 32, 1e-37f);
  for (const Arithmetic arithmetic : kIntegers) {
    const Rounded rounded = Round(kernels(), arithmetic, x.data(), 128, 1, 128);
    for (int64_t k = 0; k < 96; ++k) ASSERT_EQ(rounded.Code(0, k), 0) << k;
    EXPECT_TRUE(std::isnan(rounded.Sums(0, 0).scale) && std::isnan(rounded.Sums(0, 0).sums[0]));
    EXPECT_TRUE(std::isnan(rounded.Sums(0, 1).scale) && std::isnan(rounded.Sums(0, 1).sums[0]));
    EXPECT_EQ(rounded.Sums(0, 2).scale, 0.0f);
    EXPECT_GT(rounded.Sums(0, 3).scale, 0.0f);
  }
}

QZO_INSTANTIATE_EVERY_VARIANT(RoundRowsTest);

using RoundedMatMulTest = EveryVariant;

TEST_P(RoundedMatMulTest, EqualsTheReferenceBitForBitAroundTileEdges) {
  constexpr int64_t kColumns[] = {1, 15, 16, 17, 31, 32, 33, 50, 65};
  constexpr int64_t kBlocks[] = {1, 2, 7, 8, 9, 16, 17, 33};
  for (const Arithmetic arithmetic : kIntegers) {
    for (const WeightType type : QuantizedTypes()) {
      for (const Granularity granularity : kGranularities) {
        for (int64_t m = 1; m <= 26; m += BlockValues(type) == 32 ? 1 : 3) {
          const int64_t n = kColumns[m % 9],
                        k = BlockValues(type) * (BlockValues(type) == 32 ? kBlocks[m % 8] : 1 + m % 3);
          std::vector<int64_t> lane_ends = {m};
          if (m >= 3) lane_ends = {1 + m / 4, 1 + m / 2, m};
          const RoundedCase problem(random_, arithmetic, type, m, n, k, granularity, lane_ends, m % 5 != 0, m % 2 == 0);
          const int64_t at = FirstDifference(problem.Product(kernels()), problem.Product(reference()));
          ASSERT_EQ(at, -1) << ArithmeticName(arithmetic) << " " << WeightTypeName(type) << " granularity "
                            << static_cast<int>(granularity) << " M " << m << " N " << n << " K " << k << ": row "
                            << at / problem.args.ldy << " column " << at % problem.args.ldy;
        }
      }
    }
  }
}

// What most variants compute in another way than many rows: whole vectors of columns, and what is left of them.
TEST_P(RoundedMatMulTest, EqualsTheReferenceForFewRows) {
  for (const Arithmetic arithmetic : kIntegers) {
    for (const WeightType type : {WeightType::kQ4_0, WeightType::kQ4_1, WeightType::kQ8_0, WeightType::kQ5_1}) {
      for (const auto& [granularity, group] :
           {std::pair{Granularity::kChannel, 0}, {Granularity::kGroup, 0}, {Granularity::kGroup, 96}}) {
        for (const std::vector<int64_t>& lane_ends : {std::vector<int64_t>{1}, {2}, {1, 2}, {1, 2, 3}}) {
          for (const auto& [n, begin, end] : {std::tuple{16, 0, 16}, {33, 0, 33}, {80, 0, 80}, {80, 3, 62}}) {
            const RoundedCase problem(random_, arithmetic, type, lane_ends.back(), n, 32 * 21, granularity, lane_ends,
                                      true, n == 33, group);
            const int64_t at =
                FirstDifference(problem.Product(kernels(), begin, end), problem.Product(reference(), begin, end));
            ASSERT_EQ(at, -1) << ArithmeticName(arithmetic) << " " << WeightTypeName(type) << " group " << group << ", "
                              << lane_ends.back() << " rows in " << lane_ends.size() << " lanes, columns " << begin
                              << " to " << end << ": row " << at / problem.args.ldy << " column "
                              << at % problem.args.ldy;
          }
        }
      }
    }
  }
}

// 2,304 values are 72 times 32, which most variants decode 15 at a time.
TEST_P(RoundedMatMulTest, EqualsTheReferenceWhereAPanelBeginsInsideOfABlock) {
  for (const Arithmetic arithmetic : kIntegers) {
    for (const WeightType type : QuantizedTypes()) {
      if (BlockValues(type) == 32) continue;
      for (const Granularity granularity : kGranularities) {
        const RoundedCase problem(random_, arithmetic, type, 7, 20, 2304, granularity, {3, 7}, true, false);
        ASSERT_EQ(FirstDifference(problem.Product(kernels()), problem.Product(reference())), -1)
            << ArithmeticName(arithmetic) << " " << WeightTypeName(type);
      }
    }
  }
}

TEST_P(RoundedMatMulTest, EqualsTheReferenceWhereAScaleGroupIsSeveralBlocks) {
  for (const Arithmetic arithmetic : kIntegers) {
    for (const auto& [type, group, k] : {std::tuple{WeightType::kU4x128, 384, 384 * 5},
                                         {WeightType::kU4x32, 96, 96 * 11},
                                         {WeightType::kU3x128, 1280, 1280}}) {
      const RoundedCase problem(random_, arithmetic, type, 9, 35, k, Granularity::kGroup, {2, 9}, true, true, group);
      ASSERT_EQ(FirstDifference(problem.Product(kernels()), problem.Product(reference())), -1)
          << WeightTypeName(type) << " group " << group;
    }
  }
}

// Codes as large as they get, against activations at the limits: the sums that could saturate or overflow.
TEST_P(RoundedMatMulTest, IsExactAtTheExtremes) {
  for (const Arithmetic arithmetic : kIntegers) {
    for (const WeightType type : QuantizedTypes()) {
      for (const int pattern : {0x00, 0x2a, 0x77, 0x08, 0x80, 0x88, 0xf0}) {  // and the scales these make, all finite
        RoundedCase problem(random_, arithmetic, type, 9, 17, 256, Granularity::kChannel, {9}, false, false);
        std::fill(problem.w.begin(), problem.w.end(), static_cast<std::byte>(pattern));
        const size_t block = static_cast<size_t>(BlockBytes(type));
        for (size_t at = 0; type >= WeightType::kU2x32 && at < problem.w.size(); at += block) {
          const uint32_t zero = pattern == 0 ? 0 : 1u << (BlockBytes(type) - 4) * 8 / BlockValues(type);  // the largest
          const uint32_t word = (0x01010101u * static_cast<uint32_t>(pattern) & ~0x1fffu) | zero;
          std::memcpy(&problem.w[at], &word, sizeof(word));
        }
        for (size_t i = 0; i < problem.x.size(); ++i) problem.x[i] = i % 131 < 70 ? 1.0f : -1.0f;
        ASSERT_EQ(FirstDifference(problem.Product(kernels()), problem.Product(reference())), -1)
            << ArithmeticName(arithmetic) << " " << WeightTypeName(type) << " bytes " << pattern;
      }
    }
  }
}

// The largest sums of codes of magnitude 16, which some variants add up in 16 bits.
TEST_P(RoundedMatMulTest, IsExactForTheLargestSmallCodes) {
  for (const Arithmetic arithmetic : kIntegers) {
    for (const WeightType type : {WeightType::kQ5_0, WeightType::kU4x32}) {
      RoundedCase problem(random_, arithmetic, type, 9, 17, 64, Granularity::kChannel, {9}, false, false);
      const bool packed = type == WeightType::kU4x32;
      const std::vector<uint8_t> zeros(32);
      for (int64_t block = 0; block < 17 * 2; ++block) {  // 1 · −16 everywhere
        std::byte* at = problem.w.data() + block * BlockBytes(type);
        std::memset(at, 0, static_cast<size_t>(BlockBytes(type)));
        const uint16_t one = 0x3c00;
        if (packed) {
          EncodeCodes(type, 1, 16, zeros.data(), 0, at);
        } else {
          std::memcpy(at, &one, sizeof(one));
        }
      }
      for (const float sign : {1.0f, -1.0f}) {
        std::fill(problem.x.begin(), problem.x.end(), sign);
        const std::vector<float> y = problem.Product(kernels());
        ASSERT_EQ(FirstDifference(y, problem.Product(reference())), -1) << WeightTypeName(type);
        EXPECT_NEAR(y[0], sign * -16 * 64, 1e-3) << WeightTypeName(type);
      }
    }
  }
}

TEST_P(RoundedMatMulTest, WritesOnlyItsColumns) {
  const RoundedCase problem(random_, Arithmetic::kInt8, WeightType::kQ8_0, 20, 70, 64, Granularity::kChannel, {20},
                            true, false);
  const std::vector<float> whole = problem.Product(kernels());
  for (const auto& [begin, end] : {std::pair{0, 1}, {3, 40}, {32, 64}, {69, 70}, {5, 5}}) {
    const std::vector<float> part = problem.Product(kernels(), begin, end);
    for (size_t i = 0; i < part.size(); ++i) {
      const int64_t column = static_cast<int64_t>(i) % problem.args.ldy;
      const float expected = column >= begin && column < end ? whole[i] : problem.y[i];
      ASSERT_EQ(std::bit_cast<uint32_t>(part[i]), std::bit_cast<uint32_t>(expected))
          << "[" << begin << ", " << end << ") at " << i;
    }
  }
}

// More rows than the second-level cache holds, in lanes that end anywhere, and on several threads.
TEST_P(RoundedMatMulTest, GivesARowTheSameBitsAloneAndInABatch) {
  for (const Arithmetic arithmetic : kIntegers) {
    for (const Granularity granularity : kGranularities) {
      const int64_t rows = 400, cols = 1536;
      const RoundedCase problem(random_, arithmetic, WeightType::kQ4_1, rows, 33, cols, granularity, {200, 201, rows},
                                true, true);
      const Rounded rounded = problem.RoundX();
      const std::vector<float> together = problem.Product(kernels());
      for (const int threads : {2, 3}) {
        ThreadPool pool(threads);
        std::vector<float> split = problem.y;
        MatMulRounded(kernels(), pool, problem.RoundedArgs(rounded, &split));
        ASSERT_EQ(FirstDifference(split, together), -1) << threads << " threads";
      }
      for (const int64_t row : {0, 199, 200, 201, 205, 255, 256, 399}) {
        const LaneRows lane[] = {{0, 1, problem.lanes[row < 200 ? 0 : row < 201 ? 1 : 2].multipliers}};
        std::vector<float> y(problem.y.begin() + row * problem.args.ldy,
                             problem.y.begin() + (row + 1) * problem.args.ldy);
        RoundedMatMulArgs alone = problem.RoundedArgs(rounded, &y);
        alone.x = rounded.view.Slice(row, row + 1);
        alone.lanes = lane;
        kernels().matmul_rounded(alone, 0, 33);
        ASSERT_EQ(std::memcmp(y.data(), &together[static_cast<size_t>(row * problem.args.ldy)], y.size() * 4), 0)
            << row;
      }
    }
  }
}

TEST_P(RoundedMatMulTest, TreatsMissingMultipliersAsOnes) {
  for (const Granularity granularity : kGranularities) {
    RoundedCase problem(random_, Arithmetic::kInt16, WeightType::kQ4_1, 5, 33, 96, granularity, {5}, false, false);
    const std::vector<float> without = problem.Product(kernels());
    const std::vector<float> ones(33 * 3, 1.0f);
    problem.lanes[0].multipliers = ones.data();
    EXPECT_EQ(FirstDifference(without, problem.Product(kernels())), -1);
  }
}

TEST_P(RoundedMatMulTest, AcceptsNoRows) {
  const RoundedCase problem(random_, Arithmetic::kInt16, WeightType::kQ4_0, 0, 8, 32, Granularity::kChannel, {}, false,
                            false);
  EXPECT_EQ(problem.Product(kernels()), problem.y);
}

TEST_P(RoundedMatMulTest, MakesRowsThatAreNotFiniteNan) {
  for (const Arithmetic arithmetic : kIntegers) {
    for (const WeightType type : QuantizedTypes()) {
      for (const Granularity granularity : kGranularities) {
        RoundedCase problem(random_, arithmetic, type, 3, 20, 256, granularity, {3}, true, false);
        problem.x[40] = std::nanf("");
        problem.x[static_cast<size_t>(problem.args.ldx) + 10] = -INFINITY;
        const std::vector<float> y = problem.Product(kernels());
        for (size_t column = 0; column < 20; ++column) {
          EXPECT_TRUE(std::isnan(y[column]));
          EXPECT_TRUE(std::isnan(y[static_cast<size_t>(problem.args.ldy) + column]));
          EXPECT_TRUE(std::isfinite(y[2 * static_cast<size_t>(problem.args.ldy) + column]));
        }
      }
    }
  }
}

// Of an exact product of what was rounded: per block two or three products and two additions, each within 2^-24, and
// the rounding of P.
TEST_P(RoundedMatMulTest, StaysWithinTheErrorBoundOfAnExactProduct) {
  for (const Arithmetic arithmetic : kIntegers) {
    for (const WeightType type : QuantizedTypes()) {
      for (const Granularity granularity : kGranularities) {
        const int64_t k = 512, n = 37, m = 6, groups = k / GroupValues(type);
        const RoundedCase problem(random_, arithmetic, type, m, n, k, granularity, {3, 6}, true, true);
        const Rounded rounded = problem.RoundX();
        const std::vector<float> y = problem.Product(kernels());
        for (int64_t column = 0; column < n; ++column) {
          const std::byte* w = problem.args.w.data + column * (k / BlockValues(type)) * BlockBytes(type);
          for (int64_t row = 0; row < m; ++row) {
            const float* multipliers = problem.lanes[row < 3 ? 0 : 1].multipliers;
            const size_t out = static_cast<size_t>(row * problem.args.ldy + column);
            double exact = problem.y[out], magnitude = std::fabs(exact);
            for (int64_t i = 0; i < k; ++i) {
              const int64_t at =
                  granularity == Granularity::kChannel ? column : column * groups + i / GroupValues(type);
              const double multiplier = multipliers == nullptr ? 1.0 : multipliers[at];
              const double x = double{rounded.Sums(row, i / 32).scale} * rounded.Code(row, i);
              CodeBlock block;
              DecodeCodes(type, w, i / 32 * 32, &block);
              const double product = multiplier * x * block.scale[i % 32 / 16] * block.codes[i % 32];
              const double minimum = HasMinimum(type) ? multiplier * x * block.minimum[i % 32 / 16] : 0;
              exact += product + minimum;
              magnitude += std::fabs(product) + std::fabs(minimum);
            }
            ASSERT_LE(std::fabs(y[out] - exact), static_cast<double>(2 * k / 16 + 8) * 0x1p-24 * magnitude + 1e-38)
                << ArithmeticName(arithmetic) << " " << WeightTypeName(type);
          }
        }
      }
    }
  }
}

QZO_INSTANTIATE_EVERY_VARIANT(RoundedMatMulTest);

}  // namespace
}  // namespace qzo::kernels
