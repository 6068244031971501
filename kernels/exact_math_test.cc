#include "kernels/exact_math.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "kernels/rope_table.h"

namespace qzo::kernels {
namespace {

TEST(ExactMath, ExpStaysWithinItsErrorBound) {
  double worst = 0;
  for (uint32_t bits = 0; bits < 0x42b17218; bits += 1009) {  // 0 … 88.7228
    for (const uint32_t sign : {0u, 0x80000000u}) {
      const float x = FromBits(bits | sign);
      const double exact = std::exp(double{x});
      if (exact > 0x1p-126) {
        worst = std::max(worst, std::fabs(Exp(x) - exact) / exact);
      } else {
        ASSERT_NEAR(Exp(x), exact, 0x1p-149) << x;
      }
    }
  }
  EXPECT_LT(worst, 1.2e-7);
}

TEST(ExactMath, ExpKeepsDenormalsAndClampsItsArgument) {
  EXPECT_EQ(Exp(0.0f), 1.0f);
  EXPECT_EQ(Exp(-0.0f), 1.0f);
  EXPECT_EQ(Exp(-103.0f), 0x1p-149f);
  EXPECT_EQ(Exp(-104.0f), 0.0f);
  EXPECT_EQ(Exp(-INFINITY), 0.0f);
  EXPECT_TRUE(std::isfinite(Exp(88.72283f)));
  EXPECT_EQ(Exp(INFINITY), Exp(88.72283f));
  EXPECT_TRUE(std::isnan(Exp(std::nanf(""))));
}

TEST(ExactMath, SiluTendsToItsLimits) {
  EXPECT_EQ(Silu(0.0f), 0.0f);
  EXPECT_EQ(Silu(200.0f), 200.0f);
  EXPECT_NEAR(Silu(-200.0f), 0.0f, 1e-36);
  EXPECT_NEAR(Silu(1.0f), 0.7310585786300049, 1e-7);
}

TEST(ExactMath, TanhStaysWithinItsErrorBound) {
  for (float x = 1e-30f; x < 20; x *= 1.0007f) {
    const double exact = std::tanh(double{x});
    ASSERT_NEAR(Tanh(x), exact, 3e-7 * exact) << x;
    ASSERT_EQ(Tanh(-x), -Tanh(x)) << x;
  }
  EXPECT_EQ(Tanh(0.0f), 0.0f);
  EXPECT_EQ(Tanh(INFINITY), 1.0f);
  EXPECT_EQ(Tanh(-INFINITY), -1.0f);
  EXPECT_TRUE(std::isnan(Tanh(std::nanf(""))));
  EXPECT_NEAR(SoftCap(120.0f, 30.0f), 30 * std::tanh(4.0), 1e-5);
}

TEST(ExactMath, GeluIsTheTanhApproximation) {
  for (float x = -6; x < 12; x += 0.00137f) {
    const double argument = std::sqrt(2 / M_PI) * (x + 0.044715 * std::pow(double{x}, 3));
    const double exact = x / (1 + std::exp(-2 * argument));
    // The argument carries three roundings, which its exponential multiplies.
    ASSERT_NEAR(GeluTanh(x), exact, (3e-7 + 4e-7 * std::fabs(argument)) * std::fabs(exact)) << x;
  }
  EXPECT_EQ(GeluTanh(0.0f), 0.0f);
  EXPECT_EQ(GeluTanh(200.0f), 200.0f);
  EXPECT_NEAR(GeluTanh(-200.0f), 0.0f, 1e-36);
  EXPECT_TRUE(std::isnan(GeluTanh(std::nanf(""))));
}

TEST(ExactMath, LogStaysWithinItsErrorBound) {
  for (double x = 0x1p-1022; x < 0x1p1023; x *= 1.00137) {
    const double exact = std::log(x);
    ASSERT_NEAR(Log(x), exact, 0x1p-51 * std::fabs(exact) + 2e-16) << x;
  }
  for (double x = 0.5; x < 2; x += 1.3e-5) {
    const double exact = std::log(x);
    ASSERT_NEAR(Log(x), exact, 0x1p-51 * std::fabs(exact) + 2e-16) << x;
  }
  EXPECT_EQ(Log(1.0), 0.0);
  EXPECT_TRUE(std::isnan(Log(std::nan(""))));
}

TEST(ExactMath, PowStaysWithinItsErrorBound) {
  for (const double base : {2.0, 1e4, 5e5, 1e6, 1e7}) {
    for (double exponent = -1.5; exponent <= 1.5; exponent += 0.0037) {
      const double exact = std::pow(base, exponent);
      ASSERT_NEAR(Pow(base, exponent), exact, 1e-15 * exact * (1 + std::fabs(exponent) * std::log(base)))
          << base << " " << exponent;
    }
  }
  EXPECT_EQ(Pow(10000, 0), 1.0);
}

TEST(ExactMath, SinCosStayWithinTheirErrorBound) {
  double worst = 0;
  for (double x = 1e-9; x < 0x1p30; x = x * 1.0003 + 1e-4) {
    for (const double angle : {x, -x}) {
      const SinCosResult result = SinCos(angle);
      worst = std::max({worst, std::fabs(result.sin - std::sin(angle)), std::fabs(result.cos - std::cos(angle))});
    }
  }
  EXPECT_LT(worst, 4e-16);
  EXPECT_EQ(SinCos(0).sin, 0.0);
  EXPECT_EQ(SinCos(0).cos, 1.0);
}

TEST(RopeTable, HoldsCosinesAndSinesOfEachPosition) {
  const RopeTable table = BuildRopeTable(131072, 8, 500000);
  ASSERT_EQ(table.cos.size(), size_t{131072} * 4);
  ASSERT_EQ(table.sin.size(), size_t{131072} * 4);
  for (size_t position = 0; position < 131072; position += 37) {
    for (size_t i = 0; i < 4; ++i) {
      const double angle = static_cast<double>(position) * std::pow(500000.0, -2.0 * static_cast<double>(i) / 8);
      // Half a unit of fp32 and, for large angles, the error of the frequency times the position.
      ASSERT_NEAR(table.cos[position * 4 + i], std::cos(angle), 0x1p-25 + 2e-9);
      ASSERT_NEAR(table.sin[position * 4 + i], std::sin(angle), 0x1p-25 + 2e-9);
    }
  }
}

TEST(RopeTable, DividesFrequencies) {
  const std::vector<float> divisors = {1.0f, 4.0f};
  const RopeTable plain = BuildRopeTable(9, 4, 10000), divided = BuildRopeTable(9, 4, 10000, divisors);
  for (size_t position = 0; position < 9; ++position) {
    EXPECT_EQ(divided.sin[position * 2], plain.sin[position * 2]);
    EXPECT_NEAR(divided.sin[position * 2 + 1], std::sin(static_cast<double>(position) * 0.01 / 4), 0x1p-25);
  }
}

}  // namespace
}  // namespace qzo::kernels
