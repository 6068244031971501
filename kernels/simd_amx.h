// Tiles of simd_integer.h in the tile registers of QZO_DOT_HEADER: up to 16 rows of x, bytes as they lie in the rounded
// block, times words of a panel.
//
// Codes of 16 bits: the instructions multiply bytes, so x = 256 · high + low, high signed and low unsigned. Both are
// taken from the block as it is by words that have 0 where the other byte is: (c, 0, c', 0) for low, (0, c, 0, c') for
// high, and, where a scale covers 16 values, 0 for the other half as well. The registers are deep enough for the zeros
// to cost nothing. No sum leaves 32 bits: 32 · 255 · 128 < 2^20, times 256 < 2^28.
#ifndef QZO_KERNELS_SIMD_AMX_H_
#define QZO_KERNELS_SIMD_AMX_H_

#include "kernels/simd_integer.h"

namespace qzo::kernels {
namespace {

// Operand of ConfigureTiles.
struct alignas(64) TileConfig {
  uint8_t palette = 1;
  uint8_t start_row = 0;
  uint8_t reserved[14] = {};
  uint16_t row_bytes[16] = {};
  uint8_t rows[16] = {};
};
static_assert(sizeof(TileConfig) == 64);

// Registers. Sums of vector v and plane p are in kSumsTile + kPlanes · v + p.
constexpr int kSumsTile = 0, kCodesTile = 4, kXTile = 6;
static_assert(2 * kTileVectors <= kCodesTile);

template <bool kPairs, bool kHasMinimum, int kParts>
class AmxTiles {
 public:
  static constexpr int kPlanes = kPairs ? 2 : 1;           // low and high
  static constexpr int kDepth = kPairs ? 16 : 8 / kParts;  // words of a register of codes
  static constexpr int64_t kRows = 16;
  static constexpr int kOperandWords = kParts * kPlanes * kDepth;
  static constexpr bool kExpands = kPairs;

  AmxTiles() = default;
  AmxTiles(const AmxTiles&) = delete;
  AmxTiles& operator=(const AmxTiles&) = delete;
  ~AmxTiles() {
    if (rows_ != 0) ReleaseTiles();
  }

  // operands: [blocks, kParts, kPlanes, kDepth, kPanel]
  static void Expand(const uint32_t* words, int64_t blocks, uint32_t* operands) {
    for (int64_t b = 0; b < blocks; ++b, words += kWords<true> * kPanel) {
      for (int part = 0; part < kParts; ++part, operands += kPlanes * kDepth * kPanel) {
        for (int word = 0; word < kDepth; ++word) {
          const bool own = kParts == 1 || word / (kDepth / 2) == part;
          for (int64_t i = word * kPanel; i < (word + 1) * kPanel; i += 16) {
            const U32x16 low = own ? LoadWords(words + i) & U32x16(0x00ff00ffu) : U32x16(0u);
            Store(operands + i, low);
            Store(operands + kDepth * kPanel + i, low << 8);
          }
        }
      }
    }
  }

  static int64_t Rows(int64_t left) { return Smaller(left, kRows); }

  void Run(int64_t rows, const RoundedTile& tile) {
    Configure(rows);
    if (tile.first) {
      for (int64_t i = 0; i < rows * kPanel; i += 16) Store(tile.totals + i, F32x16(0.0f));
    }
    const std::byte* x = tile.x;
    const uint32_t* operands = tile.words;
    const float *scales = tile.scales, *minima = tile.minima;
    for (int64_t b = 0; b < tile.blocks; ++b, x += kBlockBytes<kPairs>) {
      Unroll<kParts>([&](auto part) QZO_VEC_LAMBDA {
        alignas(64) uint32_t products[kTileVectors][kPlanes][kRows][16];
        LoadTile<kXTile>(x + (kPairs ? 0 : 16 * part), tile.row_bytes);
        Unroll<kTileVectors>([&](auto v) QZO_VEC_LAMBDA {
          Unroll<kPlanes>([&](auto plane) QZO_VEC_LAMBDA {
            constexpr int kSums = kSumsTile + kPlanes * v + plane, kCodes = kCodesTile + plane;
            ClearTile<kSums>();
            LoadTile<kCodes>(operands + plane * kDepth * kPanel + 16 * v, 4 * kPanel);
            if constexpr (kPairs && plane == 0) {
              DotUnsignedTiles<kSums, kXTile, kCodes>();
            } else {
              DotSignedTiles<kSums, kXTile, kCodes>();
            }
            StoreTile<kSums>(products[v][plane], 64);
          });
        });
        for (int64_t row = 0; row < rows; ++row) {
          const std::byte* sums = x + row * tile.row_bytes + kCodeBytes<kPairs>;
          Unroll<kTileVectors>([&](auto v) QZO_VEC_LAMBDA {
            U32x16 product = LoadWords(products[v][0][row]);
            if constexpr (kPairs) product = product + (LoadWords(products[v][1][row]) << 8);
            AddProducts<kHasMinimum>(product, sums, SumOf<kParts>(part), scales + 16 * v, minima + 16 * v,
                                     tile.totals + row * kPanel + 16 * v);
          });
        }
        operands += kPlanes * kDepth * kPanel;
        scales += kPanel;
        minima += kPanel;
      });
    }
    if (!tile.last) return;
    for (int64_t row = 0; row < rows; ++row) {
      Unroll<kTileVectors>([&](auto v) QZO_VEC_LAMBDA { StoreTotals(tile, row, v); });
    }
  }

 private:
  void Configure(int64_t rows) {
    if (rows == rows_) return;
    rows_ = rows;
    TileConfig config;
    const auto set = [&config](int tile, int64_t tile_rows, int64_t row_bytes) {
      config.rows[tile] = static_cast<uint8_t>(tile_rows);
      config.row_bytes[tile] = static_cast<uint16_t>(row_bytes);
    };
    for (int tile = 0; tile < kTileVectors * kPlanes; ++tile) set(kSumsTile + tile, rows, 64);
    for (int plane = 0; plane < kPlanes; ++plane) set(kCodesTile + plane, kDepth, 64);
    set(kXTile, rows, 4 * kDepth);
    ConfigureTiles(&config);
  }

  int64_t rows_ = 0;  // that the registers are configured for; 0: not at all
};

}  // namespace
}  // namespace qzo::kernels

#endif  // QZO_KERNELS_SIMD_AMX_H_
