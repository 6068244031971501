// The rounding of integer.h over the 16-lane types of QZO_VEC_HEADER.
#ifndef QZO_KERNELS_SIMD_ROUND_H_
#define QZO_KERNELS_SIMD_ROUND_H_

#include "kernels/rounding.h"
#include "kernels/simd_tile.h"

namespace qzo::kernels {
namespace {

void RoundRows(const float* x, int64_t ldx, int64_t row_begin, int64_t row_end, RoundedRows* out) {
  const bool pairs = out->arithmetic == Arithmetic::kInt16;
  const float limit = RoundingLimit(out->arithmetic);
  const int64_t blocks = out->cols / kRoundedBlock;
  for (int64_t row = row_begin; row < row_end; ++row) {
    for (int64_t first = 0; first < blocks; first += 16) {  // so that the divisions of 16 blocks are one vector's
      const int64_t count = Smaller<int64_t>(16, blocks - first);
      const float* values = x + row * ldx + first * kRoundedBlock;
      alignas(64) uint32_t largest[16] = {};
      for (int64_t b = 0; b < count; ++b) {
        const U32x16 low = Bits(Load(values + 32 * b)), high = Bits(Load(values + 32 * b + 16));
        const U32x16 magnitude(0x7fffffffu);
        largest[b] = static_cast<uint32_t>(LargestLane(MaxSigned(low & magnitude, high & magnitude)));
      }
      BlockRounding rounding[16];
      for (int b = 0; b < 16; ++b) rounding[b] = RoundingOf(largest[b], limit);
      for (int64_t b = 0; b < count; ++b) {
        const F32x16 factor(rounding[b].factor);
        const U32x16 keep(rounding[b].keep);
        const U32x16 low = RoundProduct(Load(values + 32 * b), factor) & keep;
        const U32x16 high = RoundProduct(Load(values + 32 * b + 16), factor) & keep;
        std::byte* codes = out->block(row, first + b);
        if (pairs) {
          StorePairs(codes, low, high);
        } else {
          StoreQuads(codes, low, high);
        }
        StoreBlockSums(rounding[b].scale, LaneSum(low + high), pairs, codes);
      }
    }
  }
}

}  // namespace
}  // namespace qzo::kernels

#endif  // QZO_KERNELS_SIMD_ROUND_H_
