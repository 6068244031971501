// The matrix product of simd_body.h. A panel of kPanel columns is decoded once to fp32, [depth, kPanel], and serves all
// rows of all lanes; a tile of up to kTileRows rows times the panel stays in registers while it runs down k. Vector
// lanes are output columns, so each output's chain of fmas is the one in kernels.h, whatever the tile.
#ifndef QZO_KERNELS_SIMD_MATMUL_H_
#define QZO_KERNELS_SIMD_MATMUL_H_

#include <cstring>

#include "kernels/exact_math.h"
#include "kernels/scratch.h"
#include "kernels/simd_books.h"
#include "kernels/simd_tile.h"
#include "kernels/weights.h"

namespace qzo::kernels {
namespace {

// Depth decoded at once. Up to one tile of rows uses a panel only once: it then need not leave the first-level cache.
// Otherwise panels should fit the second level. Multiples of 32; with scale groups, whole ones are taken.
constexpr int64_t kShallow = 4096 / kPanel;
constexpr int64_t kDeep = 4096;
constexpr int64_t kPanelFloats = 96 * 1024;
constexpr int64_t kCachedFloats = 128 * 1024;

// --- Decoding: `rows` are 16 weight rows, out[k · kPanel + i] = value k of row i. ---

// One load of 16 bytes per row, starting at value k of which `count` are wanted.
template <WeightType kType>
QZO_VEC void DecodePlain(const std::byte* const* rows, int64_t offset, int count, float* out) {
  U32x16 words[4];
  LoadColumns(rows, offset, words);
  constexpr int kPerWord = kType == WeightType::kF32 ? 1 : 2;
  Unroll<4 * kPerWord>([&](auto index) QZO_VEC_LAMBDA {
    constexpr int kValue = index;
    if (kValue >= count) return;
    const U32x16 word = words[kValue / kPerWord];
    if constexpr (kType == WeightType::kF32) {
      Store(out + kValue * kPanel, FromBits(word));
    } else if constexpr (kType == WeightType::kF16) {
      Store(out + kValue * kPanel, HalfToFloat(kValue % 2 == 0 ? word & U32x16(0xffffu) : word >> 16));
    } else {
      Store(out + kValue * kPanel, FromBits(kValue % 2 == 0 ? word << 16 : word & U32x16(0xffff0000u)));
    }
  });
}

template <WeightType kType>
void DecodePlainRows(const std::byte* const* rows, int64_t depth, float* out) {
  constexpr int kBytes = kType == WeightType::kF32 ? 4 : 2;
  constexpr int kPerLoad = 16 / kBytes;
  int64_t k = 0;
  for (; k + kPerLoad <= depth; k += kPerLoad) DecodePlain<kType>(rows, k * kBytes, kPerLoad, out + k * kPanel);
  if (k == depth) return;
  // A last load would read past the row: copy what there is.
  alignas(16) std::byte tail[16][16] = {};
  const std::byte* tails[16];
  for (int i = 0; i < 16; ++i) {
    std::memcpy(tail[i], rows[i] + k * kBytes, static_cast<size_t>(depth - k) * kBytes);
    tails[i] = tail[i];
  }
  DecodePlain<kType>(tails, 0, static_cast<int>(depth - k), out + k * kPanel);
}

template <WeightType kType>
void DecodeBlockRows(const std::byte* const* rows, int64_t depth, float* out) {
  constexpr bool kHasMinimum = kType == WeightType::kQ4_1;
  constexpr int kHeader = kHasMinimum ? 4 : 2;
  constexpr int kQuants = kType == WeightType::kQ8_0 ? 32 : 16;
  int64_t offset = 0;
  for (int64_t k = 0; k < depth; k += 32, offset += kHeader + kQuants, out += 32 * kPanel) {
    alignas(64) uint32_t headers[16];
    for (int i = 0; i < 16; ++i) std::memcpy(&headers[i], rows[i] + offset, sizeof(headers[i]));
    const U32x16 header = LoadWords(headers);
    const F32x16 d = HalfToFloat(header & U32x16(0xffffu));
    const F32x16 minimum = HalfToFloat(header >> 16);  // used by Q4_1 alone
    U32x16 words[4];
    if constexpr (kType == WeightType::kQ8_0) {
      for (int half = 0; half < 2; ++half) {
        LoadColumns(rows, offset + kHeader + 16 * half, words);
        Unroll<16>([&](auto index) QZO_VEC_LAMBDA {
          const U32x16 quant = Sar(words[index / 4] << (24 - 8 * (index % 4)), 24);
          Store(out + (16 * half + index) * kPanel, d * SignedToFloat(quant));
        });
      }
    } else {
      constexpr int kBias = kHasMinimum ? 0 : 8;
      LoadColumns(rows, offset + kHeader, words);
      Unroll<16>([&](auto index) QZO_VEC_LAMBDA {
        const U32x16 pair = words[index / 4] >> (8 * (index % 4));
        const F32x16 low = NibbleToFloat<kBias>(pair), high = NibbleToFloat<kBias>(pair >> 4);
        Store(out + index * kPanel, kHasMinimum ? Fma(d, low, minimum) : d * low);  // d·q is exact: one rounding
        Store(out + (16 + index) * kPanel, kHasMinimum ? Fma(d, high, minimum) : d * high);
      });
    }
  }
}

// Any quantized type: codes one row after the other, the rest side by side. `rows` are at value 0.
void DecodeCodeRows(WeightType type, const std::byte* const* rows, int64_t first, int64_t depth, float* out) {
  CodeBlock blocks[16];
  const std::byte* codes[16];
  for (int i = 0; i < 16; ++i) codes[i] = reinterpret_cast<const std::byte*>(blocks[i].codes);
  for (int64_t k = 0; k < depth; k += 32) {
    alignas(64) float scales[2][16], minima[2][16];
    for (int i = 0; i < 16; ++i) {
      DecodeCodes(type, rows[i], first + k, &blocks[i]);
      for (int half = 0; half < 2; ++half) {
        scales[half][i] = blocks[i].scale[half];
        minima[half][i] = blocks[i].minimum[half];
      }
    }
    for (int half = 0; half < 2; ++half, out += 16 * kPanel) {
      const F32x16 scale = Load(scales[half]), minimum = Load(minima[half]);
      U32x16 words[4];
      LoadColumns(codes, 16 * half, words);
      Unroll<16>([&](auto index) QZO_VEC_LAMBDA {
        const U32x16 code = Sar(words[index / 4] << (24 - 8 * (index % 4)), 24);
        Store(out + index * kPanel, Fma(scale, SignedToFloat(code), minimum));
      });
    }
  }
}

// Columns n … n + columns − 1, values [k, k + depth). Columns that are missing repeat the last one.
void DecodePanel(const WeightMatrix& w, int64_t n, int64_t columns, int64_t k, int64_t depth, float* panel) {
  const int64_t block_values = BlockValues(w.type), block_bytes = BlockBytes(w.type);
  const int64_t row_bytes = w.cols / block_values * block_bytes;
  for (int64_t first = 0; first < kPanel; first += 16) {
    int64_t indices[16];
    const std::byte *starts[16], *rows[16];  // of the rows, at values 0 and k; of a larger block, at its start
    for (int i = 0; i < 16; ++i) {
      indices[i] = n + Smaller(first + i, columns - 1);
      starts[i] = w.data + indices[i] * row_bytes;
      rows[i] = starts[i] + k / block_values * block_bytes;
    }
    float* out = panel + first;
    switch (w.type) {
      case WeightType::kF32:
        DecodePlainRows<WeightType::kF32>(rows, depth, out);
        break;
      case WeightType::kF16:
        DecodePlainRows<WeightType::kF16>(rows, depth, out);
        break;
      case WeightType::kBF16:
        DecodePlainRows<WeightType::kBF16>(rows, depth, out);
        break;
      case WeightType::kQ4_0:
        DecodeBlockRows<WeightType::kQ4_0>(rows, depth, out);
        break;
      case WeightType::kQ4_1:
        DecodeBlockRows<WeightType::kQ4_1>(rows, depth, out);
        break;
      case WeightType::kQ8_0:
        DecodeBlockRows<WeightType::kQ8_0>(rows, depth, out);
        break;
      default:
        if (HasCodebook(w.type)) {
          DecodeBook(w, indices, k, depth, out);
        } else {
          DecodeCodeRows(w.type, starts, k, depth, out);
        }
        break;
    }
  }
}

// --- Tiles ---

struct Tile {
  const float* x;  // first row, at the first value of this depth
  int64_t ldx;
  const float* panel;  // [depth, kPanel]
  int64_t depth;
  int64_t block;                        // values of a scale group, which divides depth; 0: one multiplier per column
  const float* multipliers[kTileRows];  // of each row's lane: [groups of this depth or 1, kPanel]
  float* totals;                        // [rows, kPanel]: what earlier depths gave
  bool first, last;                     // depths
  float* y;
  int64_t ldy;
  int64_t columns;
  bool accumulate;
};

// acc += x · panel over `depth` values, k ascending.
template <int kRows>
QZO_VEC void Accumulate(const float* x, int64_t ldx, const float* panel, int64_t depth,
                        F32x16 (&acc)[kRows][kTileVectors]) {
  for (int64_t k = 0; k < depth; ++k, panel += 16 * kTileVectors) {
    F32x16 w[kTileVectors];
    Unroll<kTileVectors>([&](auto v) QZO_VEC_LAMBDA { w[v] = Load(panel + 16 * v); });
    Unroll<kRows>([&](auto row) QZO_VEC_LAMBDA {
      const F32x16 value(x[row * ldx + k]);
      Unroll<kTileVectors>([&](auto v) QZO_VEC_LAMBDA { acc[row][v] = Fma(value, w[v], acc[row][v]); });
    });
  }
}

QZO_VEC void StoreResult(const Tile& tile, int row, int v, F32x16 result) {
  const int64_t lanes = Smaller<int64_t>(16, tile.columns - 16 * v);
  if (lanes <= 0) return;
  float* y = tile.y + row * tile.ldy + 16 * v;
  StoreFirst(y, lanes, tile.accumulate ? LoadFirst(y, lanes, 0) + result : result);
}

template <int kRows>
void RunTile(const Tile& tile) {
  F32x16 acc[kRows][kTileVectors];
  if (tile.block == 0) {
    ForTile<kRows>([&](auto row, auto v) QZO_VEC_LAMBDA {
      acc[row][v] = tile.first ? F32x16(0.0f) : Load(tile.totals + row * kPanel + 16 * v);
    });
    Accumulate<kRows>(tile.x, tile.ldx, tile.panel, tile.depth, acc);
    ForTile<kRows>([&](auto row, auto v) QZO_VEC_LAMBDA {
      if (tile.last) {
        StoreResult(tile, row, v, Load(tile.multipliers[row] + 16 * v) * acc[row][v]);
      } else {
        Store(tile.totals + row * kPanel + 16 * v, acc[row][v]);
      }
    });
    return;
  }
  // The totals stay in memory: a tile has no registers for two sets of sums, and they are touched once per group only.
  for (int64_t k = 0; k < tile.depth; k += tile.block) {
    ForTile<kRows>([&](auto row, auto v) QZO_VEC_LAMBDA { acc[row][v] = F32x16(0.0f); });
    Accumulate<kRows>(tile.x + k, tile.ldx, tile.panel + k * kPanel, tile.block, acc);
    const bool first = tile.first && k == 0, last = tile.last && k + tile.block == tile.depth;
    const int64_t group = k / tile.block * kPanel;
    ForTile<kRows>([&](auto row, auto v) QZO_VEC_LAMBDA {
      float* total = tile.totals + row * kPanel + 16 * v;
      const F32x16 before = first ? F32x16(0.0f) : Load(total);
      const F32x16 sum = Fma(Load(tile.multipliers[row] + group + 16 * v), acc[row][v], before);
      if (last) {
        StoreResult(tile, row, v, sum);
      } else {
        Store(total, sum);
      }
    });
  }
}

template <int... kIndex>
QZO_VEC void RunTileOf(int64_t rows, const Tile& tile, std::integer_sequence<int, kIndex...>) {
  constexpr void (*kRun[])(const Tile&) = {RunTile<kIndex + 1>...};
  kRun[rows - 1](tile);
}

void MatMul(const MatMulArgs& args, int64_t n_begin, int64_t n_end) {
  const int64_t lanes = static_cast<int64_t>(args.lanes.size());
  const int64_t rows = lanes == 0 ? 0 : args.lanes[args.lanes.size() - 1].end;
  if (rows == 0) return;
  const int64_t cols = args.w.cols;
  const bool grouped = args.granularity == Granularity::kGroup;
  const int64_t block = GroupSize(args.w);
  const int64_t groups = grouped ? cols / block : 1;
  const int64_t cached = rows <= kTileRows ? kShallow : kDeep;
  const int64_t depth = Smaller(cols, !grouped ? cached : cached < block ? block : cached / block * block);
  // Where x does not stay in the second-level cache, several panels share one pass over it.
  const bool one_panel = depth < cols || rows * cols <= kCachedFloats;
  const int64_t panels = one_panel ? 1 : 1 + (kPanelFloats - 1) / (depth * kPanel);
  const int64_t panel_floats = depth * kPanel, multiplier_floats = lanes * groups * kPanel;
  float* decoded = ThreadScratch(Scratch::kPanel, panels * panel_floats);
  float* multipliers = ThreadScratch(Scratch::kMultipliers, panels * multiplier_floats);
  float* totals = ThreadScratch(Scratch::kTotals, rows * kPanel);
  Tile tile{};
  tile.ldx = args.ldx;
  tile.ldy = args.ldy;
  tile.block = grouped ? block : 0;
  tile.accumulate = args.accumulate;
  for (int64_t first_n = n_begin; first_n < n_end; first_n += panels * kPanel) {
    const int64_t last_n = Smaller(n_end, first_n + panels * kPanel);
    for (int64_t k = 0; k < cols; k += depth) {
      tile.depth = Smaller(depth, cols - k);
      tile.first = k == 0;
      tile.last = k + tile.depth == cols;
      int64_t p = 0;
      for (int64_t n = first_n; n < last_n; n += kPanel, ++p) {
        const int64_t columns = Smaller(kPanel, last_n - n);
        DecodePanel(args.w, n, columns, k, tile.depth, decoded + p * panel_floats);
        for (int64_t lane = 0; lane < lanes && tile.first; ++lane) {
          PackMultipliers(args.lanes[static_cast<size_t>(lane)].multipliers, n, columns, groups, 0, groups,
                          multipliers + p * multiplier_floats + lane * groups * kPanel);
        }
      }
      int64_t lane = 0;
      for (int64_t m = 0; m < rows; m += kTileRows) {
        const int64_t count = Smaller<int64_t>(kTileRows, rows - m);
        tile.x = args.x + m * args.ldx + k;
        tile.totals = totals + m * kPanel;
        int64_t offsets[kTileRows];  // of the multipliers of each row's lane
        for (int64_t row = 0; row < count; ++row) {
          while (m + row >= args.lanes[static_cast<size_t>(lane)].end) ++lane;
          offsets[row] = (lane * groups + (grouped ? k / block : 0)) * kPanel;
        }
        p = 0;
        for (int64_t n = first_n; n < last_n; n += kPanel, ++p) {
          tile.panel = decoded + p * panel_floats;
          for (int64_t row = 0; row < count; ++row)
            tile.multipliers[row] = multipliers + p * multiplier_floats + offsets[row];
          tile.y = args.y + m * args.ldy + n;
          tile.columns = Smaller(kPanel, last_n - n);
          RunTileOf(count, tile, std::make_integer_sequence<int, kTileRows>{});
        }
      }
    }
  }
}

}  // namespace
}  // namespace qzo::kernels

#endif  // QZO_KERNELS_SIMD_MATMUL_H_
