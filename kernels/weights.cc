#include "kernels/weights.h"

#include <cstring>

#include "base/log.h"
#include "kernels/exact_math.h"

namespace qzo::kernels {
namespace {

struct TypeInfo {
  std::string_view name;
  int64_t values;
  int64_t bytes;
};

// In the order of WeightType.
constexpr TypeInfo kTypes[] = {{"F32", 1, 4},    {"F16", 1, 2},    {"BF16", 1, 2},
                               {"Q4_0", 32, 18}, {"Q4_1", 32, 20}, {"Q8_0", 32, 34}};

const TypeInfo& Info(WeightType type) { return kTypes[static_cast<size_t>(type)]; }

uint16_t Load16(const std::byte* p) {
  uint16_t value;
  std::memcpy(&value, p, sizeof(value));
  return value;
}

// Blocks of 32: half d, then 16 bytes of nibbles, low nibbles first; Q4_1 has a half minimum after d.
void DecodeNibbles(const std::byte* quants, float d, int bias, float minimum, bool has_minimum, float* out) {
  for (int i = 0; i < 16; ++i) {
    const int byte = std::to_integer<int>(quants[i]);
    const float low = d * static_cast<float>((byte & 15) - bias);
    const float high = d * static_cast<float>((byte >> 4) - bias);
    out[i] = has_minimum ? low + minimum : low;
    out[i + 16] = has_minimum ? high + minimum : high;
  }
}

}  // namespace

int64_t BlockValues(WeightType type) { return Info(type).values; }
int64_t BlockBytes(WeightType type) { return Info(type).bytes; }
std::string_view WeightTypeName(WeightType type) { return Info(type).name; }

float HalfToFloat(uint16_t half) {
  const uint32_t sign = (half & 0x8000u) << 16;
  const uint32_t magnitude = half & 0x7fffu;
  if (magnitude >= 0x7c00u) {
    const uint32_t quiet = magnitude > 0x7c00u ? 0x00400000u : 0;
    return FromBits(sign | 0x7f800000u | quiet | (magnitude & 0x3ffu) << 13);
  }
  return FromBits(Bits(FromBits(magnitude << 13) * 0x1p112f) |
                  sign);  // moves the exponent's bias; exact for denormals too
}

void DequantizeRow(const WeightMatrix& w, int64_t row, float* out) {
  QZO_CHECK(w.cols % BlockValues(w.type) == 0);
  const int64_t blocks = w.cols / BlockValues(w.type);
  const int64_t bytes = BlockBytes(w.type);
  const std::byte* p = w.data + row * blocks * bytes;
  switch (w.type) {
    case WeightType::kF32:
      std::memcpy(out, p, static_cast<size_t>(blocks * bytes));
      return;
    case WeightType::kF16:
      for (int64_t i = 0; i < blocks; ++i) out[i] = HalfToFloat(Load16(p + 2 * i));
      return;
    case WeightType::kBF16:
      for (int64_t i = 0; i < blocks; ++i) out[i] = FromBits(uint32_t{Load16(p + 2 * i)} << 16);
      return;
    case WeightType::kQ4_0:
      for (int64_t b = 0; b < blocks; ++b, p += bytes) {
        DecodeNibbles(p + 2, HalfToFloat(Load16(p)), 8, 0, false, out + 32 * b);
      }
      return;
    case WeightType::kQ4_1:
      for (int64_t b = 0; b < blocks; ++b, p += bytes) {
        DecodeNibbles(p + 4, HalfToFloat(Load16(p)), 0, HalfToFloat(Load16(p + 2)), true, out + 32 * b);
      }
      return;
    case WeightType::kQ8_0:
      for (int64_t b = 0; b < blocks; ++b, p += bytes) {
        const float d = HalfToFloat(Load16(p));
        for (int i = 0; i < 32; ++i) out[32 * b + i] = d * static_cast<float>(std::to_integer<int8_t>(p[2 + i]));
      }
      return;
  }
}

}  // namespace qzo::kernels
