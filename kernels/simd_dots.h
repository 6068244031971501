// Tiles of simd_integer.h in vector registers, over the dot products of QZO_DOT_HEADER.
#ifndef QZO_KERNELS_SIMD_DOTS_H_
#define QZO_KERNELS_SIMD_DOTS_H_

#include "kernels/simd_integer.h"

namespace qzo::kernels {
namespace {

// The present blocks of a tile's rows, every third by a pointer of its own: the rows between are base + index and base
// + 2 · index. With a pointer or an offset for each row the compiler runs out of registers and fetches them from xmm
// ones in the inner loop.
template <int kRows>
class RowBlocks {
 public:
  QZO_VEC RowBlocks(const std::byte* x, int64_t row_bytes) : row_bytes_(row_bytes) {
    for (int i = 0; i < kBases; ++i) {
      base_[i] = x + 3 * i * row_bytes;
      asm("" : "+r"(base_[i]));  // or g++ sees one pointer and offsets again
    }
  }
  QZO_VEC const std::byte* operator[](int row) const { return base_[row / 3] + row % 3 * row_bytes_; }
  QZO_VEC void Advance(int64_t bytes) {
    for (int i = 0; i < kBases; ++i) base_[i] += bytes;
  }

 private:
  static constexpr int kBases = (kRows + 2) / 3;
  const std::byte* base_[kBases];
  const int64_t row_bytes_;
};

// acc += codes · words over part `part` of a block's kParts; with kSmall two sums of 16 bits instead of one of 32.
template <bool kPairs, bool kNegativeCodes, bool kSmall, int kParts, int kRows>
QZO_VEC void AddPart(int part, const RowBlocks<kRows>& codes, const uint32_t* words,
                     U32x16 (&acc)[kRows][kTileVectors]) {
  constexpr int kStride = kPairs ? 2 * kParts : 2;  // halves of pairs alternate two by two, those of quads do not
  const int first = part * (kPairs ? 2 : 4);
  for (int step = first; step < first + kStride * kWords<kPairs> / (2 * kParts); step += kStride) {
    Unroll<2>([&](auto i) QZO_VEC_LAMBDA {
      U32x16 w[kTileVectors];
      Unroll<kTileVectors>([&](auto v) QZO_VEC_LAMBDA { w[v] = LoadWords(words + (step + i) * kPanel + 16 * v); });
      Unroll<kRows>([&](auto row) QZO_VEC_LAMBDA {
        const uint32_t x = LoadValue<uint32_t>(codes[row] + 4 * (step + i));
        Unroll<kTileVectors>([&](auto v) QZO_VEC_LAMBDA {
          if constexpr (kPairs) {
            DotPairs(acc[row][v], w[v], U32x16(x));
          } else if constexpr (kSmall) {
            DotSmallQuads<kNegativeCodes>(acc[row][v], w[v], U32x16(x));
          } else {
            DotQuads<kNegativeCodes>(acc[row][v], w[v], U32x16(x));
          }
        });
      });
    });
  }
}

template <bool kPairs, bool kHasMinimum, bool kSmall, int kParts, int kRows>
__attribute__((noinline)) void RunDotTile(const RoundedTile& tile) {
  constexpr bool kStarts = !kPairs && !kHasMinimum && kByteFlip != 0;
  float* const totals = tile.totals;
  if (tile.first) {
    ForTile<kRows>([&](auto row, auto v) QZO_VEC_LAMBDA { Store(totals + row * kPanel + 16 * v, F32x16(0.0f)); });
  }
  RowBlocks<kRows> x(tile.x, tile.row_bytes);
  const int64_t blocks = tile.blocks;
  const uint32_t* words = tile.words;
  const float *scales = tile.scales, *minima = tile.minima;
  for (int64_t b = 0; b < blocks; ++b) {
    Unroll<kParts>([&](auto part) QZO_VEC_LAMBDA {
      constexpr int kSum = SumOf<kParts>(part);
      U32x16 acc[kRows][kTileVectors];
      ForTile<kRows>([&](auto row, auto v) QZO_VEC_LAMBDA {
        const std::byte* starts = x[row] + kCodeBytes<kPairs> + offsetof(BlockSums, starts);
        acc[row][v] = U32x16(kStarts ? LoadValue<uint32_t>(starts + 4 * kSum) : 0);
      });
      AddPart<kPairs, !kHasMinimum, kSmall, kParts, kRows>(part, x, words, acc);
      ForTile<kRows>([&](auto row, auto v) QZO_VEC_LAMBDA {
        if constexpr (kSmall) acc[row][v] = AddSmallSums(acc[row][v]);
        AddProducts<kHasMinimum>(acc[row][v], x[row] + kCodeBytes<kPairs>, kSum, scales + 16 * v, minima + 16 * v,
                                 totals + row * kPanel + 16 * v);
      });
      asm volatile("" ::: "memory");  // or g++ keeps the totals in registers that it does not have
      scales += kPanel;
      minima += kPanel;
    });
    x.Advance(kBlockBytes<kPairs>);
    words += kWords<kPairs> * kPanel;
  }
  if (!tile.last) return;
  ForTile<kRows>([&](auto row, auto v) QZO_VEC_LAMBDA { StoreTotals(tile, row, v); });
}

template <bool kPairs, bool kHasMinimum, int kParts>
class DotTiles {
 public:
  static constexpr int64_t kRows = kDotRows;
  static constexpr int kOperandWords = kWords<kPairs>;
  static constexpr bool kExpands = false;

  static int64_t Rows(int64_t left) { return left >= kRows ? kRows : left >= 4 ? 4 : left >= 2 ? 2 : 1; }

  static void Run(int64_t rows, const RoundedTile& tile) {
    if constexpr (!kPairs && kHasSmallSums) {
      if (tile.small_codes) return RunRows<true>(rows, tile);
    }
    RunRows<false>(rows, tile);
  }

 private:
  template <bool kSmall>
  static void RunRows(int64_t rows, const RoundedTile& tile) {
    if (rows == kRows) {
      RunDotTile<kPairs, kHasMinimum, kSmall, kParts, kDotRows>(tile);
    } else if (rows == 4) {
      RunDotTile<kPairs, kHasMinimum, kSmall, kParts, 4>(tile);
    } else if (rows == 2) {
      RunDotTile<kPairs, kHasMinimum, kSmall, kParts, 2>(tile);
    } else {
      RunDotTile<kPairs, kHasMinimum, kSmall, kParts, 1>(tile);
    }
  }
};

void MatMulRounded(const RoundedMatMulArgs& args, int64_t n_begin, int64_t n_end) {
  RoundedMatMul<DotTiles>(args, n_begin, n_end);
}

}  // namespace
}  // namespace qzo::kernels

#endif  // QZO_KERNELS_SIMD_DOTS_H_
