#include "server/core/kinds.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

#include "server/core/unit.h"

namespace qzo::server::core {
namespace {

TEST(LossTolerance, FollowsTheArithmeticOfBothKinds) {
  const double bound = *LossTolerance("int16-1/cpu", "fp32-1/cpu", 28);
  EXPECT_NEAR(bound, 4 * 4 * 32 * (0x1p-15 + 0x1p-20) * 14, 1e-12);
  EXPECT_EQ(LossTolerance("fp32-1/cpu", "int16-1/cpu", 28), bound);
  EXPECT_GT(*LossTolerance("cuda-bf16-1/sm_90", "fp32-1/cpu", 28), bound);
  EXPECT_LT(*LossTolerance("int16-1/cpu", "fp32-1/cpu", 7), bound);
  EXPECT_EQ(LossTolerance("abacus-1/wood", "fp32-1/cpu", 28), std::nullopt);
  EXPECT_EQ(LossTolerance("int16-1/cpu", "fp32-1/cpu", 0), std::nullopt);
}

class TwoAnswers : public ::testing::Test {
 protected:
  // Worker 1's answer is taken, then worker 2's.
  static Unit::Verdict Second(const std::string& kind, double plus, uint64_t layers = 28, int64_t count = 4) {
    Unit unit(0, std::nullopt, 2, absl::ZeroDuration(), layers);
    EXPECT_EQ(unit.Take(1, "int16-1/cpu", 0, method::ItemLosses{2, 1, 4}, absl::ZeroDuration()),
              Unit::Verdict::kAccepted);
    return unit.Take(2, kind, 0, method::ItemLosses{plus, 1, count}, absl::ZeroDuration());
  }
  const double bound_ = 4 * *LossTolerance("int16-1/cpu", "fp32-1/cpu", 28);  // of four examples
};

TEST_F(TwoAnswers, OfOneKindAgreeBitForBit) {
  EXPECT_EQ(Second("int16-1/cpu", 2), Unit::Verdict::kDuplicate);
  EXPECT_EQ(Second("int16-1/cpu", std::nextafter(2, 3)), Unit::Verdict::kMismatch);
}

TEST_F(TwoAnswers, OfTwoKindsAgreeWithinWhatTheirArithmeticExplains) {
  EXPECT_EQ(Second("fp32-1/cpu", 2 + 0.99 * bound_), Unit::Verdict::kDuplicate);
  EXPECT_EQ(Second("fp32-1/cpu", 2 - 0.99 * bound_), Unit::Verdict::kDuplicate);
  EXPECT_EQ(Second("fp32-1/cpu", 2 + 1.01 * bound_), Unit::Verdict::kMismatch);
  EXPECT_EQ(Second("int8-1/cpu", 2 + 1.01 * bound_), Unit::Verdict::kDuplicate) << "which rounds more";
  EXPECT_EQ(Second("fp32-1/cpu", 2, 28, 5), Unit::Verdict::kMismatch) << "the counts are no matter of rounding";
}

TEST_F(TwoAnswers, OfWhichNothingIsKnownAreNotCompared) {
  EXPECT_EQ(Second("abacus-1/wood", 20), Unit::Verdict::kDuplicate);
  EXPECT_EQ(Second("fp32-1/cpu", 20, 0), Unit::Verdict::kDuplicate) << "a job that an earlier version stored";
  EXPECT_EQ(Second("fp32-1/cpu", std::numeric_limits<double>::infinity()), Unit::Verdict::kDuplicate);
}

}  // namespace
}  // namespace qzo::server::core
