// Integer dot products for simd_dots.h, AVX2. Same interface as dot_avx512vnni.h.
#ifndef QZO_KERNELS_DOT_AVX2_H_
#define QZO_KERNELS_DOT_AVX2_H_

#include "kernels/vec_avx2.h"

namespace qzo::kernels {
namespace {

constexpr int kDotRows = 4;
constexpr uint32_t kByteFlip = 0;

QZO_VEC void DotPairs(U32x16& acc, U32x16 w, U32x16 x) {
  acc = {_mm256_add_epi32(acc.low, _mm256_madd_epi16(w.low, x.low)),
         _mm256_add_epi32(acc.high, _mm256_madd_epi16(w.high, x.high))};
}
// The sign of a weight moves to the activation, which is never −128: two products of 128 · 127 then fit 16 bits.
template <bool kNegativeCodes>
QZO_VEC __m256i QuadProducts(__m256i w, __m256i x) {
  const __m256i pairs =
      kNegativeCodes ? _mm256_maddubs_epi16(_mm256_abs_epi8(w), _mm256_sign_epi8(x, w)) : _mm256_maddubs_epi16(w, x);
  return _mm256_madd_epi16(pairs, _mm256_set1_epi16(1));
}
template <bool kNegativeCodes>
QZO_VEC void DotQuads(U32x16& acc, U32x16 w, U32x16 x) {
  acc = {_mm256_add_epi32(acc.low, QuadProducts<kNegativeCodes>(w.low, x.low)),
         _mm256_add_epi32(acc.high, QuadProducts<kNegativeCodes>(w.high, x.high))};
}

}  // namespace
}  // namespace qzo::kernels

#endif  // QZO_KERNELS_DOT_AVX2_H_
