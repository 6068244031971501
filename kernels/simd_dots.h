// Tiles of simd_integer.h in vector registers, over the dot products of QZO_DOT_HEADER.
#ifndef QZO_KERNELS_SIMD_DOTS_H_
#define QZO_KERNELS_SIMD_DOTS_H_

#include "kernels/simd_few_rows.h"

namespace qzo::kernels {
namespace {

// acc += codes · words over part `part` of a block's kParts; with kSmall sums of 16 bits instead of 32.
template <bool kPairs, bool kNegativeCodes, bool kSmall, int kParts, int kRows>
QZO_VEC void AddPart(int part, const RowPointers<kRows>& codes, const uint32_t* words,
                     DotSums<kPairs, kSmall> (&acc)[kRows][kTileVectors]) {
  constexpr int kSteps = kWords<kPairs> / kParts;
  for (int step = part * kSteps; step < (part + 1) * kSteps; step += 2) {
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
  RowPointers<kRows> x(tile.x, tile.row_bytes);
  const int64_t blocks = tile.blocks;
  const uint32_t* words = tile.words;
  const float *scales = tile.scales, *minima = tile.minima;
  for (int64_t b = 0; b < blocks; ++b) {
    Unroll<kParts>([&](auto part) QZO_VEC_LAMBDA {
      constexpr int kSum = SumOf<kParts>(part);
      DotSums<kPairs, kSmall> acc[kRows][kTileVectors];
      ForTile<kRows>([&](auto row, auto v) QZO_VEC_LAMBDA {
        const std::byte* starts = x[row] + kCodeBytes<kPairs> + offsetof(BlockSums, starts);
        acc[row][v] = DotSums<kPairs, kSmall>(kStarts ? LoadValue<uint32_t>(starts + 4 * kSum) : 0);
      });
      AddPart<kPairs, !kHasMinimum, kSmall, kParts, kRows>(part, x, words, acc);
      ForTile<kRows>([&](auto row, auto v) QZO_VEC_LAMBDA {
        AddProducts<kHasMinimum>(AddSums<kPairs, kSmall>(acc[row][v]), x[row] + kCodeBytes<kPairs>, kSum,
                                 scales + 16 * v, minima + 16 * v, totals + row * kPanel + 16 * v);
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
  static constexpr int64_t kRows = kDotRows<kPairs>;
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
      RunDotTile<kPairs, kHasMinimum, kSmall, kParts, kDotRows<kPairs>>(tile);
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
  const int64_t rows = args.lanes.empty() ? 0 : args.lanes.back().end;
  if (rows > 0 && rows < kManyRows && HasFewRows(args.w.type)) {
    n_begin = args.x.arithmetic == Arithmetic::kInt16 ? RunFewRows<true>(args, rows, n_begin, n_end)
                                                      : RunFewRows<false>(args, rows, n_begin, n_end);
  }
  if (n_begin < n_end) RoundedMatMul<DotTiles>(args, n_begin, n_end);
}

}  // namespace
}  // namespace qzo::kernels

#endif  // QZO_KERNELS_SIMD_DOTS_H_
