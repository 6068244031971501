// Panels of codes for simd_integer.h, straight from the stored layout: one function per storage type, and one that any
// type has. A word of a panel is the part of a column that one dot product instruction takes from a lane: two codes of
// 16 bits (kPairs) or four of 8.
#ifndef QZO_KERNELS_SIMD_CODES_H_
#define QZO_KERNELS_SIMD_CODES_H_

#include <cstring>

#include "kernels/simd_tile.h"
#include "kernels/weights.h"
#include QZO_DOT_HEADER

namespace qzo::kernels {
namespace {

// Words of a block of 32 values per column.
template <bool kPairs>
constexpr int kWords = kPairs ? 16 : 8;

// Most blocks decoded at once: 16 KiB of words in a panel of 32 columns.
constexpr int64_t kChunkBlocks = 16;

// 16 columns of a panel; rows of every part are kPanel long.
struct CodePanel {
  uint32_t* words;  // [blocks, kWords, kPanel], in the order of the activations' codes
  float* scales;    // [blocks, 1, or 2 where they cover 16 values, kPanel]
  float* minima;    // same shape, for types that have one
};

// Asks for what the next panel will decode: rows that the hardware does not see coming.
QZO_VEC void PrefetchRows(const std::byte* const* rows, int64_t offset) {
  for (int i = 0; i < 16; ++i) __builtin_prefetch(rows[i] + offset, 0, 2);
}

// What dot products take at once of a word of stored nibbles: its kNibbleParts. kBias, 0 or 8, is subtracted.
template <bool kPairs>
constexpr int kNibbleParts = kPairs ? 4 : 2;
template <bool kPairs, int kBias>
QZO_VEC U32x16 NibblePart(U32x16 word, int part) {
  if constexpr (kPairs) {
    constexpr int kShift[] = {0, 8, 4, 12};
    const U32x16 codes = (word >> kShift[part]) & U32x16(0x000f000fu);
    return kBias == 0 ? codes : Sub16(codes, U32x16(kBias * 0x00010001u));
  } else {
    const U32x16 codes = (word >> (4 * part)) & U32x16(0x0f0f0f0fu);
    // No byte carries into the next: c − 8 = (c + 120) with the top bit flipped.
    return kBias == 0 ? codes : (codes + U32x16(0x78787878u)) ^ U32x16(0x80808080u ^ kByteFlip);
  }
}
// The same of a word of stored bytes; `flip` is kByteFlip where they may be negative.
template <bool kPairs>
constexpr int kByteParts = kPairs ? 2 : 1;
template <bool kPairs>
QZO_VEC U32x16 BytePart(U32x16 word, int part, uint32_t flip) {
  if constexpr (kPairs) {
    return Sar16(part == 0 ? word << 8 : word, 8);
  } else {
    return word ^ U32x16(flip);
  }
}

// Word j, 0 … 3, of the 16 bytes that hold the nibbles of a block.
template <bool kPairs, int kBias>
QZO_VEC void PutNibbles(U32x16 word, int j, uint32_t* out) {
  Unroll<kNibbleParts<kPairs>>(
      [&](auto part) QZO_VEC_LAMBDA { Store(out + (4 * part + j) * kPanel, NibblePart<kPairs, kBias>(word, part)); });
}

// Word j, 0 … 7, of a block's bytes.
template <bool kPairs>
QZO_VEC void PutBytes(U32x16 word, int j, uint32_t flip, uint32_t* out) {
  Unroll<kByteParts<kPairs>>([&](auto part) QZO_VEC_LAMBDA {
    Store(out + (4 * (j / 4 * kByteParts<kPairs> + part) + j % 4) * kPanel, BytePart<kPairs>(word, part, flip));
  });
}

// out[b · kPanel + i] = the half at rows[i] + b · block_bytes.
void DecodeHalves(const std::byte* const* rows, int64_t block_bytes, int64_t blocks, float* out) {
  // All stores come before the first load: a load that spans several stores in flight would wait for them.
  alignas(64) uint32_t halves[kChunkBlocks][16];
  for (int i = 0; i < 16; ++i) {
    for (int64_t b = 0; b < blocks; ++b) {
      uint16_t half;
      std::memcpy(&half, rows[i] + b * block_bytes, sizeof(half));
      halves[b][i] = half;
    }
  }
  for (int64_t b = 0; b < blocks; ++b) Store(out + b * kPanel, HalfToFloat(LoadWords(halves[b])));
}

template <bool kPairs>
void DecodeQ4_0(const std::byte* const* rows, int64_t ahead, int64_t blocks, const CodePanel& out) {
  constexpr int64_t kBytes = 18;
  for (int64_t b = 0; b < blocks; ++b) {
    if (b % 3 == 0) PrefetchRows(rows, ahead + b * kBytes);
    U32x16 words[4];
    LoadColumns(rows, b * kBytes + 2, words);
    uint32_t* at = out.words + b * kWords<kPairs> * kPanel;
    Unroll<4>([&](auto j) QZO_VEC_LAMBDA { PutNibbles<kPairs, 8>(words[j], j, at); });
  }
  DecodeHalves(rows, kBytes, blocks, out.scales);
}

// Blocks of five words, d and m in the first: kBlocks of them, 1 or 4, are so many loads of four words. A single one
// takes a load more.
template <bool kPairs, int kBlocks>
QZO_VEC void PutQ4_1(const std::byte* const* rows, int64_t b, const CodePanel& out) {
  constexpr int64_t kBytes = 20;
  U32x16 words[20];
  Unroll<kBlocks == 4 ? 5 : 2>([&](auto load) QZO_VEC_LAMBDA {
    U32x16 four[4];
    const int64_t first = kBlocks == 4 ? 4 * load : load;
    LoadColumns(rows, b * kBytes + 4 * first, four);
    Unroll<4>([&](auto j) QZO_VEC_LAMBDA { words[(kBlocks == 4 ? 4 * load : load) + j] = four[j]; });
  });
  Unroll<kBlocks>([&](auto block) QZO_VEC_LAMBDA {
    const U32x16 header = words[5 * block];
    uint32_t* at = out.words + (b + block) * kWords<kPairs> * kPanel;
    Unroll<4>([&](auto j) QZO_VEC_LAMBDA { PutNibbles<kPairs, 0>(words[5 * block + 1 + j], j, at); });
    Store(out.scales + (b + block) * kPanel, HalfToFloat(header & U32x16(0xffffu)));
    Store(out.minima + (b + block) * kPanel, HalfToFloat(header >> 16));
  });
}

template <bool kPairs>
void DecodeQ4_1(const std::byte* const* rows, int64_t ahead, int64_t blocks, const CodePanel& out) {
  int64_t b = 0;
  for (; b + 4 <= blocks; b += 4) {
    PrefetchRows(rows, ahead + b * 20);
    PutQ4_1<kPairs, 4>(rows, b, out);
    PrefetchRows(rows, ahead + b * 20 + 64);
  }
  for (; b < blocks; ++b) PutQ4_1<kPairs, 1>(rows, b, out);
}

template <bool kPairs>
void DecodeQ8_0(const std::byte* const* rows, int64_t ahead, int64_t blocks, const CodePanel& out) {
  constexpr int64_t kBytes = 34;
  for (int64_t b = 0; b < blocks; ++b) {
    PrefetchRows(rows, ahead + b * kBytes);
    uint32_t* at = out.words + b * kWords<kPairs> * kPanel;
    for (int half = 0; half < 2; ++half) {
      U32x16 words[4];
      LoadColumns(rows, b * kBytes + 2 + 16 * half, words);
      Unroll<4>([&](auto j) QZO_VEC_LAMBDA { PutBytes<kPairs>(words[j], 4 * half + j, kByteFlip, at); });
    }
  }
  DecodeHalves(rows, kBytes, blocks, out.scales);
}

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
    switch (w.type) {
      case WeightType::kQ4_0:
        DecodeQ4_0<kPairs>(rows, ahead, blocks, part);
        break;
      case WeightType::kQ4_1:
        DecodeQ4_1<kPairs>(rows, ahead, blocks, part);
        break;
      case WeightType::kQ8_0:
        DecodeQ8_0<kPairs>(rows, ahead, blocks, part);
        break;
      default:
        DecodeAny<kPairs>(w.type, starts, first_block, blocks, part);
        break;
    }
  }
}

}  // namespace
}  // namespace qzo::kernels

#endif  // QZO_KERNELS_SIMD_CODES_H_
