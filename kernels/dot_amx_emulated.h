// The tile registers of dot_amx.h in plain code, as the processor's manual defines the instructions, their faults
// included: what it would refuse ends the program. For tests, on machines without AMX.
#ifndef QZO_KERNELS_DOT_AMX_EMULATED_H_
#define QZO_KERNELS_DOT_AMX_EMULATED_H_

#include <cstdint>
#include <cstring>

#include "base/log.h"
#include "kernels/vec_avx512.h"

namespace qzo::kernels {
namespace {

constexpr uint32_t kByteFlip = 0;

struct EmulatedTile {
  int rows = 0;
  int bytes = 0;  // of a row
  uint8_t data[16][64] = {};
};
thread_local EmulatedTile emulated_tiles[8];  // rows of 0: not configured

void ConfigureTiles(const void* config) {
  uint8_t bytes[64];
  std::memcpy(bytes, config, sizeof(bytes));
  QZO_CHECK(bytes[0] == 1 && bytes[1] == 0);  // palette, row to start from
  for (int i = 2; i < 16; ++i) QZO_CHECK(bytes[i] == 0);
  for (int tile = 0; tile < 16; ++tile) {
    const int row_bytes = bytes[16 + 2 * tile] | bytes[17 + 2 * tile] << 8, rows = bytes[48 + tile];
    QZO_CHECK(row_bytes <= 64 && rows <= 16 && (row_bytes == 0) == (rows == 0) && (rows == 0 || tile < 8));
    if (tile < 8) emulated_tiles[tile] = EmulatedTile{.rows = rows, .bytes = row_bytes};
  }
}

void ReleaseTiles() {
  for (EmulatedTile& tile : emulated_tiles) tile = EmulatedTile{};
}

template <int kTile>
void ClearTile() {
  QZO_CHECK(emulated_tiles[kTile].rows > 0);
  std::memset(emulated_tiles[kTile].data, 0, sizeof(EmulatedTile::data));
}

template <int kTile>
void LoadTile(const void* from, int64_t stride) {
  ClearTile<kTile>();
  EmulatedTile& tile = emulated_tiles[kTile];
  for (int row = 0; row < tile.rows; ++row) {
    std::memcpy(tile.data[row], static_cast<const std::byte*>(from) + row * stride, static_cast<size_t>(tile.bytes));
  }
}

template <int kTile>
void StoreTile(void* to, int64_t stride) {
  const EmulatedTile& tile = emulated_tiles[kTile];
  QZO_CHECK(tile.rows > 0);
  for (int row = 0; row < tile.rows; ++row) {
    std::memcpy(static_cast<std::byte*>(to) + row * stride, tile.data[row], static_cast<size_t>(tile.bytes));
  }
}

template <typename X, int kSums, int kX, int kCodes>
void DotTiles() {
  EmulatedTile &sums = emulated_tiles[kSums], &x = emulated_tiles[kX], &codes = emulated_tiles[kCodes];
  static_assert(kSums != kX && kSums != kCodes && kX != kCodes);
  QZO_CHECK(sums.rows > 0 && sums.rows == x.rows && sums.bytes == codes.bytes && x.bytes == 4 * codes.rows);
  QZO_CHECK(sums.bytes % 4 == 0);
  for (int row = 0; row < sums.rows; ++row) {
    for (int k = 0; k < x.bytes; ++k) {
      const auto value = static_cast<X>(x.data[row][k]);
      for (int column = 0; column < sums.bytes / 4; ++column) {
        int32_t sum;
        std::memcpy(&sum, &sums.data[row][4 * column], sizeof(sum));
        sum += value * static_cast<int8_t>(codes.data[k / 4][4 * column + k % 4]);
        std::memcpy(&sums.data[row][4 * column], &sum, sizeof(sum));
      }
    }
  }
}
template <int kSums, int kX, int kCodes>
void DotSignedTiles() {
  DotTiles<int8_t, kSums, kX, kCodes>();
}
template <int kSums, int kX, int kCodes>
void DotUnsignedTiles() {
  DotTiles<uint8_t, kSums, kX, kCodes>();
}

}  // namespace
}  // namespace qzo::kernels

#endif  // QZO_KERNELS_DOT_AMX_EMULATED_H_
