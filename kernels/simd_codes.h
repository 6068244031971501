// Panels of codes for simd_code_panel.h, straight from the stored layout: what all types need, and a function for each
// type of blocks of 32. A word of a panel is the part of a column that one dot product instruction takes from a lane:
// two codes of 16 bits (kPairs) or four of 8.
#ifndef QZO_KERNELS_SIMD_CODES_H_
#define QZO_KERNELS_SIMD_CODES_H_

#include <cstring>

#include "kernels/simd_tile.h"
#include "kernels/weight_blocks.h"
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

// The low (0) or the high (1) nibbles of a word of bytes.
QZO_VEC U32x16 NibblesOf(U32x16 word, int half) { return (word >> (4 * half)) & U32x16(0x0f0f0f0fu); }

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
    const U32x16 codes = NibblesOf(word, part);
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

// put(b, header, codes) of kBlocks, 1 or 4, blocks of five words from b on: so many loads of four words. A single one
// takes a load more.
template <int kBlocks, typename Put>
QZO_VEC void PutFiveWords(const std::byte* const* rows, int64_t b, Put& put) {
  U32x16 words[20];
  Unroll<kBlocks == 4 ? 5 : 2>([&](auto load) QZO_VEC_LAMBDA {
    constexpr int64_t kFirst = kBlocks == 4 ? 4 * load : load;
    U32x16 four[4];
    LoadColumns(rows, b * 20 + 4 * kFirst, four);
    Unroll<4>([&](auto j) QZO_VEC_LAMBDA { words[kFirst + j] = four[j]; });
  });
  Unroll<kBlocks>([&](auto block) QZO_VEC_LAMBDA { put(b + block, words[5 * block], words + 5 * block + 1); });
}
template <typename Put>
QZO_VEC void ForFiveWords(const std::byte* const* rows, int64_t ahead, int64_t blocks, Put&& put) {
  int64_t b = 0;
  for (; b + 4 <= blocks; b += 4) {
    PrefetchRows(rows, ahead + b * 20);
    PutFiveWords<4>(rows, b, put);
    PrefetchRows(rows, ahead + b * 20 + 64);
  }
  for (; b < blocks; ++b) PutFiveWords<1>(rows, b, put);
}

template <bool kPairs>
void DecodeQ4_1(const std::byte* const* rows, int64_t ahead, int64_t blocks, const CodePanel& out) {
  ForFiveWords(rows, ahead, blocks, [&](int64_t b, U32x16 header, const U32x16* codes) QZO_VEC_LAMBDA {
    uint32_t* at = out.words + b * kWords<kPairs> * kPanel;
    Unroll<4>([&](auto j) QZO_VEC_LAMBDA { PutNibbles<kPairs, 0>(codes[j], j, at); });
    Store(out.scales + b * kPanel, HalfToFloat(header & U32x16(0xffffu)));
    Store(out.minima + b * kPanel, HalfToFloat(header >> 16));
  });
}

// Bytes below 128 less others up to 128, as signed ones: none borrows from the next, because c − z = (c + 128 − z) with
// the top bit flipped.
QZO_VEC U32x16 SubtractBytes(U32x16 a, U32x16 b) { return ((a | U32x16(0x80808080u)) - b) ^ U32x16(0x80808080u); }

// The header of packed codes (weights_packed.cc): a scale, and a zero in each byte.
QZO_VEC F32x16 PackedScale(U32x16 header) { return FromBits(header & U32x16(~0x1fffu)); }
QZO_VEC U32x16 ZeroBytes(U32x16 header) {
  const U32x16 zero = header & U32x16(0x1fffu), two = zero | zero << 8;
  return two | two << 16;
}
template <bool kPairs>
QZO_VEC void PutNibblesLess(U32x16 word, U32x16 zeros, int j, uint32_t* out) {
  Unroll<kNibbleParts<kPairs>>([&](auto part) QZO_VEC_LAMBDA {
    const U32x16 codes = NibblePart<kPairs, 0>(word, part);
    Store(out + (4 * part + j) * kPanel,
          kPairs ? Sub16(codes, zeros & U32x16(0x00ff00ffu)) : SubtractBytes(codes, zeros) ^ U32x16(kByteFlip));
  });
}

