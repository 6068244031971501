// Integer dot products for simd_dots.h, AVX-512 BW without VNNI. Same interface as dot_avx512vnni.h.
#ifndef QZO_KERNELS_DOT_AVX512_H_
#define QZO_KERNELS_DOT_AVX512_H_

#include "kernels/dot_instructions.h"

namespace qzo::kernels {
namespace {

template <bool kPairs>
constexpr int kDotRows = 8;
constexpr uint32_t kByteFlip = 0;
constexpr bool kHasSmallSums = true;

template <bool kPairs, bool kSmall>
using DotSums = U32x16;

QZO_VEC void DotPairs(U32x16& acc, U32x16 w, U32x16 x) { MultiplyAddPairs(acc.v, w.v, x.v); }
// The sign of a weight moves to the activation, which is never −128: two products of 128 · 127 then fit 16 bits.
template <bool kNegativeCodes>
QZO_VEC void MoveSigns(U32x16& w, U32x16& x) {
  if constexpr (kNegativeCodes) {
    x = _mm512_mask_sub_epi8(x.v, _mm512_movepi8_mask(w.v), _mm512_setzero_si512(), x.v);
    w = _mm512_abs_epi8(w.v);
  }
}
QZO_VEC U32x16 AddSmallSums(U32x16 sums) { return _mm512_madd_epi16(sums.v, _mm512_set1_epi16(1)); }
template <bool kPairs, bool kSmall>
QZO_VEC U32x16 AddSums(U32x16 sums) {
  return kSmall ? AddSmallSums(sums) : sums;
}
template <bool kNegativeCodes>
QZO_VEC void DotSmallQuads(U32x16& sums, U32x16 w, U32x16 x) {
  MoveSigns<kNegativeCodes>(w, x);
  MultiplyAddBytes(sums.v, w.v, x.v);
}
template <bool kNegativeCodes>
QZO_VEC void DotQuads(U32x16& acc, U32x16 w, U32x16 x) {
  MoveSigns<kNegativeCodes>(w, x);
  acc = acc + AddSmallSums(_mm512_maddubs_epi16(w.v, x.v));
}

}  // namespace
}  // namespace qzo::kernels

#endif  // QZO_KERNELS_DOT_AVX512_H_
