#include <cstdlib>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>

#include "kernels/cuda/matmul_case.h"

namespace qzo::kernels::cuda {
namespace {

class CudaMatMulTest : public EveryOrder {
 protected:
  void ExpectRight(const GpuMatMulCase& problem, bool accumulate = false) {
    std::string where;
    const double error = problem.Error(problem.Run(gpu(), problem.strips, accumulate), accumulate, &where);
    EXPECT_LE(error, 1) << "of the bound at " << where;
  }
};

// One type of every layout.
constexpr WeightType kLayouts[] = {WeightType::kQ4_0,    WeightType::kQ4_1,     WeightType::kQ4_K,
                                   WeightType::kU4x32,   WeightType::kU4x128,   WeightType::kQ8_0,
                                   WeightType::kQ5_1,    WeightType::kQ6_K,     WeightType::kBF16,
                                   WeightType::kBook2x8, WeightType::kBook1x16, WeightType::kBook4};

TEST_P(CudaMatMulTest, IsWithinTheBoundAroundTileEdges) {
  const std::vector<std::vector<int>> lane_rows = {{1}, {64, 65}, {7, 1, 63}};
  constexpr int64_t kColumns[] = {1, 127, 129};
  for (const WeightType type : kLayouts) {
    const int64_t block = std::max<int64_t>(32, BlockValues(type));
    for (size_t i = 0; i < 3; ++i) {
      const int64_t k = block * static_cast<int64_t>(block > 32 ? i % 2 + 1 : 2 * i + 1);
      ExpectRight({random_, type, kColumns[i], k, i == 1 ? Granularity::kGroup : Granularity::kChannel, lane_rows[i]},
                  i == 2);
    }
  }
}

TEST_P(CudaMatMulTest, GroupsOfEverySizeTakeTheirPerturbedMultipliers) {
  for (const NoiseKind kind : {NoiseKind::kRademacher, NoiseKind::kGaussian}) {
    for (const bool units : {false, true}) {
      ExpectRight({random_, WeightType::kQ4_0, 40, 320, Granularity::kGroup, {9, 9, 9}, kind, units});
      ExpectRight({random_, WeightType::kU4x32, 33, 192, Granularity::kGroup, {9, 9, 9}, kind, units, 96});
      ExpectRight({random_, WeightType::kBook4, 33, 192, Granularity::kGroup, {9, 9, 9}, kind, units, 64});
      ExpectRight({random_, WeightType::kBook4, 33, 192, Granularity::kGroup, {9, 9, 9}, kind, units, 96});
      ExpectRight({random_, WeightType::kQ8_0, 20, 64, Granularity::kChannel, {9, 9, 9}, kind, units});
    }
  }
}

QZO_INSTANTIATE_EVERY_ORDER(CudaMatMulTest);

class CudaMatMulOnceTest : public OnTestGpu<> {
 protected:
  std::mt19937 random_{5};
};

TEST_F(CudaMatMulOnceTest, EveryStorageTypeIsWithinTheBound) {
  std::vector<WeightType> types = AllWeightTypes();
  types.insert(types.end(), {WeightType::kBook4, WeightType::kBook1x8, WeightType::kBook2x8, WeightType::kBook1x16});
  for (const WeightType type : types) {
    const GpuMatMulCase problem(random_, type, 24, 256, Granularity::kGroup, {5, 3});
    std::string where;
    EXPECT_LE(problem.Error(problem.Run(*gpu_, problem.strips), false, &where), 1) << where;
  }
}

TEST_F(CudaMatMulOnceTest, PlainMatricesMayHaveAnyNumberOfColumns) {
  for (const int64_t k : {1, 31, 33, 63, 65}) {
    const GpuMatMulCase problem(random_, WeightType::kF32, 17, k, Granularity::kChannel, {4});
    std::string where;
    EXPECT_LE(problem.Error(problem.Run(*gpu_, problem.strips), false, &where), 1) << where;
  }
}

TEST_F(CudaMatMulOnceTest, LongColumnsAreSummedInSlices) {
  ASSERT_EQ(Slices(20, 2048), 2);
  for (const WeightType type : {WeightType::kQ4_1, WeightType::kBook1x16}) {
    for (const bool accumulate : {false, true}) {
      const GpuMatMulCase problem(random_, type, 20, 2048, Granularity::kChannel, {3, 2});
      std::string where;
      EXPECT_LE(problem.Error(problem.Run(*gpu_, problem.strips, accumulate), accumulate, &where), 1) << where;
    }
  }
}

// A matrix that is a part of a larger one takes its part of the larger one's multipliers and noise.
TEST_F(CudaMatMulOnceTest, PartsOfAMatrixHaveTheBitsOfTheWhole) {
  for (const auto& [type, granularity] : {std::pair{WeightType::kQ4_0, Granularity::kChannel},
                                          {WeightType::kQ4_0, Granularity::kGroup},
                                          {WeightType::kBook4, Granularity::kGroup}}) {
    const GpuMatMulCase whole(random_, type, 50, 96, granularity, {9, 4, 2});
    const std::vector<float> all = whole.Run(*gpu_, whole.strips);
    for (const auto& [first, rows] : {std::pair{0, 17}, {17, 33}}) {
      const std::vector<float> part = whole.Run(*gpu_, whole.strips, false, first, rows);
      for (int m = 0; m < whole.rows; ++m) {
        const auto row = [m](const std::vector<float>& y, int begin, int width, int count) {
          return std::vector<float>(y.begin() + m * width + begin, y.begin() + m * width + begin + count);
        };
        EXPECT_EQ(FirstDifference(row(part, 0, rows, rows), row(all, first, 50, rows)), -1)
            << "row " << m << " from " << first;
      }
    }
  }
}

TEST(CudaSlicesTest, DependOnTheMatrixAlone) {
  EXPECT_EQ(Slices(4096, 4096), 1);  // 32 tiles of columns are enough
  EXPECT_EQ(Slices(1024, 4096), 4);
  EXPECT_EQ(Slices(576, 1536), 1);  // too short to be cut
  EXPECT_EQ(Slices(576, 32768), 8);
}

// The gate on the machine code (budget.json) reckons occupancy with the shared memory that kernels are launched with.
TEST(CudaBudgetTest, KnowsTheSharedMemoryOfEveryLayout) {
  std::ifstream file(std::string(std::getenv("QZO_SOURCE_DIR")) + "/kernels/cuda/budget.json");
  const nlohmann::json budget = nlohmann::json::parse(file);
  const auto shared = [&](const char* kernel) { return budget.at(kernel).at("shared").get<int>(); };
  EXPECT_EQ(shared("MatMulKernel<0, 0>"), (MatMulLayout<Codes::kNibble, Scales::kHalf>::kBytes));
  EXPECT_EQ(shared("MatMulKernel<0, 1>"), (MatMulLayout<Codes::kNibble, Scales::kHalfMin>::kBytes));
  EXPECT_EQ(shared("MatMulKernel<0, 2>"), (MatMulLayout<Codes::kNibble, Scales::kSuper>::kBytes));
  EXPECT_EQ(shared("MatMulKernel<0, 3>"), (MatMulLayout<Codes::kNibble, Scales::kZero>::kBytes));
  EXPECT_EQ(shared("MatMulKernel<0, 4>"), (MatMulLayout<Codes::kNibble, Scales::kZeros>::kBytes));
  EXPECT_EQ(shared("MatMulKernel<1, 0>"), (MatMulLayout<Codes::kByte, Scales::kHalf>::kBytes));
  EXPECT_EQ(shared("MatMulKernel<1, 5>"), (MatMulLayout<Codes::kByte, Scales::kFloat>::kBytes));
  EXPECT_EQ(shared("MatMulKernel<1, 6>"), (MatMulLayout<Codes::kByte, Scales::kFloatHalf>::kBytes));
  EXPECT_EQ(shared("MatMulKernel<2, 7>"), (MatMulLayout<Codes::kBf16, Scales::kNone>::kBytes));
  EXPECT_EQ(shared("MatMulKernel<3, 8>"), (MatMulLayout<Codes::kBook8, Scales::kRow>::kBytes));
  EXPECT_EQ(shared("MatMulKernel<4, 8>"), (MatMulLayout<Codes::kBook16, Scales::kRow>::kBytes));
  EXPECT_EQ(shared("MatMulKernel<5, 9>"), (MatMulLayout<Codes::kBook4, Scales::kScale>::kBytes));
  EXPECT_EQ(shared("MatMulKernel<5, 10>"), (MatMulLayout<Codes::kBook4, Scales::kScales>::kBytes));
  EXPECT_EQ(shared("DeltaProductKernel<0>"), kDeltaShared);
  EXPECT_EQ(shared("DeltaProductKernel<1>"), kDeltaShared);
  EXPECT_EQ(shared("AttentionKernel<16>"), AttentionLayout<16>::kBytes);
  EXPECT_EQ(shared("AttentionKernel<64>"), AttentionLayout<64>::kBytes);
  EXPECT_EQ(shared("AttentionKernel<128>"), AttentionLayout<128>::kBytes);
  EXPECT_EQ(shared("AttentionKernel<256>"), AttentionLayout<256>::kBytes);
}

// Batch invariance: a row's bits do not depend on the strips around it, nor on where in a strip it lies.
TEST_F(CudaMatMulOnceTest, ARowHasTheSameBitsWhateverSharesTheCall) {
  for (const WeightType type : {WeightType::kQ4_0, WeightType::kQ6_K, WeightType::kBook2x8, WeightType::kBook4}) {
    for (const int64_t k : {256, 2048}) {
      const GpuMatMulCase problem(random_, type, 36, k, Granularity::kGroup, {40, 30, 9});
      const std::vector<float> all = problem.Run(*gpu_, problem.strips);
      std::vector<Strip> cut;
      for (const Strip& strip : problem.strips) {
        for (int row = 0; row < strip.rows; row += 13) {
          cut.push_back({strip.begin + row, std::min(13, strip.rows - row), strip.lane});
        }
      }
      std::reverse(cut.begin(), cut.end());
      EXPECT_EQ(FirstDifference(all, problem.Run(*gpu_, cut)), -1) << problem.Name();
      const std::vector<float> alone = problem.Run(*gpu_, {{40 + 29, 1, 1}});
      const auto row = [&](const std::vector<float>& y) {
        return std::vector<float>(y.begin() + 69 * 36, y.begin() + 70 * 36);
      };
      EXPECT_EQ(FirstDifference(row(all), row(alone)), -1) << problem.Name();
    }
  }
}

TEST_F(CudaMatMulOnceTest, EveryOrderOfThreadsGivesTheSameBits) {
  const GpuMatMulCase problem(random_, WeightType::kQ4_1, 130, 160, Granularity::kGroup, {70, 3});
  const std::vector<float> forward = problem.Run(*gpu_, problem.strips);
  for (const emulator::Order order : {emulator::Order::kReverse, emulator::Order::kShuffled}) {
    EXPECT_EQ(FirstDifference(forward, problem.Run(*MakeTestGpu(order), problem.strips)), -1);
  }
}

TEST_F(CudaMatMulOnceTest, NotANumberStaysInItsRow) {
  GpuMatMulCase problem(random_, WeightType::kQ4_0, 8, 64, Granularity::kChannel, {3});
  problem.x[64 + 5] = std::numeric_limits<float>::quiet_NaN();
  const std::vector<float> y = problem.Run(*gpu_, problem.strips);
  for (size_t i = 0; i < y.size(); ++i) EXPECT_EQ(std::isnan(y[i]), i / 8 == 1) << i;
}

}  // namespace
}  // namespace qzo::kernels::cuda
