// Integer dot products for simd_dots.h, AVX-VNNI: the instructions of dot_avx512vnni.h in 256 bits, and its
// interface.
#ifndef QZO_KERNELS_DOT_AVXVNNI_H_
#define QZO_KERNELS_DOT_AVXVNNI_H_

#include "kernels/vec_avx2.h"

namespace qzo::kernels {
namespace {

constexpr int kDotRows = 6;
constexpr uint32_t kByteFlip = 0x80808080u;
constexpr bool kHasSmallSums = false;

QZO_VEC void DotPairs(U32x16& acc, U32x16 w, U32x16 x) {
  asm("%{vex%} vpdpwssd %2, %1, %0" : "+x"(acc.low) : "x"(w.low), "x"(x.low));
  asm("%{vex%} vpdpwssd %2, %1, %0" : "+x"(acc.high) : "x"(w.high), "x"(x.high));
}
template <bool kNegativeCodes>
QZO_VEC void DotQuads(U32x16& acc, U32x16 w, U32x16 x) {
  asm("%{vex%} vpdpbusd %2, %1, %0" : "+x"(acc.low) : "x"(w.low), "x"(x.low));
  asm("%{vex%} vpdpbusd %2, %1, %0" : "+x"(acc.high) : "x"(w.high), "x"(x.high));
}

}  // namespace
}  // namespace qzo::kernels

#endif  // QZO_KERNELS_DOT_AVXVNNI_H_
