// Integer dot products for simd_dots.h, AVX2. Same interface as dot_avx512vnni.h.
#ifndef QZO_KERNELS_DOT_AVX2_H_
#define QZO_KERNELS_DOT_AVX2_H_

#include "kernels/dot_instructions.h"

namespace qzo::kernels {
namespace {

template <bool kPairs>
constexpr int kDotRows = 6;
constexpr uint32_t kByteFlip = 0;
constexpr bool kHasSmallSums = true;

template <bool kPairs, bool kSmall>
using DotSums = U32x16;

QZO_VEC void DotPairs(U32x16& acc, U32x16 w, U32x16 x) {
  MultiplyAddPairs(acc.low, w.low, x.low);
  MultiplyAddPairs(acc.high, w.high, x.high);
}
// The sign of a weight moves to the activation, which is never −128: two products of 128 · 127 then fit 16 bits.
template <bool kNegativeCodes>
QZO_VEC __m256i PairSums(__m256i w, __m256i x) {
  return kNegativeCodes ? _mm256_maddubs_epi16(_mm256_abs_epi8(w), _mm256_sign_epi8(x, w)) : _mm256_maddubs_epi16(w, x);
}
template <bool kNegativeCodes>
QZO_VEC void DotSmallQuads(__m256i& sums, __m256i w, __m256i x) {
  if constexpr (kNegativeCodes) {
    MultiplyAddBytes(sums, _mm256_abs_epi8(w), _mm256_sign_epi8(x, w));
  } else {
    MultiplyAddBytes(sums, w, x);
  }
}
template <bool kNegativeCodes>
QZO_VEC void DotSmallQuads(U32x16& sums, U32x16 w, U32x16 x) {
  DotSmallQuads<kNegativeCodes>(sums.low, w.low, x.low);
  DotSmallQuads<kNegativeCodes>(sums.high, w.high, x.high);
}
QZO_VEC U32x16 AddSmallSums(U32x16 sums) {
  const __m256i ones = _mm256_set1_epi16(1);
  return {_mm256_madd_epi16(sums.low, ones), _mm256_madd_epi16(sums.high, ones)};
}
template <bool kPairs, bool kSmall>
QZO_VEC U32x16 AddSums(U32x16 sums) {
  return kSmall ? AddSmallSums(sums) : sums;
}
template <bool kNegativeCodes>
QZO_VEC void DotQuads(U32x16& acc, U32x16 w, U32x16 x) {
  acc = acc + AddSmallSums({PairSums<kNegativeCodes>(w.low, x.low), PairSums<kNegativeCodes>(w.high, x.high)});
}

}  // namespace
}  // namespace qzo::kernels

#endif  // QZO_KERNELS_DOT_AVX2_H_
