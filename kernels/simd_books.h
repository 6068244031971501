// Decoding of types with a codebook for simd_matmul.h: as DecodeEntries, 16 rows side by side.
#ifndef QZO_KERNELS_SIMD_BOOKS_H_
#define QZO_KERNELS_SIMD_BOOKS_H_

#include <cstring>

#include "kernels/simd_tile.h"

namespace qzo::kernels {
namespace {

// Of 16 rows of the matrix, at a value that is a multiple of 32.
QZO_VEC F32x16 ScalesAt(const WeightMatrix& w, const int64_t* rows, int64_t k) {
  alignas(64) float scales[16];
  for (int i = 0; i < 16; ++i) scales[i] = w.scales[rows[i] * (w.cols / w.group) + k / w.group];
  return Load(scales);
}

// Entries of one value: looked up one by one.
void DecodeNibbleBook(const WeightMatrix& w, const int64_t* rows, int64_t k, int64_t depth, float* out) {
  float entries[16];
  std::memcpy(entries, w.codebook, sizeof(entries));
  alignas(64) float values[16][32];
  const std::byte* columns[16];
  for (int i = 0; i < 16; ++i) columns[i] = reinterpret_cast<const std::byte*>(values[i]);
  for (const int64_t end = k + depth; k < end; k += 32) {
    const F32x16 scale = ScalesAt(w, rows, k);
    for (int i = 0; i < 16; ++i) {
      const std::byte* codes = w.data + (rows[i] * w.cols + k) / 2;
      for (int j = 0; j < 16; ++j) {
        const unsigned code = std::to_integer<unsigned>(codes[j]);
        values[i][2 * j] = entries[code >> 4];
        values[i][2 * j + 1] = entries[code & 15];
      }
    }
    for (int first = 0; first < 32; first += 4, out += 4 * kPanel) {
      U32x16 words[4];
      LoadColumns(columns, 4 * first, words);
      Unroll<4>([&](auto j) QZO_VEC_LAMBDA { Store(out + j * kPanel, scale * FromBits(words[j])); });
    }
  }
}

// Entries of eight values of 16 bits: an entry is one load of a row.
template <WeightType kType, WeightType kEntryType>
void DecodeVectorBook(const WeightMatrix& w, const int64_t* rows, int64_t k, int64_t depth, float* out) {
  constexpr int kBooks = kType == WeightType::kBook2x8 ? 2 : 1;
  constexpr int kCodeBytes = kType == WeightType::kBook1x16 ? 2 : 1;
  constexpr int64_t kEntryBytes = 16, kBookBytes = 256 * kEntryBytes;  // of codes of 8 bits, of which there may be two
  constexpr auto kValue = [](U32x16 word, bool high) QZO_VEC_LAMBDA {
    if constexpr (kEntryType == WeightType::kF16) return HalfToFloat(high ? word >> 16 : word & U32x16(0xffffu));
    return FromBits(high ? word & U32x16(0xffff0000u) : word << 16);
  };
  const std::byte* codes[16];
  for (int i = 0; i < 16; ++i) codes[i] = w.data + (rows[i] * w.cols + k) / 8 * kBooks * kCodeBytes;
  for (const int64_t end = k + depth; k < end; k += 32) {
    const F32x16 scale = ScalesAt(w, rows, k);
    for (int group = 0; group < 4; ++group, out += 8 * kPanel) {
      U32x16 words[kBooks][4];
      for (int book = 0; book < kBooks; ++book) {
        const std::byte* entries[16];
        for (int i = 0; i < 16; ++i) {
          uint16_t code = 0;
          std::memcpy(&code, codes[i], kCodeBytes);
          codes[i] += kCodeBytes;
          entries[i] = w.codebook + book * kBookBytes + code * kEntryBytes;
        }
        LoadColumns(entries, 0, words[book]);
      }
      Unroll<8>([&](auto j) QZO_VEC_LAMBDA {
        F32x16 value = kValue(words[0][j / 2], j % 2 == 1);
        if constexpr (kBooks == 2) value = value + kValue(words[1][j / 2], j % 2 == 1);
        Store(out + j * kPanel, scale * value);
      });
    }
  }
}

template <WeightType kEntryType>
void DecodeVectorBook(const WeightMatrix& w, const int64_t* rows, int64_t k, int64_t depth, float* out) {
  if (w.type == WeightType::kBook1x16) {
    DecodeVectorBook<WeightType::kBook1x16, kEntryType>(w, rows, k, depth, out);
  } else if (w.type == WeightType::kBook2x8) {
    DecodeVectorBook<WeightType::kBook2x8, kEntryType>(w, rows, k, depth, out);
  } else {
    DecodeVectorBook<WeightType::kBook1x8, kEntryType>(w, rows, k, depth, out);
  }
}

// out[v · kPanel + i] = value k + v of row rows[i]; `depth` is a multiple of 32.
void DecodeBook(const WeightMatrix& w, const int64_t* rows, int64_t k, int64_t depth, float* out) {
  if (w.type == WeightType::kBook4) {
    DecodeNibbleBook(w, rows, k, depth, out);
  } else if (w.codebook_type == WeightType::kBF16) {
    DecodeVectorBook<WeightType::kBF16>(w, rows, k, depth, out);
  } else {
    DecodeVectorBook<WeightType::kF16>(w, rows, k, depth, out);
  }
}

}  // namespace
}  // namespace qzo::kernels

#endif  // QZO_KERNELS_SIMD_BOOKS_H_
