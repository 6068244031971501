// The decoders behind DecodeCodes, a function per storage type. Layouts: docs/formats.md, "Storage types".
#ifndef QZO_KERNELS_WEIGHT_BLOCKS_H_
#define QZO_KERNELS_WEIGHT_BLOCKS_H_

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "kernels/weights.h"

namespace qzo::kernels {

// Values [32 · part, 32 · part + 32) of a block.
using BlockDecoder = void (*)(const std::byte* block, int part, CodeBlock* out);

// weights_legacy.cc: blocks of 32
void DecodeQ4_0(const std::byte* block, int part, CodeBlock* out);
void DecodeQ4_1(const std::byte* block, int part, CodeBlock* out);
void DecodeQ5_0(const std::byte* block, int part, CodeBlock* out);
void DecodeQ5_1(const std::byte* block, int part, CodeBlock* out);
void DecodeQ8_0(const std::byte* block, int part, CodeBlock* out);
void DecodeIQ4_NL(const std::byte* block, int part, CodeBlock* out);
void DecodeMXFP4(const std::byte* block, int part, CodeBlock* out);

// weights_kquants.cc: blocks of 256
void DecodeQ2_K(const std::byte* block, int part, CodeBlock* out);
void DecodeQ3_K(const std::byte* block, int part, CodeBlock* out);
void DecodeQ4_K(const std::byte* block, int part, CodeBlock* out);
void DecodeQ5_K(const std::byte* block, int part, CodeBlock* out);
void DecodeQ6_K(const std::byte* block, int part, CodeBlock* out);
void DecodeIQ4_XS(const std::byte* block, int part, CodeBlock* out);
void DecodeTQ1_0(const std::byte* block, int part, CodeBlock* out);
void DecodeTQ2_0(const std::byte* block, int part, CodeBlock* out);

// weights_iq.cc: blocks of 256, codes from grids
void DecodeIQ1_S(const std::byte* block, int part, CodeBlock* out);
void DecodeIQ1_M(const std::byte* block, int part, CodeBlock* out);
void DecodeIQ2_XXS(const std::byte* block, int part, CodeBlock* out);
void DecodeIQ2_XS(const std::byte* block, int part, CodeBlock* out);
void DecodeIQ2_S(const std::byte* block, int part, CodeBlock* out);
void DecodeIQ3_XXS(const std::byte* block, int part, CodeBlock* out);
void DecodeIQ3_S(const std::byte* block, int part, CodeBlock* out);

// weights_packed.cc
void DecodeU2(const std::byte* block, int part, CodeBlock* out);
void DecodeU3(const std::byte* block, int part, CodeBlock* out);
void DecodeU4(const std::byte* block, int part, CodeBlock* out);
void DecodeU8(const std::byte* block, int part, CodeBlock* out);
int PackedZero(const std::byte* block);

inline int Load8(const std::byte* p) { return std::to_integer<int>(*p); }
inline uint16_t Load16(const std::byte* p) {
  uint16_t value;
  std::memcpy(&value, p, sizeof(value));
  return value;
}
inline uint32_t Load32(const std::byte* p) {
  uint32_t value;
  std::memcpy(&value, p, sizeof(value));
  return value;
}
inline float LoadHalf(const std::byte* p) { return HalfToFloat(Load16(p)); }

// Scale and minimum numbers of 6 bits, which Q4_K and Q5_K pack in 12 bytes.
struct SixBits {
  int scale;
  int minimum;
};
inline SixBits SixBitsOf(const std::byte* packed, int part) {
  const auto at = [packed](int i) { return Load8(packed + i); };
  if (part < 4) return {at(part) & 63, at(part + 4) & 63};
  return {(at(part + 4) & 15) | at(part - 4) >> 6 << 4, at(part + 4) >> 4 | at(part) >> 6 << 4};
}

// What IQ4_NL and IQ4_XS mean by a nibble.
inline constexpr int8_t kNonLinear[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};

inline void SetScale(float scale, float minimum, CodeBlock* out) {
  out->scale[0] = out->scale[1] = scale;
  out->minimum[0] = out->minimum[1] = minimum;
}
inline void SetScale(float scale, CodeBlock* out) { SetScale(scale, -0.0f, out); }

// codes i and i + 16 = code(i, low nibble of byte i), code(i + 16, its high nibble)
template <typename Code>
void DecodeNibbles(const std::byte* bytes, int8_t* codes, Code&& code) {
  for (int i = 0; i < 16; ++i) {
    const int byte = Load8(bytes + i);
    codes[i] = static_cast<int8_t>(code(i, byte & 15));
    codes[i + 16] = static_cast<int8_t>(code(i + 16, byte >> 4));
  }
}

}  // namespace qzo::kernels

#endif  // QZO_KERNELS_WEIGHT_BLOCKS_H_
