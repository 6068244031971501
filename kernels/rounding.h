// The layout of rounded blocks, and the pieces of integer.h's rounding that the reference and the SIMD variants share.
// A block: 32 codes (int16 ones at PairPlace), then BlockSums, without the starts after int16 codes.
#ifndef QZO_KERNELS_ROUNDING_H_
#define QZO_KERNELS_ROUNDING_H_

#include <cstddef>
#include <cstdint>

#include "kernels/exact_math.h"
#include "kernels/integer.h"

namespace qzo::kernels {

// Place of value i of a block among its int16 codes: of each half first the even values, then the odd ones. A word of 4
// stored bytes, values 4j … 4j + 3 in the low and 16 + 4j … in the high nibbles, splits by masks and shifts into the
// pairs (4j, 4j + 2), (4j + 1, 4j + 3) and the same plus 16.
constexpr int PairPlace(int i) { return i / 16 * 16 + i % 2 * 8 + i % 16 / 2; }

QZO_EXACT float RoundingLimit(bool pairs) { return pairs ? 32767.0f : 127.0f; }  // int16, int8

struct BlockRounding {
  float scale;
  float factor;   // r
  uint32_t keep;  // mask of the codes: all bits, or none where they are 0
};

// `largest`: the greatest bit pattern of |x|, which orders NaN above infinity above the finite numbers.
QZO_EXACT BlockRounding RoundingOf(uint32_t largest, float limit) {
  const float factor = limit / FromBits(largest);
  const bool finite = largest < 0x7f800000u, small = Bits(factor) >= 0x7f800000u;
  const float scale = small ? 0.0f : FromBits(largest) / limit;
  return {
      .scale = finite ? scale : FromBits(0x7fc00000u), .factor = factor, .keep = finite && !small ? 0xffffffffu : 0};
}

struct BlockSums {
  float scale;
  float sums[3];      // of the block, its first and its second half
  int32_t starts[3];  // −128 · Σ q, likewise: makes up for stored codes that a variant shifts to be positive
  int32_t unused;
};

// round(x · factor) of the exact product, for magnitudes below 2^22: the addition leaves it in the low bits.
template <typename F>
QZO_EXACT auto RoundProduct(F x, F factor) {
  const F shifter = F(12582912.0f);  // 1.5 · 2^23
  return Bits(Fma(x, factor, shifter)) - Bits(shifter);
}

}  // namespace qzo::kernels

#endif  // QZO_KERNELS_ROUNDING_H_
