// Panels of codes for simd_integer.h, of any type: those that have functions of their own (simd_codes.h,
// simd_large_codes.h) by these, others a row after the other.
#ifndef QZO_KERNELS_SIMD_CODE_PANEL_H_
#define QZO_KERNELS_SIMD_CODE_PANEL_H_

#include "kernels/simd_codes.h"
#include "kernels/simd_large_codes.h"
#include "kernels/weights.h"

namespace qzo::kernels {
namespace {

// Any type: codes one row after the other, the rest side by side. `rows` begin at value 0.
template <bool kPairs>
void DecodeAny(WeightType type, const std::byte* const* rows, int64_t first_block, int64_t blocks,
               const CodePanel& out) {
  CodeBlock decoded[16];
  const std::byte* codes[16];
  for (int i = 0; i < 16; ++i) codes[i] = reinterpret_cast<const std::byte*>(decoded[i].codes);
  const uint32_t flip = HasMinimum(type) ? 0 : kByteFlip;
  const int64_t parts = GroupValues(type) == 16 ? 2 : 1;
  for (int64_t b = 0; b < blocks; ++b) {
    for (int i = 0; i < 16; ++i) {
      DecodeCodes(type, rows[i], (first_block + b) * kRoundedBlock, &decoded[i]);
      for (int64_t part = 0; part < parts; ++part) {
        out.scales[(b * parts + part) * kPanel + i] = decoded[i].scale[part];
        out.minima[(b * parts + part) * kPanel + i] = decoded[i].minimum[part];
      }
    }
    uint32_t* at = out.words + b * kWords<kPairs> * kPanel;
    for (int half = 0; half < 2; ++half) {
      U32x16 words[4];
      LoadColumns(codes, 16 * half, words);
      Unroll<4>([&](auto j) QZO_VEC_LAMBDA { PutBytes<kPairs>(words[j], 4 * half + j, flip, at); });
    }
  }
}

// Columns n … n + columns − 1, blocks [first_block, first_block + blocks). Columns that are missing repeat the last
// one.
template <bool kPairs>
void DecodeCodePanel(const WeightMatrix& w, int64_t n, int64_t columns, int64_t first_block, int64_t blocks,
                     const CodePanel& panel) {
  const int64_t block_bytes = BlockBytes(w.type), row_bytes = w.cols / BlockValues(w.type) * block_bytes;
  const int64_t ahead = kPanel * row_bytes;
  for (int64_t first = 0; first < kPanel; first += 16) {
    const std::byte *starts[16], *rows[16];  // of the rows, at value 0 and, where blocks are of 32, at the first block
    for (int i = 0; i < 16; ++i) {
      starts[i] = w.data + (n + Smaller(first + i, columns - 1)) * row_bytes;
      rows[i] = starts[i] + first_block * block_bytes;
    }
    const CodePanel part{panel.words + first, panel.scales + first, panel.minima + first};
    if (DecodeLargeCodes<kPairs>(w.type, starts, ahead, first_block, blocks, part)) continue;
    switch (w.type) {
      case WeightType::kQ4_0:
        DecodeQ4_0<kPairs>(rows, ahead, blocks, part);
        break;
      case WeightType::kQ4_1:
        DecodeQ4_1<kPairs>(rows, ahead, blocks, part);
        break;
      case WeightType::kQ5_0:
        DecodeQ5<kPairs, false>(rows, ahead, blocks, part);
        break;
      case WeightType::kQ5_1:
        DecodeQ5<kPairs, true>(rows, ahead, blocks, part);
        break;
      case WeightType::kQ8_0:
        DecodeQ8_0<kPairs>(rows, ahead, blocks, part);
        break;
      case WeightType::kIQ4_NL:
        DecodeIQ4_NL<kPairs>(rows, ahead, blocks, part);
        break;
      case WeightType::kU3x32:
        DecodeU3x32<kPairs>(rows, ahead, blocks, part);
        break;
      case WeightType::kU4x32:
        DecodeU4x32<kPairs>(rows, ahead, blocks, part);
        break;
      default:
        DecodeAny<kPairs>(w.type, starts, first_block, blocks, part);
        break;
    }
  }
}

}  // namespace
}  // namespace qzo::kernels

#endif  // QZO_KERNELS_SIMD_CODE_PANEL_H_
