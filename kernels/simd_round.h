// The rounding of integer.h over the 16-lane types of QZO_VEC_HEADER.
#ifndef QZO_KERNELS_SIMD_ROUND_H_
#define QZO_KERNELS_SIMD_ROUND_H_

#include "kernels/rounding.h"
#include "kernels/simd_tile.h"

namespace qzo::kernels {
namespace {

// `count` blocks, at most 16: what depends on a whole block is then computed a block per lane.
QZO_VEC void RoundBlocks(const float* values, int64_t count, bool pairs, std::byte* out) {
  const int64_t code_bytes = pairs ? 64 : 32, block_bytes = code_bytes + (pairs ? 16 : 32);
  alignas(64) uint32_t largest[16] = {};
  for (int64_t b = 0; b < count; ++b) {
    const U32x16 low = Bits(Load(values + 32 * b)), high = Bits(Load(values + 32 * b + 16));
    const U32x16 magnitude(0x7fffffffu);
    largest[b] = static_cast<uint32_t>(LargestLane(MaxSigned(low & magnitude, high & magnitude)));
  }
  alignas(64) float scales[16], factors[16];
  uint32_t keeps[16];
  for (int b = 0; b < 16; ++b) {
    const BlockRounding rounding = RoundingOf(largest[b], RoundingLimit(pairs));
    scales[b] = rounding.scale;
    factors[b] = rounding.factor;
    keeps[b] = rounding.keep;
  }
  F32x16 halves[2][16];  // to be summed: integers, exact in any order
  for (int64_t b = 0; b < 16; ++b) {
    if (b >= count) {
      halves[0][b] = halves[1][b] = F32x16(0.0f);
      continue;
    }
    const U32x16 keep(keeps[b]);
    const U32x16 low = RoundProduct(Load(values + 32 * b), F32x16(factors[b])) & keep;
    const U32x16 high = RoundProduct(Load(values + 32 * b + 16), F32x16(factors[b])) & keep;
    if (pairs) {
      StorePairs(out + b * block_bytes, low, high);
    } else {
      StoreQuads(out + b * block_bytes, low, high);
    }
    halves[0][b] = SignedToFloat(low);
    halves[1][b] = SignedToFloat(high);
  }
  const F32x16 first = TreeSums(halves[0]), second = TreeSums(halves[1]), scale = Load(scales);
  const auto start = [](F32x16 sum) QZO_VEC_LAMBDA { return FromBits(RoundProduct(sum, F32x16(-128.0f))); };
  alignas(64) float sums[2][64];
  StoreInterleaved(sums[0], scale, scale * (first + second), scale * first, scale * second);
  StoreInterleaved(sums[1], start(first + second), start(first), start(second), F32x16(0.0f));
  for (int64_t b = 0; b < count; ++b) {
    std::byte* at = out + b * block_bytes + code_bytes;
    std::memcpy(at, sums[0] + 4 * b, 16);
    if (!pairs) std::memcpy(at + 16, sums[1] + 4 * b, 16);
  }
}

void RoundRows(const float* x, int64_t ldx, int64_t row_begin, int64_t row_end, RoundedRows* out) {
  const bool pairs = out->arithmetic == Arithmetic::kInt16;
  const int64_t blocks = out->cols / kRoundedBlock;
  for (int64_t row = row_begin; row < row_end; ++row) {
    for (int64_t b = 0; b < blocks; b += 16) {
      const float* values = x + row * ldx + b * kRoundedBlock;
      const int64_t count = Smaller<int64_t>(16, blocks - b);
      if (pairs) {
        RoundBlocks(values, count, true, out->block(row, b));
      } else {
        RoundBlocks(values, count, false, out->block(row, b));
      }
    }
  }
}

}  // namespace
}  // namespace qzo::kernels

#endif  // QZO_KERNELS_SIMD_ROUND_H_
