// The integer product of integer.h, over the types of QZO_VEC_HEADER and the instructions of QZO_DOT_HEADER. As in
// simd_matmul.h lanes are output columns. A part of a panel that fits the first-level cache is decoded to codes and
// serves all rows, a register tile at a time; the sums of fp32 stay in memory, because a tile has no registers for two
// sets and they are touched once per block only.
#ifndef QZO_KERNELS_SIMD_INTEGER_H_
#define QZO_KERNELS_SIMD_INTEGER_H_

#include <cstring>

#include "kernels/rounding.h"
#include "kernels/scratch.h"
#include "kernels/simd_codes.h"

namespace qzo::kernels {
namespace {

// --- Tiles ---

constexpr int64_t kCachedBytes = 256 * 1024;  // of activations that stay in the second-level cache

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

struct RoundedTile {
  const std::byte* x;  // first row, at the first block of this chunk
  int64_t row_bytes;
  const uint32_t* words;  // panel: [blocks, kWords, kPanel]
  const float* scales;    // [blocks, kParts, kPanel], as the rows' lane sees them
  const float* minima;    // same
  int64_t blocks;
  float* totals;                       // [rows, kPanel]: what earlier chunks gave
  bool first, last;                    // chunks
  const float* multipliers[kDotRows];  // of each row's lane: [kPanel]; nullptr when they are in scales and minima
  float* y;
  int64_t ldy, columns;
  bool accumulate;
};

template <typename T>
QZO_VEC T LoadValue(const std::byte* p) {
  T value;
  std::memcpy(&value, p, sizeof(value));
  return value;
}

// acc += codes · words over part `part` of a block's kParts.
template <bool kPairs, bool kNegativeCodes, int kParts, int kRows>
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
          } else {
            DotQuads<kNegativeCodes>(acc[row][v], w[v], U32x16(x));
          }
        });
      });
    });
  }
}

template <bool kPairs, bool kHasMinimum, int kParts, int kRows>
void RunRoundedTile(const RoundedTile& tile) {
  constexpr int64_t kCodeBytes = 4 * kWords<kPairs>, kBlockBytes = kCodeBytes + (kPairs ? 16 : 32);
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
      constexpr int kSum = kParts == 1 ? 0 : 1 + part;
      U32x16 acc[kRows][kTileVectors];
      ForTile<kRows>([&](auto row, auto v) QZO_VEC_LAMBDA {
        const std::byte* starts = x[row] + kCodeBytes + offsetof(BlockSums, starts);
        acc[row][v] = U32x16(kStarts ? LoadValue<uint32_t>(starts + 4 * kSum) : 0);
      });
      AddPart<kPairs, !kHasMinimum, kParts, kRows>(part, x, words, acc);
      ForTile<kRows>([&](auto row, auto v) QZO_VEC_LAMBDA {
        const std::byte* sums = x[row] + kCodeBytes;
        const F32x16 scale(LoadValue<float>(sums)), sum(LoadValue<float>(sums + offsetof(BlockSums, sums) + 4 * kSum));
        float* at = totals + row * kPanel + 16 * v;
        F32x16 total = Fma(SignedToFloat(acc[row][v]), scale * Load(scales + 16 * v), Load(at));
        if constexpr (kHasMinimum) total = Fma(sum, Load(minima + 16 * v), total);
        Store(at, total);
      });
      asm volatile("" ::: "memory");  // or g++ keeps the totals in registers that it does not have
      scales += kPanel;
      minima += kPanel;
    });
    x.Advance(kBlockBytes);
    words += kWords<kPairs> * kPanel;
  }
  if (!tile.last) return;
  ForTile<kRows>([&](auto row, auto v) QZO_VEC_LAMBDA {
    const int64_t lanes = Smaller<int64_t>(16, tile.columns - 16 * v);
    if (lanes <= 0) return;
    F32x16 result = Load(tile.totals + row * kPanel + 16 * v);
    if (tile.multipliers[row] != nullptr) result = Load(tile.multipliers[row] + 16 * v) * result;
    float* y = tile.y + row * tile.ldy + 16 * v;
    StoreFirst(y, lanes, tile.accumulate ? LoadFirst(y, lanes, 0) + result : result);
  });
}

