// Integer dot products for simd_dots.h, NEON, with the dot product instruction where the including file is compiled for
// it. Same interface as dot_avx512vnni.h.
#ifndef QZO_KERNELS_DOT_NEON_H_
#define QZO_KERNELS_DOT_NEON_H_

#include "kernels/simd_tile.h"

namespace qzo::kernels {
namespace {

constexpr uint32_t kByteFlip = 0;  // both operands are signed: no type has a code above 127

// Nothing here multiplies 16 bits and adds neighbours: their products are added up side by side, two to a lane of the
// panel, in twice as many registers. Register 2i has the lanes of the lower half of register i of a panel vector.
template <typename Register>
struct WideSums {
  Register v[8];
  QZO_VEC explicit WideSums(uint32_t) : v{} {}
  WideSums() = default;
};

// body(sums, w, x, half) for the halves 0 and 1 of each register.
template <typename Register, typename Body>
QZO_VEC void ForHalves(WideSums<Register>& sums, U32x16 w, U32x16 x, Body&& body) {
  Unroll<2>([&](auto half) QZO_VEC_LAMBDA {
    body(sums.v[half], w.v0, x.v0, half);
    body(sums.v[2 + half], w.v1, x.v1, half);
    body(sums.v[4 + half], w.v2, x.v2, half);
    body(sums.v[6 + half], w.v3, x.v3, half);
  });
}
QZO_VEC U32x16 AddNeighbours(const int32x4_t (&v)[8]) {
  return {vreinterpretq_u32_s32(vpaddq_s32(v[0], v[1])), vreinterpretq_u32_s32(vpaddq_s32(v[2], v[3])),
          vreinterpretq_u32_s32(vpaddq_s32(v[4], v[5])), vreinterpretq_u32_s32(vpaddq_s32(v[6], v[7]))};
}
QZO_VEC U32x16 Add(const WideSums<int32x4_t>& sums) { return AddNeighbours(sums.v); }

QZO_VEC void DotPairs(WideSums<int32x4_t>& acc, U32x16 w, U32x16 x) {
  ForHalves(acc, w, x, [](int32x4_t& sum, uint32x4_t wi, uint32x4_t xi, auto half) QZO_VEC_LAMBDA {
    const int16x8_t a = vreinterpretq_s16_u32(wi), b = vreinterpretq_s16_u32(xi);
    sum = half == 0 ? vmlal_s16(sum, vget_low_s16(a), vget_low_s16(b)) : vmlal_high_s16(sum, a, b);
  });
}

#ifdef __ARM_FEATURE_DOTPROD

template <bool kPairs>
constexpr int kDotRows = kPairs ? 3 : 6;
constexpr bool kHasSmallSums = false;

template <bool kPairs, bool kSmall>
using DotSums = std::conditional_t<kPairs, WideSums<int32x4_t>, U32x16>;
QZO_VEC U32x16 Add(U32x16 sums) { return sums; }

template <bool kNegativeCodes>
QZO_VEC void DotQuads(U32x16& acc, U32x16 w, U32x16 x) {
  const auto dot = [](uint32x4_t& sum, uint32x4_t wi, uint32x4_t xi) QZO_VEC_LAMBDA {
    sum = vreinterpretq_u32_s32(
        vdotq_s32(vreinterpretq_s32_u32(sum), vreinterpretq_s8_u32(wi), vreinterpretq_s8_u32(xi)));
  };
  dot(acc.v0, w.v0, x.v0);
  dot(acc.v1, w.v1, x.v1);
  dot(acc.v2, w.v2, x.v2);
  dot(acc.v3, w.v3, x.v3);
}

#else

template <bool kPairs>
constexpr int kDotRows = 3;
constexpr bool kHasSmallSums = true;

template <bool kPairs, bool kSmall>
using DotSums = WideSums<std::conditional_t<kSmall, int16x8_t, int32x4_t> >;
QZO_VEC U32x16 Add(const WideSums<int16x8_t>& sums) {
  int32x4_t wide[8];
  Unroll<8>([&](auto i) QZO_VEC_LAMBDA { wide[i] = vpaddlq_s16(sums.v[i]); });
  return AddNeighbours(wide);
}

template <bool kNegativeCodes>
QZO_VEC void DotQuads(WideSums<int32x4_t>& acc, U32x16 w, U32x16 x) {
  ForHalves(acc, w, x, [](int32x4_t& sum, uint32x4_t wi, uint32x4_t xi, auto half) QZO_VEC_LAMBDA {
    const int8x16_t a = vreinterpretq_s8_u32(wi), b = vreinterpretq_s8_u32(xi);
    sum = vpadalq_s16(sum, half == 0 ? vmull_s8(vget_low_s8(a), vget_low_s8(b)) : vmull_high_s8(a, b));
  });
}
// Eight products of a block are added up in a lane of 16 bits: 8 · 16 · 127 < 2^15.
template <bool kNegativeCodes>
QZO_VEC void DotSmallQuads(WideSums<int16x8_t>& acc, U32x16 w, U32x16 x) {
  ForHalves(acc, w, x, [](int16x8_t& sum, uint32x4_t wi, uint32x4_t xi, auto half) QZO_VEC_LAMBDA {
    const int8x16_t a = vreinterpretq_s8_u32(wi), b = vreinterpretq_s8_u32(xi);
    sum = half == 0 ? vmlal_s8(sum, vget_low_s8(a), vget_low_s8(b)) : vmlal_high_s8(sum, a, b);
  });
}

#endif

template <bool kPairs, bool kSmall>
QZO_VEC U32x16 AddSums(const DotSums<kPairs, kSmall>& sums) {
  return Add(sums);
}

}  // namespace
}  // namespace qzo::kernels

#endif  // QZO_KERNELS_DOT_NEON_H_
