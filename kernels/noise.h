// The noise of docs/formats.md, one Philox block at a time. key = job seed, counter = (block, tensor, probe, step).
//   Rademacher: block b holds multipliers 128b … 128b+127; bit j of its 128 (word j/32, bit j%32): 0 is +1, 1 is −1.
//   Gaussian:   block b holds multipliers 4b … 4b+3: BoxMuller(word 0, word 1), then BoxMuller(word 2, word 3).
#ifndef QZO_KERNELS_NOISE_H_
#define QZO_KERNELS_NOISE_H_

#include <cstdint>

#include "base/philox.h"
#include "kernels/exact_math.h"
#include "kernels/kernels.h"

namespace qzo::kernels {

inline constexpr int kRademacherPerBlock = 128;
inline constexpr int kGaussianPerBlock = 4;

// ln u for u in [2^-24, 1], about one unit in the last place. Polynomial: Moshier, Cephes, logf.
template <typename F>
QZO_EXACT F LogUnit(F u) {
  using U = decltype(Bits(u));
  const U sqrt_half = U(0x3f3504f3u);
  const U shifted = Bits(u) - sqrt_half;  // so that the mantissa lands in [sqrt(1/2), sqrt(2))
  const F e = SignedToFloat(Sar(shifted, 23));
  const F x = FromBits((shifted & U(0x007fffffu)) + sqrt_half) - F(1.0f);
  const F z = x * x;
  F p = F(7.0376836292e-2f);
  p = Fma(p, x, F(-1.1514610310e-1f));
  p = Fma(p, x, F(1.1676998740e-1f));
  p = Fma(p, x, F(-1.2420140846e-1f));
  p = Fma(p, x, F(1.4249322787e-1f));
  p = Fma(p, x, F(-1.6668057665e-1f));
  p = Fma(p, x, F(2.0000714765e-1f));
  p = Fma(p, x, F(-2.4999993993e-1f));
  p = Fma(p, x, F(3.3333331174e-1f));
  const F low = Fma(F(-0.5f), z, Fma(e, F(-2.12194440e-4f), p * x * z));
  return Fma(e, F(0.693359375f), x + low);
}

// Two standard normals r·cos θ and r·sin θ from two words: r = sqrt(−2 ln u), u = ((a >> 8) + 1) / 2^24 in (0, 1]; the
// top two bits of b are the quadrant of θ, the next 24 its signed offset, at most pi/4. |n| <= 5.77. Polynomials:
// Cephes, sinf.
template <typename F, typename U>
QZO_EXACT void BoxMuller(U a, U b, F* n0, F* n1) {
  const F u = SignedToFloat((a >> 8) + U(1u)) * F(5.9604644775390625e-8f);
  const F r = Sqrt(F(-2.0f) * LogUnit(u));
  const F t = SignedToFloat(Sar(b << 2, 8)) * F(9.362675e-8f);  // pi/2 · 2^-24
  const F z = t * t;
  const F s_poly = Fma(Fma(F(-1.9515295891e-4f), z, F(8.3321608736e-3f)), z, F(-1.6666654611e-1f));
  const F c_poly = Fma(Fma(F(2.443315711809948e-5f), z, F(-1.388731625493765e-3f)), z, F(4.166664568298827e-2f));
  const U s = Bits(Fma(s_poly, z * t, t));
  const U c = Bits(Fma(c_poly, z * z, Fma(F(-0.5f), z, F(1.0f))));
  // Odd quadrants exchange sine and cosine; the signs follow from the quadrant's bits.
  const U quadrant = b >> 30;
  const U exchange = U(0u) - (quadrant & U(1u));
  const U differ = (s ^ c) & exchange;
  n0[0] = r * FromBits((c ^ differ) ^ (((quadrant + U(1u)) & U(2u)) << 30));
  n1[0] = r * FromBits((s ^ differ) ^ ((quadrant & U(2u)) << 30));
}

// Not for files compiled for an instruction set (exact_math.h says why).
inline base::PhiloxWords NoiseWords(const NoiseKey& key, uint32_t block) {
  return base::Philox4x32(key.seed, {{block, key.tensor, key.probe, key.step}});
}

}  // namespace qzo::kernels

#endif  // QZO_KERNELS_NOISE_H_
