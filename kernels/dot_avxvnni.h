// Integer dot products for simd_dots.h, AVX-VNNI: the instructions of dot_avx512vnni.h in 256 bits, and its
// interface.
#ifndef QZO_KERNELS_DOT_AVXVNNI_H_
#define QZO_KERNELS_DOT_AVXVNNI_H_

#include "kernels/dot_instructions.h"

namespace qzo::kernels {
namespace {

template <bool kPairs>
constexpr int kDotRows = 6;
constexpr uint32_t kByteFlip = 0x80808080u;
constexpr bool kHasSmallSums = false;

template <bool kPairs, bool kSmall>
using DotSums = U32x16;
template <bool kPairs, bool kSmall>
QZO_VEC U32x16 AddSums(U32x16 sums) {
  return sums;
}

QZO_VEC void DotPairs(U32x16& acc, U32x16 w, U32x16 x) {
  VnniPairs(acc.low, w.low, x.low);
  VnniPairs(acc.high, w.high, x.high);
}
template <bool kNegativeCodes>
QZO_VEC void DotQuads(U32x16& acc, U32x16 w, U32x16 x) {
  VnniQuads(acc.low, w.low, x.low);
  VnniQuads(acc.high, w.high, x.high);
}

}  // namespace
}  // namespace qzo::kernels

#endif  // QZO_KERNELS_DOT_AVXVNNI_H_
