// The integer product of integer.h, over the types of QZO_VEC_HEADER. As in simd_matmul.h lanes are output columns. A
// part of a panel that fits the first-level cache is decoded to codes and serves all rows, a tile at a time. What
// multiplies a tile is a template's argument: vector registers (simd_dots.h) or those of AMX (simd_amx.h). The sums of
// fp32 stay in memory, because a tile has no registers for two sets and they are touched once per block only.
#ifndef QZO_KERNELS_SIMD_INTEGER_H_
#define QZO_KERNELS_SIMD_INTEGER_H_

#include <cstring>

#include "kernels/code_range.h"
#include "kernels/rounding.h"
#include "kernels/scratch.h"
#include "kernels/simd_code_panel.h"

namespace qzo::kernels {
namespace {

// --- Tiles ---

constexpr int64_t kCachedBytes = 256 * 1024;  // of activations that stay in the second-level cache
constexpr int64_t kMaxTileRows = 16;          // of any variant

struct RoundedTile {
  const std::byte* x;  // first row, at the first block of this chunk
  int64_t row_bytes;
  const uint32_t* words;  // [blocks, Tiles::kOperandWords, kPanel]
  const float* scales;    // [blocks, kParts, kPanel], as the rows' lane sees them
  const float* minima;    // same
  int64_t blocks;
  float* totals;                           // [rows, kPanel]: what earlier chunks gave
  bool first, last;                        // chunks
  const float* multipliers[kMaxTileRows];  // of each row's lane: [kPanel]; nullptr when they are in scales and minima
  float* y;
  int64_t ldy, columns;
  bool accumulate;
  bool small_codes;  // HasSmallCodes of the weights
};

template <typename T>
QZO_VEC T LoadValue(const std::byte* p) {
  T value;
  std::memcpy(&value, p, sizeof(value));
  return value;
}

template <bool kPairs>
constexpr int64_t kCodeBytes = 4 * kWords<kPairs>;
template <bool kPairs>
constexpr int64_t kBlockBytes = kCodeBytes<kPairs> + (kPairs ? 16 : 32);

// Which of BlockSums::sums and starts belongs to part `part` of a block's kParts.
template <int kParts>
constexpr int SumOf(int part) {
  return kParts == 1 ? 0 : 1 + part;
}

// What 16 columns' exact products with a block, or half of one, add to their totals. `block_sums`: of the row's block;
// `sum`: which of them.
template <bool kHasMinimum>
QZO_VEC void AddProducts(U32x16 products, const std::byte* block_sums, int sum, const float* scales,
                         const float* minima, float* totals) {
  const F32x16 scale(LoadValue<float>(block_sums));
  const F32x16 codes(LoadValue<float>(block_sums + offsetof(BlockSums, sums) + 4 * sum));
  F32x16 total = Fma(SignedToFloat(products), scale * Load(scales), Load(totals));
  if constexpr (kHasMinimum) total = Fma(codes, Load(minima), total);
  Store(totals, total);
}

// Vector v of a row of a tile whose totals are complete.
QZO_VEC void StoreTotals(const RoundedTile& tile, int64_t row, int v) {
  const int64_t lanes = Smaller<int64_t>(16, tile.columns - 16 * v);
  if (lanes <= 0) return;
  F32x16 result = Load(tile.totals + row * kPanel + 16 * v);
  if (tile.multipliers[row] != nullptr) result = Load(tile.multipliers[row] + 16 * v) * result;
  float* y = tile.y + row * tile.ldy + 16 * v;
  StoreFirst(y, lanes, tile.accumulate ? LoadFirst(y, lanes, 0) + result : result);
}

// --- The product ---

QZO_VEC int64_t RoundUp(int64_t value, int64_t unit) { return (value + unit - 1) / unit * unit; }

// The size of as few parts of `total`, nearly equal ones, as can be had with at most `largest` (0 counts as 1) in each.
QZO_VEC int64_t EqualParts(int64_t total, int64_t largest) {
  const int64_t parts = largest < 1 ? total : (total + largest - 1) / largest;
  return (total + parts - 1) / parts;
}

// TilesOf<kPairs, kHasMinimum, kParts>, made once for each call:
//   kRows                    rows of its largest tile
//   kOperandWords            of a block and a column, that it reads
//   kExpands                 whether it makes these from a panel's words, by Expand(words, blocks, operands), or takes
//                            them as they are
//   Rows(n)                  rows of the next tile where n are left
//   Run(rows, tile)
template <template <bool, bool, int> typename TilesOf, bool kPairs, bool kHasMinimum, int kParts>
class RoundedProduct {
  using Tiles = TilesOf<kPairs, kHasMinimum, kParts>;

