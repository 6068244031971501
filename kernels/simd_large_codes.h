// Panels of codes of types whose blocks have 128 or 256 values, as simd_codes.h. A panel may begin and end inside of a
// block.
#ifndef QZO_KERNELS_SIMD_LARGE_CODES_H_
#define QZO_KERNELS_SIMD_LARGE_CODES_H_

#include "kernels/simd_codes.h"

namespace qzo::kernels {
namespace {

// The word or, with kBytes = 2, the half at rows[i] + offset.
template <int kBytes>
QZO_VEC U32x16 GatherWords(const std::byte* const* rows, int64_t offset) {
  alignas(64) uint32_t words[16] = {};
  for (int i = 0; i < 16; ++i) std::memcpy(&words[i], rows[i] + offset, kBytes);
  return LoadWords(words);
}

// Packed codes of kBits, 2, 3 or 4. `rows` begin at value 0, as in all of this file.
template <bool kPairs, int kBits>
void DecodePacked128(const std::byte* const* rows, int64_t ahead, int64_t first_block, int64_t blocks,
                     const CodePanel& out) {
  constexpr int64_t kBytes = 4 + 16 * kBits;
  U32x16 header(0u), words[4 * kBits];
  for (int64_t b = 0; b < blocks; ++b) {
    const int64_t part = (first_block + b) % 4, offset = (first_block + b) / 4 * kBytes;
    if (b == 0 || part == 0) {
      PrefetchRows(rows, ahead + offset);
      header = GatherWords<4>(rows, offset);
      Unroll<kBits>([&](auto load) QZO_VEC_LAMBDA {
        U32x16 four[4];
        LoadColumns(rows, offset + 4 + 16 * load, four);
        Unroll<4>([&](auto j) QZO_VEC_LAMBDA { words[4 * load + j] = four[j]; });
      });
    }
    const U32x16 zeros = ZeroBytes(header);
    const U32x16* codes = words + kBits * part;
    uint32_t* at = out.words + b * kWords<kPairs> * kPanel;
    if constexpr (kBits == 4) {
      Unroll<4>([&](auto j) QZO_VEC_LAMBDA { PutNibblesLess<kPairs>(codes[j], zeros, j, at); });
    } else {
      Unroll<8>([&](auto j) QZO_VEC_LAMBDA { PutFewBits<kPairs, kBits == 3>(codes, zeros, j, at); });
    }
    Store(out.scales + b * kPanel, PackedScale(header));
  }
}

// Part `part`, 0 … 7, of a block of 256 whose first 16 bytes are d, the factor of its minima and SixBits
// (weight_blocks.h).
QZO_VEC void PutSixBits(const U32x16 (&header)[4], int part, float* scales, float* minima) {
  const int shift = part % 4 * 8;
  const U32x16 first = header[1] >> shift, second = header[2] >> shift, third = header[3] >> shift;
  U32x16 scale = first & U32x16(63u), minimum = second & U32x16(63u);
  if (part >= 4) {
    scale = (third & U32x16(15u)) | (first >> 2 & U32x16(0x30u));
    minimum = (third >> 4 & U32x16(15u)) | (second >> 2 & U32x16(0x30u));
  }
  Store(scales, HalfToFloat(header[0] & U32x16(0xffffu)) * SignedToFloat(scale));
  const F32x16 product = HalfToFloat(header[0] >> 16) * SignedToFloat(minimum);
  Store(minima, FromBits(Bits(product) ^ U32x16(0x80000000u)));
}

template <bool kPairs, bool kFifthBit>
void DecodeQ45_K(const std::byte* const* rows, int64_t ahead, int64_t first_block, int64_t blocks,
                 const CodePanel& out) {
  constexpr int64_t kBytes = kFifthBit ? 176 : 144, kNibbles = kFifthBit ? 48 : 16;
  U32x16 header[4];
  for (int64_t b = 0; b < blocks; ++b) {
    const int part = static_cast<int>((first_block + b) % 8);
    const int64_t offset = (first_block + b) / 8 * kBytes;
    if (b == 0 || part == 0) LoadColumns(rows, offset, header);
    if (part % 2 == 0) PrefetchRows(rows, ahead + offset + part * 32);
    uint32_t* at = out.words + b * kWords<kPairs> * kPanel;
    for (int half = 0; half < 2; ++half) {
      U32x16 words[4], fifth[4];
      LoadColumns(rows, offset + kNibbles + part / 2 * 32 + 16 * half, words);
      if constexpr (kFifthBit) LoadColumns(rows, offset + 16 + 16 * half, fifth);
      Unroll<4>([&](auto j) QZO_VEC_LAMBDA {
        U32x16 codes = NibblesOf(words[j], part % 2);
        if constexpr (kFifthBit) codes = codes | ((fifth[j] >> part & U32x16(0x01010101u)) << 4);
        PutBytes<kPairs>(codes, 4 * half + j, 0, at);
      });
    }
    PutSixBits(header, part, out.scales + b * kPanel, out.minima + b * kPanel);
  }
}

template <bool kPairs>
void DecodeQ6_K(const std::byte* const* rows, int64_t ahead, int64_t first_block, int64_t blocks,
                const CodePanel& out) {
  constexpr int64_t kBytes = 210;
  F32x16 d(0.0f);
  U32x16 scales[4];  // words of four
  for (int64_t b = 0; b < blocks; ++b) {
    const int part = static_cast<int>((first_block + b) % 8), quarter = part % 4;
    const int64_t offset = (first_block + b) / 8 * kBytes, at_half = part / 4;
    if (b == 0 || part == 0) {
      LoadColumns(rows, offset + 192, scales);
      d = HalfToFloat(GatherWords<2>(rows, offset + 208));
    }
    if (part % 2 == 0) PrefetchRows(rows, ahead + offset + part * 32);
    uint32_t* at = out.words + b * kWords<kPairs> * kPanel;
    for (int half = 0; half < 2; ++half) {
      U32x16 low[4], high[4];
      LoadColumns(rows, offset + 64 * at_half + 32 * (quarter % 2) + 16 * half, low);
      LoadColumns(rows, offset + 128 + 32 * at_half + 16 * half, high);
      Unroll<4>([&](auto j) QZO_VEC_LAMBDA {
        const U32x16 codes = NibblesOf(low[j], quarter / 2) | ((high[j] >> (2 * quarter) & U32x16(0x03030303u)) << 4);
        PutBytes<kPairs>(SubtractBytes(codes, U32x16(0x20202020u)), 4 * half + j, kByteFlip, at);
      });
      const int s = 2 * part + half;
      const U32x16 scale = Sar(scales[s / 4] << (24 - s % 4 * 8), 24);
      Store(out.scales + (2 * b + half) * kPanel, d * SignedToFloat(scale));
    }
  }
}

QZO_VEC U32x16 ByteOf(const U32x16* words, int i) { return (words[i / 4] >> (i % 4 * 8)) & U32x16(255u); }

template <bool kPairs>
void DecodeQ2_K(const std::byte* const* rows, int64_t ahead, int64_t first_block, int64_t blocks,
                const CodePanel& out) {
  constexpr int64_t kBytes = 84;
  U32x16 packed[4];  // scales and minima, two nibbles of a byte for 16 values
  F32x16 d(0.0f), minimum(0.0f);
  for (int64_t b = 0; b < blocks; ++b) {
    const int part = static_cast<int>((first_block + b) % 8);
    const int64_t offset = (first_block + b) / 8 * kBytes;
    if (b == 0 || part == 0) {
      PrefetchRows(rows, ahead + offset);
      LoadColumns(rows, offset, packed);
      const U32x16 header = GatherWords<4>(rows, offset + 80);
      d = HalfToFloat(header & U32x16(0xffffu));
      minimum = HalfToFloat(header >> 16);
    }
    uint32_t* at = out.words + b * kWords<kPairs> * kPanel;
    for (int half = 0; half < 2; ++half) {
      U32x16 words[4];
      LoadColumns(rows, offset + 16 + 32 * (part / 4) + 16 * half, words);
      Unroll<4>([&](auto j) QZO_VEC_LAMBDA { PutBytes<kPairs>(TwoBits(words[j], part % 4 * 2), 4 * half + j, 0, at); });
      const U32x16 byte = ByteOf(packed, 2 * part + half);
      Store(out.scales + (2 * b + half) * kPanel, d * SignedToFloat(byte & U32x16(15u)));
      Store(out.minima + (2 * b + half) * kPanel,
            FromBits(Bits(minimum * SignedToFloat(byte >> 4)) ^ U32x16(0x80000000u)));
    }
  }
}

template <bool kPairs>
void DecodeQ3_K(const std::byte* const* rows, int64_t ahead, int64_t first_block, int64_t blocks,
                const CodePanel& out) {
  constexpr int64_t kBytes = 110;
  U32x16 tail[4];  // the last 16 bytes: two that are quants, twelve of scales, d
  F32x16 d(0.0f);
  for (int64_t b = 0; b < blocks; ++b) {
    const int part = static_cast<int>((first_block + b) % 8);
    const int64_t offset = (first_block + b) / 8 * kBytes;
    if (b == 0 || part == 0) {
      PrefetchRows(rows, ahead + offset);
      PrefetchRows(rows, ahead + offset + 64);
      LoadColumns(rows, offset + kBytes - 16, tail);
      d = HalfToFloat(tail[3] >> 16);
    }
    uint32_t* at = out.words + b * kWords<kPairs> * kPanel;
    for (int half = 0; half < 2; ++half) {
      U32x16 low[4], high[4];
      LoadColumns(rows, offset + 32 + 32 * (part / 4) + 16 * half, low);
      LoadColumns(rows, offset + 16 * half, high);
      Unroll<4>([&](auto j) QZO_VEC_LAMBDA {
        const U32x16 third = (high[j] >> part) & U32x16(0x01010101u);
        const U32x16 codes = TwoBits(low[j], part % 4 * 2) | third << 2;
        PutBytes<kPairs>(SubtractBytes(codes, U32x16(0x04040404u)), 4 * half + j, kByteFlip, at);
      });
      const int s = 2 * part + half;
      const U32x16 four = (ByteOf(tail, 2 + s % 8) >> (s / 8 * 4)) & U32x16(15u);
      const U32x16 two = (ByteOf(tail, 10 + s % 4) >> (s / 4 * 2)) & U32x16(3u);
      Store(out.scales + (2 * b + half) * kPanel, d * SignedToFloat((four | two << 4) - U32x16(32u)));
    }
  }
}

template <bool kPairs>
void DecodeIQ4_XS(const std::byte* const* rows, int64_t ahead, int64_t first_block, int64_t blocks,
                  const CodePanel& out) {
  constexpr int64_t kBytes = 136;
  U32x16 low(0u), high(0u);  // four bits of each part's scale, and two
  F32x16 d(0.0f);
  for (int64_t b = 0; b < blocks; ++b) {
    const int part = static_cast<int>((first_block + b) % 8);
    const int64_t offset = (first_block + b) / 8 * kBytes;
    if (part % 4 == 0) PrefetchRows(rows, ahead + offset + part * 16);
    if (b == 0 || part == 0) {
      const U32x16 header = GatherWords<4>(rows, offset);
      d = HalfToFloat(header & U32x16(0xffffu));
      high = header >> 16;
      low = GatherWords<4>(rows, offset + 4);
    }
    U32x16 words[4];
    LoadColumns(rows, offset + 8 + 16 * part, words);
    uint32_t* at = out.words + b * kWords<kPairs> * kPanel;
    Unroll<4>([&](auto j) QZO_VEC_LAMBDA { PutNonLinear<kPairs>(words[j], j, at); });
    const U32x16 scale = ((low >> (4 * part)) & U32x16(15u)) | ((high >> (2 * part)) & U32x16(3u)) << 4;
    Store(out.scales + b * kPanel, d * SignedToFloat(scale - U32x16(32u)));
  }
}

// Returns false for types that have no function here.
template <bool kPairs>
bool DecodeLargeCodes(WeightType type, const std::byte* const* rows, int64_t ahead, int64_t first_block, int64_t blocks,
                      const CodePanel& out) {
  const auto decode = [type] {
    switch (type) {
      case WeightType::kU2x128:
        return DecodePacked128<kPairs, 2>;
      case WeightType::kU3x128:
        return DecodePacked128<kPairs, 3>;
      case WeightType::kU4x128:
        return DecodePacked128<kPairs, 4>;
      case WeightType::kQ2_K:
        return DecodeQ2_K<kPairs>;
      case WeightType::kQ3_K:
        return DecodeQ3_K<kPairs>;
      case WeightType::kQ4_K:
        return DecodeQ45_K<kPairs, false>;
      case WeightType::kQ5_K:
        return DecodeQ45_K<kPairs, true>;
      case WeightType::kQ6_K:
        return DecodeQ6_K<kPairs>;
      case WeightType::kIQ4_XS:
        return DecodeIQ4_XS<kPairs>;
      default:
        return static_cast<decltype(&DecodeQ2_K<kPairs>)>(nullptr);
    }
  }();
  if (decode != nullptr) decode(rows, ahead, first_block, blocks, out);
  return decode != nullptr;
}

}  // namespace
}  // namespace qzo::kernels

#endif  // QZO_KERNELS_SIMD_LARGE_CODES_H_
