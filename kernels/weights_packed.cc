// Groups of b-bit codes with a scale and a zero of their own: what checkpoints' quantized layers are repacked to. A
// block is a word, then 4 · b bytes for every 32 values: value = scale · (code − zero). The word is the fp32 scale with
// the zero in its last 13 bits, which are 0 in scales that were stored in 16 bits of either kind.
#include <bit>

#include "base/log.h"
#include "kernels/weight_blocks.h"

namespace qzo::kernels {
namespace {

constexpr int kHeader = 4;
constexpr uint32_t kZeroMask = (1u << 13) - 1;

float LoadScale(const std::byte* block) { return std::bit_cast<float>(Load32(block) & ~kZeroMask); }

}  // namespace

int PackedZero(const std::byte* block) { return static_cast<int>(Load32(block) & kZeroMask); }

// Byte j (0 … 7) holds values j, j + 8, j + 16, j + 24, two bits each from the lowest.
void DecodeU2(const std::byte* block, int part, CodeBlock* out) {
  SetScale(LoadScale(block), out);
  const int zero = PackedZero(block);
  const std::byte* codes = block + kHeader + 8 * part;
  for (int i = 0; i < 32; ++i) out->codes[i] = static_cast<int8_t>((Load8(codes + i % 8) >> 2 * (i / 8) & 3) - zero);
}

// As DecodeU2, then a word with the third bits.
void DecodeU3(const std::byte* block, int part, CodeBlock* out) {
  SetScale(LoadScale(block), out);
  const int zero = PackedZero(block);
  const std::byte* codes = block + kHeader + 12 * part;
  const uint32_t third = Load32(codes + 8);
  for (int i = 0; i < 32; ++i) {
    const int code = (Load8(codes + i % 8) >> 2 * (i / 8) & 3) | static_cast<int>(third >> i & 1) << 2;
    out->codes[i] = static_cast<int8_t>(code - zero);
  }
}

void DecodeU4(const std::byte* block, int part, CodeBlock* out) {
  SetScale(LoadScale(block), out);
  const int zero = PackedZero(block);
  DecodeNibbles(block + kHeader + 16 * part, out->codes, [zero](int, int nibble) { return nibble - zero; });
}

// Bytes less 128, so that they are codes as they are; what the zero is away from 128 becomes a minimum.
void DecodeU8(const std::byte* block, int part, CodeBlock* out) {
  const int zero = PackedZero(block);
  const float scale = LoadScale(block);
  SetScale(scale, zero == 128 ? -0.0f : scale * static_cast<float>(128 - zero), out);
  std::memcpy(out->codes, block + kHeader + 32 * part, sizeof(out->codes));
}

WeightType PackedType(int bits, bool wide) {
  switch (bits) {
    case 2:
      return wide ? WeightType::kU2x128 : WeightType::kU2x32;
    case 3:
      return wide ? WeightType::kU3x128 : WeightType::kU3x32;
    case 4:
      return wide ? WeightType::kU4x128 : WeightType::kU4x32;
    default:
      QZO_CHECK(bits == 8);
      return wide ? WeightType::kU8x128 : WeightType::kU8x32;
  }
}

void EncodeCodes(WeightType type, float scale, int zero, const uint8_t* codes, int64_t first_value, std::byte* row) {
  const int64_t values = BlockValues(type), bytes = (BlockBytes(type) - kHeader) / (values / 32);  // of 32 codes
  std::byte* block = row + first_value / values * BlockBytes(type);
  const uint32_t scale_bits = std::bit_cast<uint32_t>(scale), word = scale_bits | static_cast<uint32_t>(zero);
  QZO_CHECK((scale_bits & kZeroMask) == 0 && zero >= 0 && zero <= static_cast<int>(kZeroMask));
  std::memcpy(block, &word, sizeof(word));
  std::byte* out = block + kHeader + first_value % values / 32 * bytes;
  if (bytes == 32) {
    for (int i = 0; i < 32; ++i) out[i] = static_cast<std::byte>(codes[i] ^ 128);
    return;
  }
  if (bytes == 16) {
    for (int i = 0; i < 16; ++i) out[i] = static_cast<std::byte>(codes[i] | codes[i + 16] << 4);
    return;
  }
  for (int j = 0; j < 8; ++j) {
    out[j] = static_cast<std::byte>((codes[j] & 3) | (codes[j + 8] & 3) << 2 | (codes[j + 16] & 3) << 4 |
                                    (codes[j + 24] & 3) << 6);
  }
  if (bytes == 8) return;
  uint32_t third = 0;
  for (int i = 0; i < 32; ++i) third |= static_cast<uint32_t>(codes[i] >> 2) << i;
  std::memcpy(out + 8, &third, sizeof(third));
}

}  // namespace qzo::kernels
