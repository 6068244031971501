// Types whose codes are rows of a fixed grid. Group l of a part is its values [8·l, 8·l + 8).
#include <array>
#include <bit>

#include "kernels/weight_blocks.h"

namespace qzo::kernels {
namespace {

#include "kernels/iq_grids.inc"

// The rows of a packed grid as codes.
template <int kValues, size_t kRows, size_t kMap>
constexpr auto Unpack(const uint16_t (&packed)[kRows], const int8_t (&map)[kMap]) {
  constexpr int kBits = kValues == 8 ? 2 : 3;
  std::array<std::array<int8_t, kValues>, kRows> grid{};
  for (size_t row = 0; row < kRows; ++row) {
    for (size_t i = 0; i < kValues; ++i) grid[row][i] = map[packed[row] >> kBits * i & ((1 << kBits) - 1)];
  }
  return grid;
}

constexpr int8_t kMap1[] = {-8, 0, 8};  // eighths, for deltas of ±1/8
constexpr int8_t kMap2[] = {8, 25, 43};
constexpr int8_t kMap3Xxs[] = {4, 12, 20, 28, 36, 44, 52, 62};
constexpr int8_t kMap3S[] = {1, 3, 5, 7, 9, 11, 13, 15};
constexpr auto kCodes1 = Unpack<8>(kGridIQ1, kMap1);
constexpr auto kCodes2Xxs = Unpack<8>(kGridIQ2_XXS, kMap2);
constexpr auto kCodes2Xs = Unpack<8>(kGridIQ2_XS, kMap2);
constexpr auto kCodes2S = Unpack<8>(kGridIQ2_S, kMap2);
constexpr auto kCodes3Xxs = Unpack<4>(kGridIQ3_XXS, kMap3Xxs);
constexpr auto kCodes3S = Unpack<4>(kGridIQ3_S, kMap3S);

// Bit i of `signs` negates code i.
void CopySigned(const int8_t* codes, int count, int signs, int8_t* out) {
  for (int i = 0; i < count; ++i) out[i] = static_cast<int8_t>((signs >> i & 1) != 0 ? -codes[i] : codes[i]);
}

// Seven stored signs; the eighth makes their number even.
int EvenSigns(uint32_t seven) {
  return static_cast<int>(seven | (static_cast<uint32_t>(std::popcount(seven)) & 1) << 7);
}

// Two scales of 4 bits, for 16 values each.
void SetHalfScales(float d, int nibbles, CodeBlock* out) {
  SetScale(0, out);
  out->scale[0] = d * static_cast<float>(2 * (nibbles & 15) + 1) * 0.125f;
  out->scale[1] = d * static_cast<float>(2 * (nibbles >> 4) + 1) * 0.125f;
}

void CopyShifted(const std::array<int8_t, 8>& codes, bool down, int8_t* out) {
  for (size_t i = 0; i < 8; ++i) out[i] = static_cast<int8_t>(down ? codes[i] - 1 : codes[i] + 1);
}

}  // namespace

void DecodeIQ2_XXS(const std::byte* block, int part, CodeBlock* out) {
  const std::byte* indices = block + 2 + 8 * part;
  const uint32_t packed = Load32(indices + 4);
  SetScale(LoadHalf(block) * static_cast<float>(2 * (packed >> 28) + 1) * 0.125f, out);
  for (int l = 0; l < 4; ++l) {
    const auto& codes = kCodes2Xxs[static_cast<size_t>(Load8(indices + l))];
    CopySigned(codes.data(), 8, EvenSigns(packed >> 7 * l & 127), out->codes + 8 * l);
  }
}

void DecodeIQ2_XS(const std::byte* block, int part, CodeBlock* out) {
  SetHalfScales(LoadHalf(block), Load8(block + 66 + part), out);
  for (int l = 0; l < 4; ++l) {
    const uint32_t packed = Load16(block + 2 + 8 * part + 2 * l);
    CopySigned(kCodes2Xs[packed & 511].data(), 8, EvenSigns(packed >> 9), out->codes + 8 * l);
  }
}

void DecodeIQ2_S(const std::byte* block, int part, CodeBlock* out) {
  SetHalfScales(LoadHalf(block), Load8(block + 74 + part), out);
  const int high = Load8(block + 66 + part);
  for (int l = 0; l < 4; ++l) {
    const int index = Load8(block + 2 + 4 * part + l) | (high >> 2 * l & 3) << 8;
    CopySigned(kCodes2S[static_cast<size_t>(index)].data(), 8, Load8(block + 34 + 4 * part + l), out->codes + 8 * l);
  }
}

void DecodeIQ3_XXS(const std::byte* block, int part, CodeBlock* out) {
  const uint32_t packed = Load32(block + 66 + 4 * part);
  SetScale(LoadHalf(block) * static_cast<float>(2 * (packed >> 28) + 1) * 0.25f, out);
  for (int l = 0; l < 8; ++l) {
    const int signs = EvenSigns(packed >> 7 * (l / 2) & 127) >> 4 * (l % 2);
    const auto& codes = kCodes3Xxs[static_cast<size_t>(Load8(block + 2 + 8 * part + l))];
    CopySigned(codes.data(), 4, signs, out->codes + 4 * l);
  }
}

void DecodeIQ3_S(const std::byte* block, int part, CodeBlock* out) {
  const int nibble = Load8(block + 106 + part / 2) >> 4 * (part % 2) & 15, high = Load8(block + 66 + part);
  SetScale(LoadHalf(block) * static_cast<float>(2 * nibble + 1), out);
  for (int l = 0; l < 8; ++l) {
    const int index = Load8(block + 2 + 8 * part + l) | (high >> l & 1) << 8;
    const int signs = Load8(block + 74 + 4 * part + l / 2) >> 4 * (l % 2);
    CopySigned(kCodes3S[static_cast<size_t>(index)].data(), 4, signs, out->codes + 4 * l);
  }
}

void DecodeIQ1_S(const std::byte* block, int part, CodeBlock* out) {
  const int high = Load16(block + 34 + 2 * part);
  SetScale(LoadHalf(block) * static_cast<float>(2 * (high >> 12 & 7) + 1) * 0.125f, out);
  for (int l = 0; l < 4; ++l) {
    const int index = Load8(block + 2 + 4 * part + l) | (high >> 3 * l & 7) << 8;
    CopyShifted(kCodes1[static_cast<size_t>(index)], high >> 15 != 0, out->codes + 8 * l);
  }
}

// The scale d is spread over the top four bits of the four words of 3-bit scales.
void DecodeIQ1_M(const std::byte* block, int part, CodeBlock* out) {
  uint16_t d = 0;
  for (int word = 0; word < 4; ++word) {
    d = static_cast<uint16_t>(d | Load16(block + 48 + 2 * word) >> 12 << 4 * word);
  }
  const int scales = Load16(block + 48 + 2 * (part / 2)) >> 6 * (part % 2);
  SetScale(0, out);
  for (int half = 0; half < 2; ++half) {
    out->scale[half] = HalfToFloat(d) * static_cast<float>(2 * (scales >> 3 * half & 7) + 1) * 0.125f;
  }
  for (int l = 0; l < 4; ++l) {
    const int high = Load8(block + 32 + 2 * part + l / 2) >> 4 * (l % 2);
    const int index = Load8(block + 4 * part + l) | (high & 7) << 8;
    CopyShifted(kCodes1[static_cast<size_t>(index)], (high & 8) != 0, out->codes + 8 * l);
  }
}

}  // namespace qzo::kernels
