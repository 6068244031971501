#include <cmath>

#include "kernels/test_data.h"
#include "kernels/weights.h"

namespace qzo::kernels {
namespace {

using MatMulTest = EveryVariant;

TEST_P(MatMulTest, EqualsTheReferenceBitForBitAroundTileEdges) {
  constexpr int64_t kColumns[] = {1, 15, 16, 17, 31, 32, 33, 50, 65};
  constexpr int64_t kBlocks[] = {1, 2, 4, 5};
  for (const WeightType type : AllWeightTypes()) {
    for (const Granularity granularity : {Granularity::kChannel, Granularity::kGroup}) {
      for (int64_t m = 1; m <= 35; ++m) {
        const int64_t n = kColumns[m % 9], k = BlockValues(type) <= 32 ? 32 * kBlocks[m % 4] : 256 * (1 + m % 2);
        std::vector<int64_t> lane_ends = {m};
        if (m >= 3) lane_ends = {1 + m / 4, 1 + m / 2, m};
        const MatMulCase problem(random_, type, m, n, k, granularity, lane_ends, m % 5 != 0, m % 2 == 0);
        const int64_t at = FirstDifference(problem.Run(kernels()), problem.Run(reference()));
        ASSERT_EQ(at, -1) << WeightTypeName(type) << " granularity " << static_cast<int>(granularity) << " M " << m
                          << " N " << n << " K " << k << ": row " << at / problem.args.ldy << " column "
                          << at % problem.args.ldy;
      }
    }
  }
}

TEST_P(MatMulTest, EqualsTheReferenceWhereKIsNoMultipleOfALoad) {
  for (const WeightType type : {WeightType::kF32, WeightType::kF16, WeightType::kBF16}) {
    for (const Granularity granularity : {Granularity::kChannel, Granularity::kGroup}) {
      for (int64_t k = 1; k <= 18; ++k) {
        const MatMulCase problem(random_, type, 3, 33, k, granularity, {1, 2, 3}, true, false);
        ASSERT_EQ(FirstDifference(problem.Run(kernels()), problem.Run(reference())), -1)
            << WeightTypeName(type) << " K " << k;
      }
    }
  }
}

TEST_P(MatMulTest, EqualsTheReferenceWhereAPanelIsDecodedInParts) {
  for (const Granularity granularity : {Granularity::kChannel, Granularity::kGroup}) {
    for (const int64_t m : {2, 17}) {
      for (const int64_t k : {4096, 4128, 8224}) {
        const MatMulCase problem(random_, WeightType::kQ4_1, m, 3, k, granularity, {1, m}, true, true);
        ASSERT_EQ(FirstDifference(problem.Run(kernels()), problem.Run(reference())), -1) << "M " << m << " K " << k;
      }
      for (const WeightType type : {WeightType::kQ6_K, WeightType::kTQ2_0}) {
        const MatMulCase problem(random_, type, m, 3, 4352, granularity, {1, m}, true, true);
        ASSERT_EQ(FirstDifference(problem.Run(kernels()), problem.Run(reference())), -1) << WeightTypeName(type);
      }
    }
  }
}

TEST_P(MatMulTest, EqualsTheReferenceWhereAScaleGroupIsSeveralBlocks) {
  for (const int64_t m : {1, 20}) {
    for (const auto& [type, group, k] : {std::tuple{WeightType::kU4x128, 384, 384 * 13},
                                         {WeightType::kU4x32, 96, 96 * 46},
                                         {WeightType::kU8x128, 4352, 4352},
                                         {WeightType::kU2x128, 256, 512}}) {
      const MatMulCase problem(random_, type, m, 35, k, Granularity::kGroup, {m}, true, true, group);
      ASSERT_EQ(FirstDifference(problem.Run(kernels()), problem.Run(reference())), -1)
          << WeightTypeName(type) << " M " << m << " group " << group;
    }
  }
}

TEST_P(MatMulTest, WritesOnlyItsColumns) {
  const MatMulCase problem(random_, WeightType::kQ8_0, 20, 70, 64, Granularity::kChannel, {20}, true, false);
  const std::vector<float> whole = problem.Run(kernels());
  for (const auto& [begin, end] : {std::pair{0, 1}, {3, 40}, {32, 64}, {69, 70}, {5, 5}}) {
    const std::vector<float> part = problem.Run(kernels(), begin, end);
    for (size_t i = 0; i < part.size(); ++i) {
      const int64_t column = static_cast<int64_t>(i) % problem.args.ldy;
      const float expected = column >= begin && column < end ? whole[i] : problem.y[i];
      ASSERT_EQ(std::bit_cast<uint32_t>(part[i]), std::bit_cast<uint32_t>(expected))
          << "[" << begin << ", " << end << ") at " << i;
    }
  }
}

TEST_P(MatMulTest, GivesARowTheSameBitsAloneAndInABatch) {
  for (const Granularity granularity : {Granularity::kChannel, Granularity::kGroup}) {
    const MatMulCase problem(random_, WeightType::kQ4_0, 33, 40, 160, granularity, {7, 20, 33}, true, true);
    const std::vector<float> together = problem.Run(kernels());
    for (int64_t row = 0; row < 33; ++row) {
      const float* multipliers = problem.lanes[row < 7 ? 0 : row < 20 ? 1 : 2].multipliers;
      const LaneRows lane[] = {{0, 1, multipliers}};
      MatMulArgs alone = problem.args;
      std::vector<float> y(problem.y.begin() + row * alone.ldy, problem.y.begin() + (row + 1) * alone.ldy);
      alone.x += row * alone.ldx;
      alone.lanes = lane;
      alone.y = y.data();
      kernels().matmul(alone, 0, 40);
      ASSERT_EQ(std::memcmp(y.data(), &together[static_cast<size_t>(row * alone.ldy)], y.size() * sizeof(float)), 0)
          << row;
    }
  }
}

TEST_P(MatMulTest, TreatsMissingMultipliersAsOnes) {
  for (const Granularity granularity : {Granularity::kChannel, Granularity::kGroup}) {
    MatMulCase problem(random_, WeightType::kQ4_1, 5, 33, 96, granularity, {5}, false, false);
    const std::vector<float> without = problem.Run(kernels());
    const std::vector<float> ones(33 * 3, 1.0f);
    problem.lanes[0].multipliers = ones.data();
    EXPECT_EQ(FirstDifference(without, problem.Run(kernels())), -1);
  }
}

TEST_P(MatMulTest, AcceptsNoRows) {
  const MatMulCase problem(random_, WeightType::kF32, 0, 8, 8, Granularity::kChannel, {}, false, false);
  EXPECT_EQ(problem.Run(kernels()), problem.y);
}

TEST_P(MatMulTest, PassesNanAndInfinityOn) {
  MatMulCase problem(random_, WeightType::kQ8_0, 3, 20, 64, Granularity::kChannel, {3}, false, false);
  problem.x[40] = std::nanf("");
  problem.x[static_cast<size_t>(problem.args.ldx) + 10] = INFINITY;
  const std::vector<float> y = problem.Run(kernels());
  for (size_t column = 0; column < 20; ++column) {
    EXPECT_TRUE(std::isnan(y[column]));
    EXPECT_FALSE(std::isfinite(y[static_cast<size_t>(problem.args.ldy) + column]));  // NaN where the weight is 0
    EXPECT_TRUE(std::isfinite(y[2 * static_cast<size_t>(problem.args.ldy) + column]));
  }
}

// A chain of K fmas, a multiplication and an addition: the error is below (K + 2)·2^-24 of the sum of absolute
// products, as long as nothing is denormal. One multiplication and rounding more per group.
TEST_P(MatMulTest, StaysWithinTheErrorBoundOfAnExactProduct) {
  for (const WeightType type : AllWeightTypes()) {
    for (const Granularity granularity : {Granularity::kChannel, Granularity::kGroup}) {
      const int64_t k = BlockValues(type) <= 32 ? 320 : 512, n = 37, m = 6, groups = k / GroupValues(type);
      const MatMulCase problem(random_, type, m, n, k, granularity, {3, 6}, true, true);
      const std::vector<float> y = problem.Run(kernels());
      std::vector<float> w(static_cast<size_t>(k));
      for (int64_t column = 0; column < n; ++column) {
        DequantizeRow(problem.args.w, column, w.data());
        for (int64_t row = 0; row < m; ++row) {
          const float* multipliers = problem.lanes[row < 3 ? 0 : 1].multipliers;
          const size_t out = static_cast<size_t>(row * problem.args.ldy + column);
          double exact = problem.y[out], magnitude = std::fabs(exact);
          for (int64_t i = 0; i < k; ++i) {
            const int64_t at = granularity == Granularity::kChannel ? column : column * groups + i / GroupValues(type);
            const double scale = multipliers == nullptr ? 1.0 : multipliers[at];
            const double term =
                scale * problem.x[static_cast<size_t>(row * problem.args.ldx + i)] * w[static_cast<size_t>(i)];
            exact += term;
            magnitude += std::fabs(term);
          }
          const double roundings = static_cast<double>(k + 2 * groups + 2);
          ASSERT_LE(std::fabs(y[out] - exact), roundings * 0x1p-24 * magnitude + 1e-40) << WeightTypeName(type);
        }
      }
    }
  }
}

QZO_INSTANTIATE_EVERY_VARIANT(MatMulTest);

}  // namespace
}  // namespace qzo::kernels