 public:
  RoundedProduct(const RoundedMatMulArgs& args, int64_t rows)
      : args_(args),
        rows_(rows),
        grouped_(args.granularity == Granularity::kGroup),
        blocks_(args.w.cols / kRoundedBlock),
        chunk_blocks_(EqualParts(blocks_, kChunkBlocks * 8 / Tiles::kOperandWords)) {
    const int64_t lanes = static_cast<int64_t>(args.lanes.size());
    block_rows_ = RoundUp(EqualParts(rows, kCachedBytes / args.x.row_bytes()), Tiles::kRows);
    constexpr int64_t kExpandedWords = Tiles::kExpands ? Tiles::kOperandWords : 0;
    const int64_t words = chunk_blocks_ * kWords<kPairs> * kPanel;
    scale_floats_ = chunk_blocks_ * kParts * kPanel;
    float* scratch =
        ThreadScratch(Scratch::kPanel, 2 * scale_floats_ + words + chunk_blocks_ * kExpandedWords * kPanel);
    panel_ = {reinterpret_cast<uint32_t*>(scratch + 2 * scale_floats_), scratch, scratch + scale_floats_};
    operands_ = Tiles::kExpands ? panel_.words + words : panel_.words;
    lane_floats_ = grouped_ ? 3 * scale_floats_ : kPanel;
    lane_scratch_ = ThreadScratch(Scratch::kMultipliers, lanes * lane_floats_);
    totals_ = ThreadScratch(Scratch::kTotals, block_rows_ * kPanel);
  }

  void Run(int64_t n_begin, int64_t n_end) {
    for (int64_t row = 0; row < rows_; row += block_rows_) {
      const int64_t end = Smaller(rows_, row + block_rows_);
      while (args_.lanes[lane_].end <= row) ++lane_;
      for (int64_t n = n_begin; n < n_end; n += kPanel) {
        const int64_t columns = Smaller(kPanel, n_end - n);
        for (int64_t b = 0; b < blocks_; b += chunk_blocks_) {
          const int64_t count = Smaller(chunk_blocks_, blocks_ - b);
          DecodeCodePanel<kPairs>(args_.w, n, columns, b, count, panel_);
          if constexpr (Tiles::kExpands) Tiles::Expand(panel_.words, count, operands_);
          PackLanes(end, n, columns, b, count);
          RunTiles(row, end, n, columns, b, count);
        }
      }
    }
  }

 private:
  // What the lanes of rows up to `end` make of this part of the panel: multipliers, or scales and minima times those.
  void PackLanes(int64_t end, int64_t n, int64_t columns, int64_t b, int64_t count) {
    if (!grouped_ && b != 0) return;
    // Scales per multiplier; the multipliers that cover this chunk.
    const int64_t per_group = GroupSize(args_.w) * kParts / kRoundedBlock, groups = blocks_ * kParts / per_group;
    const int64_t group = b * kParts / per_group, group_end = ((b + count) * kParts + per_group - 1) / per_group;
    float* out = lane_scratch_;
    for (size_t lane = lane_; lane < args_.lanes.size() && args_.lanes[lane].begin < end; ++lane, out += lane_floats_) {
      const float* multipliers = args_.lanes[lane].multipliers;
      if (!grouped_) {
        PackMultipliers(multipliers, n, columns, 1, 0, 1, out);
        continue;
      }
      float *d = out, *m = d + scale_floats_, *packed = m + scale_floats_;
      PackMultipliers(multipliers, n, columns, groups, group, group_end, packed);
      for (int64_t i = 0; i < count * kParts * kPanel; i += 16) {
        const int64_t at = (b * kParts + i / kPanel) / per_group - group;
        const F32x16 multiplier = Load(packed + at * kPanel + i % kPanel);
        Store(d + i, multiplier * Load(panel_.scales + i));
        if constexpr (kHasMinimum) Store(m + i, multiplier * Load(panel_.minima + i));
      }
    }
  }