template <bool kPairs>
void DecodeU4x32(const std::byte* const* rows, int64_t ahead, int64_t blocks, const CodePanel& out) {
  ForFiveWords(rows, ahead, blocks, [&](int64_t b, U32x16 header, const U32x16* codes) QZO_VEC_LAMBDA {
    uint32_t* at = out.words + b * kWords<kPairs> * kPanel;
    const U32x16 zeros = ZeroBytes(header);
    Unroll<4>([&](auto j) QZO_VEC_LAMBDA { PutNibblesLess<kPairs>(codes[j], zeros, j, at); });
    Store(out.scales + b * kPanel, PackedScale(header));
  });
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

// Bits `first` … first + 3, each in the lowest place of a byte.
QZO_VEC U32x16 SpreadBits(U32x16 bits, int first) {
  const U32x16 four = bits >> first;
  return (four & U32x16(1u)) | (four << 7 & U32x16(0x100u)) | (four << 14 & U32x16(0x10000u)) |
         (four << 21 & U32x16(0x1000000u));
}

// What nibbles stand for in IQ4_NL and IQ4_XS: those of word j of 16 bytes.
template <bool kPairs>
QZO_VEC void PutNonLinear(U32x16 word, int j, uint32_t* out) {
  const U32x16 table = BroadcastPart(reinterpret_cast<const std::byte*>(kNonLinear));
  PutBytes<kPairs>(LookUpBytes(table, NibblesOf(word, 0)), j, kByteFlip, out);
  PutBytes<kPairs>(LookUpBytes(table, NibblesOf(word, 1)), 4 + j, kByteFlip, out);
}

template <bool kPairs>
void DecodeIQ4_NL(const std::byte* const* rows, int64_t ahead, int64_t blocks, const CodePanel& out) {
  constexpr int64_t kBytes = 18;
  for (int64_t b = 0; b < blocks; ++b) {
    if (b % 3 == 0) PrefetchRows(rows, ahead + b * kBytes);
    U32x16 words[4];
    LoadColumns(rows, b * kBytes + 2, words);
    uint32_t* at = out.words + b * kWords<kPairs> * kPanel;
    Unroll<4>([&](auto j) QZO_VEC_LAMBDA { PutNonLinear<kPairs>(words[j], j, at); });
  }
  DecodeHalves(rows, kBytes, blocks, out.scales);
}

template <bool kPairs, bool kHasMinimum>
void DecodeQ5(const std::byte* const* rows, int64_t ahead, int64_t blocks, const CodePanel& out) {
  constexpr int64_t kHeader = kHasMinimum ? 4 : 2, kBytes = kHeader + 20;
  for (int64_t b = 0; b < blocks; ++b) {
    if (b % 2 == 0) PrefetchRows(rows, ahead + b * kBytes);
    U32x16 bits[4], nibbles[4];  // of `bits` one word, the last before the nibbles, is the fifth bits
    LoadColumns(rows, b * kBytes + (kHasMinimum ? 0 : kHeader), bits);
    LoadColumns(rows, b * kBytes + kHeader + 4, nibbles);
    uint32_t* at = out.words + b * kWords<kPairs> * kPanel;
    for (int half = 0; half < 2; ++half) {
      Unroll<4>([&](auto j) QZO_VEC_LAMBDA {
        const U32x16 fifth = SpreadBits(bits[kHasMinimum ? 1 : 0], 16 * half + 4 * j);
        const U32x16 codes = NibblesOf(nibbles[j], half) | fifth << 4;
        if constexpr (kHasMinimum) {
          PutBytes<kPairs>(codes, 4 * half + j, 0, at);
        } else {
          PutBytes<kPairs>(SubtractBytes(codes, U32x16(0x10101010u)), 4 * half + j, kByteFlip, at);
        }
      });
    }
    if constexpr (kHasMinimum) {
      Store(out.scales + b * kPanel, HalfToFloat(bits[0] & U32x16(0xffffu)));
      Store(out.minima + b * kPanel, HalfToFloat(bits[0] >> 16));
    }
  }
  if constexpr (!kHasMinimum) DecodeHalves(rows, kBytes, blocks, out.scales);
}

// The two bits at `shift` of each byte of a word.
QZO_VEC U32x16 TwoBits(U32x16 word, int shift) { return (word >> shift) & U32x16(0x03030303u); }

// Values 4j … 4j + 3 of 32 of two or, with kThird, three bits, less a zero: `words` are theirs (weights_packed.cc).
template <bool kPairs, bool kThird>
QZO_VEC void PutFewBits(const U32x16* words, U32x16 zeros, int j, uint32_t* out) {
  U32x16 codes = TwoBits(words[j % 2], j / 2 * 2);
  if constexpr (kThird) codes = codes | SpreadBits(words[2], 4 * j) << 2;
  PutBytes<kPairs>(SubtractBytes(codes, zeros), j, kByteFlip, out);
}

template <bool kPairs>
void DecodeU3x32(const std::byte* const* rows, int64_t ahead, int64_t blocks, const CodePanel& out) {
  for (int64_t b = 0; b < blocks; ++b) {
    if (b % 4 == 0) PrefetchRows(rows, ahead + b * 16);
    U32x16 words[4];
    LoadColumns(rows, b * 16, words);
    const U32x16 zeros = ZeroBytes(words[0]);
    uint32_t* at = out.words + b * kWords<kPairs> * kPanel;
    Unroll<8>([&](auto j) QZO_VEC_LAMBDA { PutFewBits<kPairs, true>(words + 1, zeros, j, at); });
    Store(out.scales + b * kPanel, PackedScale(words[0]));
  }
}

}  // namespace
}  // namespace qzo::kernels

#endif  // QZO_KERNELS_SIMD_CODES_H_
