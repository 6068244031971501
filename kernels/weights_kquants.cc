#include "kernels/weight_blocks.h"

namespace qzo::kernels {
namespace {

void SetPackedScale(const std::byte* block, int part, CodeBlock* out) {
  const SixBits bits = SixBitsOf(block + 4, part);
  SetScale(LoadHalf(block) * static_cast<float>(bits.scale), -(LoadHalf(block + 2) * static_cast<float>(bits.minimum)),
           out);
}

// Low nibbles of 32 bytes for even parts, high nibbles for odd ones.
int PartNibble(const std::byte* bytes, int part, int i) { return Load8(bytes + i) >> 4 * (part % 2) & 15; }

}  // namespace

void DecodeQ2_K(const std::byte* block, int part, CodeBlock* out) {
  const std::byte* quants = block + 16 + 32 * (part / 4);
  for (int i = 0; i < 32; ++i) out->codes[i] = static_cast<int8_t>(Load8(quants + i) >> 2 * (part % 4) & 3);
  const float d = LoadHalf(block + 80), minimum = LoadHalf(block + 82);
  for (int half = 0; half < 2; ++half) {
    const int packed = Load8(block + 2 * part + half);
    out->scale[half] = d * static_cast<float>(packed & 15);
    out->minimum[half] = -(minimum * static_cast<float>(packed >> 4));
  }
}

void DecodeQ3_K(const std::byte* block, int part, CodeBlock* out) {
  const std::byte* quants = block + 32 + 32 * (part / 4);
  for (int i = 0; i < 32; ++i) {
    const int low = Load8(quants + i) >> 2 * (part % 4) & 3, high = Load8(block + i) >> part & 1;
    out->codes[i] = static_cast<int8_t>((low | high << 2) - 4);
  }
  SetScale(0, out);
  const float d = LoadHalf(block + 108);
  for (int half = 0; half < 2; ++half) {
    const int s = 2 * part + half;
    const int low = Load8(block + 96 + s % 8) >> 4 * (s / 8) & 15, high = Load8(block + 104 + s % 4) >> 2 * (s / 4) & 3;
    out->scale[half] = d * static_cast<float>((low | high << 4) - 32);
  }
}

void DecodeQ4_K(const std::byte* block, int part, CodeBlock* out) {
  SetPackedScale(block, part, out);
  const std::byte* quants = block + 16 + 32 * (part / 2);
  for (int i = 0; i < 32; ++i) out->codes[i] = static_cast<int8_t>(PartNibble(quants, part, i));
}

void DecodeQ5_K(const std::byte* block, int part, CodeBlock* out) {
  SetPackedScale(block, part, out);
  const std::byte *fifth = block + 16, *quants = block + 48 + 32 * (part / 2);
  for (int i = 0; i < 32; ++i) {
    out->codes[i] = static_cast<int8_t>(PartNibble(quants, part, i) | (Load8(fifth + i) >> part & 1) << 4);
  }
}

void DecodeQ6_K(const std::byte* block, int part, CodeBlock* out) {
  const int half = part / 4, quarter = part % 4;
  const std::byte *low = block + 64 * half + 32 * (quarter % 2), *high = block + 128 + 32 * half;
  for (int i = 0; i < 32; ++i) {
    const int code = PartNibble(low, quarter / 2, i) | (Load8(high + i) >> 2 * quarter & 3) << 4;
    out->codes[i] = static_cast<int8_t>(code - 32);
  }
  SetScale(0, out);
  const float d = LoadHalf(block + 208);
  for (int s = 0; s < 2; ++s) {
    out->scale[s] = d * static_cast<float>(std::to_integer<int8_t>(block[192 + 2 * part + s]));
  }
}

void DecodeIQ4_XS(const std::byte* block, int part, CodeBlock* out) {
  const int low = Load8(block + 4 + part / 2) >> 4 * (part % 2) & 15, high = Load16(block + 2) >> 2 * part & 3;
  SetScale(LoadHalf(block) * static_cast<float>((low | high << 4) - 32), out);
  DecodeNibbles(block + 8 + 16 * part, out->codes, [](int, int nibble) { return kNonLinear[nibble]; });
}

// Five ternary digits a byte, the first the most significant; byte = ⌈digits · 256 / 243⌉. Digit n of bytes 0 … 31
// makes part n < 5; bytes 32 … 47 follow 16 values a digit, then four bytes with four digits each.
void DecodeTQ1_0(const std::byte* block, int part, CodeBlock* out) {
  static constexpr int kPowers[] = {1, 3, 9, 27, 81};
  const auto digit = [block](int byte, int n) {
    return static_cast<int8_t>(((Load8(block + byte) * kPowers[n] & 255) * 3 >> 8) - 1);
  };
  SetScale(LoadHalf(block + 52), out);
  for (int i = 0; i < 32; ++i) {
    const int value = 32 * part + i;
    out->codes[i] = value < 160   ? digit(i, part)
                    : value < 240 ? digit(32 + value % 16, (value - 160) / 16)
                                  : digit(48 + value % 4, (value - 240) / 4);
  }
}

void DecodeTQ2_0(const std::byte* block, int part, CodeBlock* out) {
  SetScale(LoadHalf(block + 64), out);
  const std::byte* quants = block + 32 * (part / 4);
  for (int i = 0; i < 32; ++i) out->codes[i] = static_cast<int8_t>((Load8(quants + i) >> 2 * (part % 4) & 3) - 1);
}

}  // namespace qzo::kernels
