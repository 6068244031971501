// What the two matrix products, simd_matmul.h and simd_integer.h, have in common. A panel is kPanel columns; a tile is
// some rows of one, in registers.
#ifndef QZO_KERNELS_SIMD_TILE_H_
#define QZO_KERNELS_SIMD_TILE_H_

#include <cstring>
#include <type_traits>
#include <utility>

#include "kernels/kernels.h"
#include QZO_VEC_HEADER

namespace qzo::kernels {
namespace {

constexpr int64_t kPanel = 16 * kTileVectors;

template <typename T>
QZO_VEC T Smaller(T a, T b) {
  return a < b ? a : b;
}

// body(0) … body(N − 1) with constant arguments: what is indexed by them stays in registers.
template <typename Body, int... kIndex>
QZO_VEC void UnrollImpl(Body& body, std::integer_sequence<int, kIndex...>) {
  (body(std::integral_constant<int, kIndex>{}), ...);
}
template <int kCount, typename Body>
QZO_VEC void Unroll(Body&& body) {
  UnrollImpl(body, std::make_integer_sequence<int, kCount>{});
}

// body(row, v) for every vector of a tile.
template <int kRows, typename Body>
QZO_VEC void ForTile(Body&& body) {
  Unroll<kRows>([&](auto row) QZO_VEC_LAMBDA { Unroll<kTileVectors>([&](auto v) QZO_VEC_LAMBDA { body(row, v); }); });
}

// words[j] lane i = word j of the 16 bytes at rows[i] + offset.
QZO_VEC void LoadColumns(const std::byte* const* rows, int64_t offset, U32x16 (&words)[4]) {
  for (int i = 0; i < 4; ++i) {
    words[i] = LoadParts(rows[i] + offset, rows[4 + i] + offset, rows[8 + i] + offset, rows[12 + i] + offset);
  }
  Transpose4x4(words);
}

// Pointers into rows that are row_bytes apart, every third one in a register: the rows between are base + index and
// base
// + 2 · index. With a pointer or an offset for each row the compiler runs out of registers and fetches them from xmm
// ones in the inner loop.
template <int kRows>
class RowPointers {
 public:
  QZO_VEC RowPointers(const std::byte* first, int64_t row_bytes) : row_bytes_(row_bytes) {
    for (int i = 0; i < kBases; ++i) {
      base_[i] = first + 3 * i * row_bytes;
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

// out[(g − g_begin) · kPanel + i] = multiplier of (column n + i, group g), of the last column past it; 1 without.
inline void PackMultipliers(const float* multipliers, int64_t n, int64_t columns, int64_t groups, int64_t g_begin,
                            int64_t g_end, float* out) {
  if (multipliers == nullptr) {
    for (int64_t i = 0; i < (g_end - g_begin) * kPanel; i += 16) Store(out + i, F32x16(1.0f));
    return;
  }
  for (int64_t first = 0; first < kPanel; first += 16) {
    const std::byte* rows[16];
    for (int64_t i = 0; i < 16; ++i) {
      rows[i] = reinterpret_cast<const std::byte*>(multipliers + (n + Smaller(first + i, columns - 1)) * groups);
    }
    int64_t g = g_begin;
    for (; g + 4 <= g_end; g += 4) {
      U32x16 words[4];
      LoadColumns(rows, 4 * g, words);
      for (int i = 0; i < 4; ++i) Store(out + (g - g_begin + i) * kPanel + first, FromBits(words[i]));
    }
    for (; g < g_end; ++g) {
      for (int i = 0; i < 16; ++i)
        std::memcpy(out + (g - g_begin) * kPanel + first + i, rows[i] + 4 * g, sizeof(float));
    }
  }
}

}  // namespace
}  // namespace qzo::kernels

#endif  // QZO_KERNELS_SIMD_TILE_H_