// --- The product ---

QZO_VEC int64_t RoundUp(int64_t value, int64_t unit) { return (value + unit - 1) / unit * unit; }

// The size of as few parts of `total`, nearly equal ones, as can be had with at most `largest` (0 counts as 1) in each.
QZO_VEC int64_t EqualParts(int64_t total, int64_t largest) {
  const int64_t parts = largest < 1 ? total : (total + largest - 1) / largest;
  return (total + parts - 1) / parts;
}

template <bool kPairs, bool kHasMinimum, int kParts>
class RoundedProduct {
 public:
  RoundedProduct(const RoundedMatMulArgs& args, int64_t rows)
      : args_(args),
        rows_(rows),
        grouped_(args.granularity == Granularity::kGroup),
        blocks_(args.w.cols / kRoundedBlock),
        chunk_blocks_(EqualParts(blocks_, kChunkBlocks * 8 / kWords<kPairs>)) {
    const int64_t lanes = static_cast<int64_t>(args.lanes.size());
    block_rows_ = RoundUp(EqualParts(rows, kCachedBytes / args.x.row_bytes()), kDotRows);
    float* scratch = ThreadScratch(Scratch::kPanel, chunk_blocks_ * (kWords<kPairs> + 2 * kParts) * kPanel);
    scale_floats_ = chunk_blocks_ * kParts * kPanel;
    panel_ = {reinterpret_cast<uint32_t*>(scratch + 2 * scale_floats_), scratch, scratch + scale_floats_};
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
    tile.words = panel_.words;
    tile.scales = panel_.scales;
    tile.minima = panel_.minima;
    tile.blocks = count;
    tile.first = b == 0;
    tile.last = b + count == blocks_;
    tile.ldy = args_.ldy;
    tile.columns = columns;
    tile.accumulate = args_.accumulate;
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
      rows = rows >= kDotRows ? kDotRows : rows >= 4 ? 4 : rows >= 2 ? 2 : 1;
      for (int64_t i = 0; i < rows && !grouped_; ++i) {
        for (; row + i >= args_.lanes[lane].end; packed += lane_floats_) ++lane;
        tile.multipliers[i] = packed;
      }
      tile.x = args_.x.block(row, b);
      tile.totals = totals_ + (row - begin) * kPanel;
      tile.y = args_.y + row * args_.ldy + n;
      if (rows == kDotRows) {
        RunRoundedTile<kPairs, kHasMinimum, kParts, kDotRows>(tile);
      } else if (rows == 4) {
        RunRoundedTile<kPairs, kHasMinimum, kParts, 4>(tile);
      } else if (rows == 2) {
        RunRoundedTile<kPairs, kHasMinimum, kParts, 2>(tile);
      } else {
        RunRoundedTile<kPairs, kHasMinimum, kParts, 1>(tile);
      }
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
  CodePanel panel_;
  int64_t lane_floats_;
  float* lane_scratch_;
  float* totals_;
};

template <bool kPairs, bool kHasMinimum>
void RunProduct(const RoundedMatMulArgs& args, int64_t rows, int64_t n_begin, int64_t n_end) {
  if (GroupValues(args.w.type) == 16) {
    RoundedProduct<kPairs, kHasMinimum, 2>(args, rows).Run(n_begin, n_end);
  } else {
    RoundedProduct<kPairs, kHasMinimum, 1>(args, rows).Run(n_begin, n_end);
  }
}

void MatMulRounded(const RoundedMatMulArgs& args, int64_t n_begin, int64_t n_end) {
  const int64_t rows = args.lanes.empty() ? 0 : args.lanes.back().end;
  if (rows == 0) return;
  const bool pairs = args.x.arithmetic == Arithmetic::kInt16, minimum = HasMinimum(args.w.type);
  const auto run = pairs ? (minimum ? RunProduct<true, true> : RunProduct<true, false>)
                         : (minimum ? RunProduct<false, true> : RunProduct<false, false>);
  run(args, rows, n_begin, n_end);
}

}  // namespace
}  // namespace qzo::kernels

#endif  // QZO_KERNELS_SIMD_INTEGER_H_
