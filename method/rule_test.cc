#include "method/rule.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>

#include "tests/support/status_matchers.h"

namespace qzo::method {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();
constexpr double kInfinity = std::numeric_limits<double>::infinity();

MethodSpec FourSteps(Schedule schedule) {
  MethodSpec spec;
  spec.steps = 4;
  spec.probes = 2;
  spec.learning_rate = 0.01;
  spec.schedule = schedule;
  return spec;
}

std::vector<uint32_t> Bits(const std::vector<float>& values) {
  std::vector<uint32_t> bits;
  for (const float value : values) bits.push_back(std::bit_cast<uint32_t>(value));
  return bits;
}

TEST(ProjectedGradient, IsTheMirroredDifferencePerExample) {
  const std::vector<ItemLosses> items = {{3, 1, 2}, {5, 4, 2}};
  EXPECT_EQ(ProjectedGradient(items, 0.5f), 3.0f / 4.0f);
}

TEST(ProjectedGradient, IsNotANumberWhenALossIsNotOrNothingCounts) {
  EXPECT_TRUE(std::isnan(ProjectedGradient(std::vector<ItemLosses>{{1, 2, 1}, {kInfinity, 1, 1}}, 1e-2f)));
  EXPECT_TRUE(std::isnan(ProjectedGradient(std::vector<ItemLosses>{{0, 0, 0}}, 1e-2f)));
  EXPECT_TRUE(std::isnan(ProjectedGradient(std::vector<ItemLosses>{{1e300, 0, 1}}, 1e-2f))) << "beyond fp32";
}

TEST(MeanLoss, LeavesOutItemsThatAreNotFinite) {
  EXPECT_DOUBLE_EQ(MeanLoss(std::vector<ItemLosses>{{4, 2, 2}, {kInfinity, 1, 7}, {1, 1, 1}}), 8.0 / 6.0);
  EXPECT_TRUE(std::isnan(MeanLoss(std::vector<ItemLosses>{{kInfinity, 1, 7}})));
}

// Computed by a separate program from the formulas of docs/architecture.md.
TEST(Coefficients, NormalizedMatchesTheGoldenVectors) {
  const std::vector<std::vector<float>> d = {{3, -4}, {0.5f, 40}, {kNaN, 2}, {0, 0}};
  const std::vector<std::vector<uint32_t>> constant = {
      {0x3c0b05d9, 0xbc395d22}, {0x3a35f8d9, 0x3cf5c28f}, {0, 0x3b3a525e}, {0, 0}};
  const std::vector<std::vector<uint32_t>> linear = {
      {0x3c0b05d9, 0xbc395d22}, {0x3a087aa3, 0x3cb851ec}, {0, 0x3aba525e}, {0, 0}};
  const std::vector<double> mean_square = {12.5, 51.88125000000004, 49.48718750000003, 47.01282812500003};
  RuleState state, linear_state;
  for (uint32_t step = 0; step < 4; ++step) {
    EXPECT_EQ(Bits(Coefficients(FourSteps(Schedule::kConstant), step, d[step], &state)), constant[step]) << step;
    EXPECT_EQ(Bits(Coefficients(FourSteps(Schedule::kLinear), step, d[step], &linear_state)), linear[step]) << step;
    EXPECT_EQ(state.mean_square, mean_square[step]);
    EXPECT_EQ(linear_state, state);
  }
}

TEST(Coefficients, AreZeroUntilThereIsAGradientAndForProbesWithout) {
  RuleState state;
  const MethodSpec spec = FourSteps(Schedule::kConstant);
  EXPECT_THAT(Coefficients(spec, 0, {0.0f, 0.0f}, &state), ElementsAre(0, 0));
  EXPECT_THAT(Coefficients(spec, 1, {kNaN, kNaN}, &state), ElementsAre(0, 0));
  EXPECT_EQ(state.mean_square, 0);
  EXPECT_THAT(Coefficients(spec, 2, {2.0f, kNaN}, &state), ElementsAre(0.01f, 0));
  EXPECT_EQ(state.mean_square, 4);
  Coefficients(spec, 3, {kNaN, kNaN}, &state);
  EXPECT_EQ(state.mean_square, 4) << "a step without any finite probe leaves the state alone";
}

TEST(Coefficients, ClipKeepsTheGradientWithinBounds) {
  MethodSpec spec = FourSteps(Schedule::kConstant);
  spec.rule = Rule::kClip;
  spec.clip = 100;
  spec.learning_rate = 0.5;
  RuleState state;
  EXPECT_THAT(Coefficients(spec, 0, {1000.0f, -1000.0f, 3.0f, kNaN}, &state), ElementsAre(50, -50, 1.5f, 0));
}

TEST(LearningRate, WarmsUpThenFollowsItsSchedule) {
  MethodSpec spec;
  spec.steps = 10;
  spec.learning_rate = 1;
  spec.warmup_ratio = 0.25;  // two steps
  spec.schedule = Schedule::kConstant;
  EXPECT_EQ(LearningRate(spec, 0), 0.5);
  EXPECT_EQ(LearningRate(spec, 1), 1);
  EXPECT_EQ(LearningRate(spec, 9), 1);
  spec.schedule = Schedule::kLinear;
  EXPECT_EQ(LearningRate(spec, 2), 1);
  EXPECT_EQ(LearningRate(spec, 6), 0.5);
  EXPECT_EQ(LearningRate(spec, 9), 0.125);
  spec.schedule = Schedule::kCosine;
  EXPECT_EQ(LearningRate(spec, 2), 1);
  EXPECT_NEAR(LearningRate(spec, 6), 0.5, 1e-15);
}

TEST(MethodSpec, ReportsEveryViolation) {
  MethodSpec spec;
  spec.steps = 0;
  spec.probes = 0;
  spec.micro_batches = 3;
  spec.epsilon = 0;
  spec.learning_rate = kInfinity;
  spec.warmup_ratio = std::numeric_limits<double>::quiet_NaN();
  spec.clip = 0;
  EXPECT_THAT(spec.Validate(),
              testing::StatusIs(absl::StatusCode::kInvalidArgument,
                                AllOf(HasSubstr("method.steps: 0"), HasSubstr("method.probes: 0"),
                                      HasSubstr("method.micro_batches: 3"), HasSubstr("method.epsilon: 0"),
                                      HasSubstr("method.learning_rate: inf"), HasSubstr("method.warmup_ratio: nan"),
                                      HasSubstr("method.clip: 0"))));
}

}  // namespace
}  // namespace qzo::method
