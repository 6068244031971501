// Elementary functions from + − * / fma sqrt and integer operations only: no libm, so every compiler, instruction set
// and device gives the same bits. Build with contraction off (host: cmake/qzo.cmake; CUDA: -fmad=false). Pure,
// thread-safe.
//
// The fp32 functions are templates over a number type F: float here, 16 lanes in vec_*.h. F needs + − * /, a
// constructor from float, and Fma, Sqrt, Min, Max, Bits; its bit pattern type U = decltype(Bits(F)) needs + − & | ^ <<
// and a logical >>, plus Sar (arithmetic shift), FromBits and SignedToFloat. All are forced inline: an out-of-line copy
// made in a file compiled for AVX-512 could be the one the linker keeps for everybody.
#ifndef QZO_KERNELS_EXACT_MATH_H_
#define QZO_KERNELS_EXACT_MATH_H_

#include <bit>
#include <cstdint>

#include "base/philox.h"  // QZO_HOST_DEVICE

#define QZO_EXACT QZO_HOST_DEVICE inline __attribute__((always_inline))

namespace qzo::kernels {

QZO_EXACT float Fma(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
QZO_EXACT double Fma(double a, double b, double c) { return __builtin_fma(a, b, c); }
QZO_EXACT float Sqrt(float x) { return __builtin_sqrtf(x); }
// When an operand is NaN the result is b, as on x86.
QZO_EXACT float Min(float a, float b) { return a < b ? a : b; }
QZO_EXACT float Max(float a, float b) { return a > b ? a : b; }
QZO_EXACT uint32_t Bits(float x) { return __builtin_bit_cast(uint32_t, x); }
QZO_EXACT uint64_t Bits(double x) { return __builtin_bit_cast(uint64_t, x); }
QZO_EXACT float FromBits(uint32_t bits) { return __builtin_bit_cast(float, bits); }
QZO_EXACT double FromBits(uint64_t bits) { return __builtin_bit_cast(double, bits); }
QZO_EXACT uint32_t Sar(uint32_t bits, int by) { return static_cast<uint32_t>(static_cast<int32_t>(bits) >> by); }
QZO_EXACT float SignedToFloat(uint32_t bits) { return static_cast<float>(static_cast<int32_t>(bits)); }

// e^x. Relative error below 1.2e-7 where the result is normal; x is clamped to [-104, 88.72283], so the result is
// finite, and 0 below -103.98. NaN gives NaN. Polynomial: Moshier, Cephes, expf.
template <typename F>
QZO_EXACT F Exp(F x) {
  using U = decltype(Bits(x));
  x = Min(F(88.72283f), Max(F(-104.0f), x));
  const F shifter = F(12582912.0f);  // 1.5 * 2^23: adding it rounds to an integer that sits in the low bits
  const F shifted = Fma(x, F(1.44269504f), shifter);
  const F n = shifted - shifter;
  const U exponent = Bits(shifted) - Bits(shifter);
  const F r = Fma(n, F(2.12194440e-4f), Fma(n, F(-0.693359375f), x));  // ln 2 in two parts, the first exact in 9 bits
  F p = F(1.9875691500e-4f);
  p = Fma(p, r, F(1.3981999507e-3f));
  p = Fma(p, r, F(8.3334519073e-3f));
  p = Fma(p, r, F(4.1665795894e-2f));
  p = Fma(p, r, F(1.6666665459e-1f));
  p = Fma(p, r, F(5.0000001201e-1f));
  p = Fma(p, r * r, r) + F(1.0f);
  // 2^n in two factors: n reaches from -150, where the result is denormal, to 128, past the largest power of two.
  const U half = Sar(exponent, 1);
  return p * FromBits((half + U(127u)) << 23) * FromBits((exponent - half + U(127u)) << 23);
}

template <typename F>
QZO_EXACT F Silu(F x) {
  return x / (F(1.0f) + Exp(F(0.0f) - x));
}

// tanh x. Relative error below 3e-7. NaN gives NaN. Polynomial for |x| < 0.625: Moshier, Cephes, tanhf.
template <typename F>
QZO_EXACT F Tanh(F x) {
  using U = decltype(Bits(x));
  const U sign = Bits(x) & U(0x80000000u);
  const F a = FromBits(Bits(x) ^ sign);
  const F z = x * x;
  F p = F(-5.70498872745e-3f);
  p = Fma(p, z, F(2.06390887954e-2f));
  p = Fma(p, z, F(-5.37397155531e-2f));
  p = Fma(p, z, F(1.33314422036e-1f));
  p = Fma(p, z, F(-3.33332819422e-1f));
  const F near = Fma(p * z, x, x);
  const F far = F(1.0f) - F(2.0f) / (Exp(a + a) + F(1.0f));
  const U is_near = Sar(Bits(a - F(0.625f)), 31);
  return FromBits((Bits(near) & is_near) | ((Bits(far) | sign) & (is_near ^ U(0xffffffffu))));
}

// x · Φ(x) with Φ(x) approximated by (1 + tanh(√(2/π)(x + 0.044715 x³))) / 2, as a logistic function of twice that
// argument, which keeps the relative accuracy for negative x.
template <typename F>
QZO_EXACT F GeluTanh(F x) {
  const F argument = x * Fma(x * x, F(-2 * 0.0356774081f), F(-2 * 0.797884561f));
  return x / (F(1.0f) + Exp(argument));
}

// c · tanh(x / c): x where it is small beside c, never beyond ±c.
template <typename F>
QZO_EXACT F SoftCap(F x, F c) {
  return c * Tanh(x / c);
}

// ln x for positive normal x; error below 2 units in the last place or 2e-16, whichever is larger. NaN gives NaN.
QZO_EXACT double Log(double x) {
  if (x != x) return x;
  constexpr uint64_t kSqrtHalf = 0x3fe6a09e667f3bcdu;
  const uint64_t shifted = __builtin_bit_cast(uint64_t, x) - kSqrtHalf;  // so that m lands in [sqrt(1/2), sqrt(2))
  const double e = static_cast<double>(static_cast<int64_t>(shifted) >> 52);
  const double m = FromBits((shifted & 0x000fffffffffffffu) + kSqrtHalf);
  const double s = (m - 1) / (m + 1);  // ln m = 2 atanh s, |s| < 0.1716
  const double z = s * s;
  double p = 1.0 / 25;
  for (int odd = 23; odd >= 3; odd -= 2) p = Fma(p, z, 1.0 / odd);
  const double low = Fma(2 * s * z, p, e * 0x1.ef35793c76730p-45);
  return Fma(e, 0x1.62e42fefa3800p-1, Fma(2.0, s, low));
}

// base^exponent for base > 0 and |exponent · ln base| <= 700; relative error below 1e-15 · (1 + |exponent · ln base|).
QZO_EXACT double Pow(double base, double exponent) {
  const double x = exponent * Log(base);
  const double shifter = 0x1.8p52;
  const double shifted = Fma(x, 0x1.71547652b82fep0, shifter);
  const double n = shifted - shifter;
  const double r = Fma(n, -0x1.ef35793c76730p-45, Fma(n, -0x1.62e42fefa3800p-1, x));
  double p = 1;  // Taylor series of e^r, |r| <= 0.347: the first term left out is below 1e-17
  for (int i = 13; i >= 1; --i) p = Fma(p * r, 1.0 / i, 1.0);
  return p * FromBits((Bits(shifted) - Bits(shifter) + 1023) << 52);
}

struct SinCosResult {
  double sin;
  double cos;
};

// Sine and cosine for |x| <= 2^30; absolute error below 4e-16.
QZO_EXACT SinCosResult SinCos(double x) {
  const double shifter = 0x1.8p52;
  const double shifted = Fma(x, 0x1.45f306dc9c883p-1, shifter);  // 2/pi
  const double n = shifted - shifter;
  const double r = Fma(-n, 0x1.1a62633145c07p-54, Fma(-n, 0x1.921fb54442d18p0, x));  // pi/2 in two parts
  const double z = r * r;
  // Taylor series on |r| <= pi/4: the first terms left out are below 1e-17.
  double s = 1, c = 1;
  for (int i = 16; i >= 2; i -= 2) {
    s = Fma(s * z, -1.0 / (i * (i + 1)), 1.0);
    c = Fma(c * z, -1.0 / ((i - 1) * i), 1.0);
  }
  s *= r;
  switch (Bits(shifted) & 3) {
    case 0:
      return {s, c};
    case 1:
      return {c, -s};
    case 2:
      return {-s, -c};
    default:
      return {-c, s};
  }
}

}  // namespace qzo::kernels

#endif  // QZO_KERNELS_EXACT_MATH_H_
