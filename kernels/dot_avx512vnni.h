// Integer dot products for simd_dots.h, AVX-512 VNNI.
#ifndef QZO_KERNELS_DOT_AVX512VNNI_H_
#define QZO_KERNELS_DOT_AVX512VNNI_H_

#include "kernels/dot_instructions.h"

namespace qzo::kernels {
namespace {

// Rows of a register tile: 24 accumulators, two panel vectors, a broadcast.
template <bool kPairs>
constexpr int kDotRows = 12;
// Xored to every stored byte of a type with negative codes: 128 is added, because the instruction takes them unsigned.
constexpr uint32_t kByteFlip = 0x80808080u;
// Whether there is DotSmallQuads: sums in 16 bits, of codes that are small (code_range.h) and not flipped, cost less
// than in 32.
constexpr bool kHasSmallSums = false;

// What products are added up in, from zero or a number on, and what AddSums makes of it: a sum per lane.
template <bool kPairs, bool kSmall>
using DotSums = U32x16;
template <bool kPairs, bool kSmall>
QZO_VEC U32x16 AddSums(U32x16 sums) {
  return sums;
}

// acc += w · x: two products of 16 bits per lane, or four of 8.
QZO_VEC void DotPairs(U32x16& acc, U32x16 w, U32x16 x) { VnniPairs(acc.v, w.v, x.v); }
template <bool kNegativeCodes>
QZO_VEC void DotQuads(U32x16& acc, U32x16 w, U32x16 x) {
  VnniQuads(acc.v, w.v, x.v);
}

}  // namespace
}  // namespace qzo::kernels

#endif  // QZO_KERNELS_DOT_AVX512VNNI_H_
