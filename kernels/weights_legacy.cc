#include "kernels/exact_math.h"
#include "kernels/weight_blocks.h"

namespace qzo::kernels {

void DecodeQ4_0(const std::byte* block, int, CodeBlock* out) {
  SetScale(LoadHalf(block), out);
  DecodeNibbles(block + 2, out->codes, [](int, int nibble) { return nibble - 8; });
}

void DecodeQ4_1(const std::byte* block, int, CodeBlock* out) {
  SetScale(LoadHalf(block), LoadHalf(block + 2), out);
  DecodeNibbles(block + 4, out->codes, [](int, int nibble) { return nibble; });
}

void DecodeQ5_0(const std::byte* block, int, CodeBlock* out) {
  SetScale(LoadHalf(block), out);
  const uint32_t fifth = Load32(block + 2);
  DecodeNibbles(block + 6, out->codes,
                [&](int i, int nibble) { return (nibble | static_cast<int>(fifth >> i & 1) << 4) - 16; });
}

void DecodeQ5_1(const std::byte* block, int, CodeBlock* out) {
  SetScale(LoadHalf(block), LoadHalf(block + 2), out);
  const uint32_t fifth = Load32(block + 4);
  DecodeNibbles(block + 8, out->codes,
                [&](int i, int nibble) { return nibble | static_cast<int>(fifth >> i & 1) << 4; });
}

void DecodeQ8_0(const std::byte* block, int, CodeBlock* out) {
  SetScale(LoadHalf(block), out);
  std::memcpy(out->codes, block + 2, sizeof(out->codes));
}

void DecodeIQ4_NL(const std::byte* block, int, CodeBlock* out) {
  SetScale(LoadHalf(block), out);
  DecodeNibbles(block + 2, out->codes, [](int, int nibble) { return kNonLinear[nibble]; });
}

// Codes are doubled E2M1 numbers, so the scale is half of the block's power of two: 2^(e − 128), denormal for e < 2.
void DecodeMXFP4(const std::byte* block, int, CodeBlock* out) {
  static constexpr int8_t kDoubled[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};
  const uint32_t e = static_cast<uint32_t>(Load8(block));
  SetScale(FromBits(e < 2 ? 0x00200000u << e : (e - 1) << 23), out);
  DecodeNibbles(block + 1, out->codes, [](int, int nibble) { return kDoubled[nibble]; });
}

}  // namespace qzo::kernels