  void RunTiles(int64_t begin, int64_t end, int64_t n, int64_t columns, int64_t b, int64_t count) {
    RoundedTile tile{};
    tile.row_bytes = args_.x.row_bytes();
    tile.words = operands_;
    tile.scales = panel_.scales;
    tile.minima = panel_.minima;
    tile.blocks = count;
    tile.first = b == 0;
    tile.last = b + count == blocks_;
    tile.ldy = args_.ldy;
    tile.columns = columns;
    tile.accumulate = args_.accumulate;
    tile.small_codes = HasSmallCodes(args_.w.type);
    size_t lane = lane_;
    for (int64_t row = begin, rows; row < end; row += rows) {
      while (row >= args_.lanes[lane].end) ++lane;
      const float* packed = lane_scratch_ + static_cast<int64_t>(lane - lane_) * lane_floats_;
      rows = end - row;
      if (grouped_) {  // a tile has one set of scales
        rows = Smaller(rows, args_.lanes[lane].end - row);
        tile.scales = packed;
        tile.minima = packed + scale_floats_;
      }
      rows = Tiles::Rows(rows);
      for (int64_t i = 0; i < rows && !grouped_; ++i) {
        for (; row + i >= args_.lanes[lane].end; packed += lane_floats_) ++lane;
        tile.multipliers[i] = packed;
      }
      tile.x = args_.x.block(row, b);
      tile.totals = totals_ + (row - begin) * kPanel;
      tile.y = args_.y + row * args_.ldy + n;
      tiles_.Run(rows, tile);
    }
  }

  const RoundedMatMulArgs& args_;
  const int64_t rows_;
  const bool grouped_;
  const int64_t blocks_;        // of a row
  const int64_t chunk_blocks_;  // of a chunk
  int64_t scale_floats_;        // of a chunk of a panel
  int64_t block_rows_;
  size_t lane_ = 0;  // the first of the present rows
  Tiles tiles_;
  CodePanel panel_;
  uint32_t* operands_;
  int64_t lane_floats_;
  float* lane_scratch_;
  float* totals_;
};

template <template <bool, bool, int> typename TilesOf, bool kPairs, bool kHasMinimum>
void RunProduct(const RoundedMatMulArgs& args, int64_t rows, int64_t n_begin, int64_t n_end) {
  if (GroupValues(args.w.type) == 16) {
    RoundedProduct<TilesOf, kPairs, kHasMinimum, 2>(args, rows).Run(n_begin, n_end);
  } else {
    RoundedProduct<TilesOf, kPairs, kHasMinimum, 1>(args, rows).Run(n_begin, n_end);
  }
}

template <template <bool, bool, int> typename TilesOf>
void RoundedMatMul(const RoundedMatMulArgs& args, int64_t n_begin, int64_t n_end) {
  const int64_t rows = args.lanes.empty() ? 0 : args.lanes.back().end;
  if (rows == 0) return;
  const bool pairs = args.x.arithmetic == Arithmetic::kInt16, minimum = HasMinimum(args.w.type);
  const auto run = pairs ? (minimum ? RunProduct<TilesOf, true, true> : RunProduct<TilesOf, true, false>)
                         : (minimum ? RunProduct<TilesOf, false, true> : RunProduct<TilesOf, false, false>);
  run(args, rows, n_begin, n_end);
}

}  // namespace
}  // namespace qzo::kernels

#endif  // QZO_KERNELS_SIMD_INTEGER_H_
