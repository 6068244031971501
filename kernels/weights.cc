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

void SetScale(float scale, float minimum, CodeBlock* out) {
  out->scale[0] = out->scale[1] = scale;
  out->minimum[0] = out->minimum[1] = minimum;
}

// Low nibbles first.
void SetNibbles(const std::byte* quants, int bias, CodeBlock* out) {
  for (int i = 0; i < 16; ++i) {
    const int byte = std::to_integer<int>(quants[i]);
    out->codes[i] = static_cast<int8_t>((byte & 15) - bias);
    out->codes[i + 16] = static_cast<int8_t>((byte >> 4) - bias);
  }
}

}  // namespace

int64_t BlockValues(WeightType type) { return Info(type).values; }
int64_t BlockBytes(WeightType type) { return Info(type).bytes; }
std::string_view WeightTypeName(WeightType type) { return Info(type).name; }
bool HasMinimum(WeightType type) { return type == WeightType::kQ4_1; }

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

// Blocks of 32: half d, then codes; Q4_1 has a half minimum after d.
void DecodeCodes(WeightType type, const std::byte* row, int64_t first_value, CodeBlock* out) {
  const std::byte* block = row + first_value / 32 * BlockBytes(type);
  const float d = HalfToFloat(Load16(block));
  switch (type) {
    case WeightType::kQ4_0:
      SetScale(d, 0, out);
      return SetNibbles(block + 2, 8, out);
    case WeightType::kQ4_1:
      SetScale(d, HalfToFloat(Load16(block + 2)), out);
      return SetNibbles(block + 4, 0, out);
    case WeightType::kQ8_0:
      SetScale(d, 0, out);
      std::memcpy(out->codes, block + 2, 32);
      return;
    default:
      QZO_CHECK(false);
  }
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
    default:
      for (int64_t k = 0; k < w.cols; k += 32) {
        CodeBlock block;
        DecodeCodes(w.type, p, k, &block);
        for (int i = 0; i < 32; ++i) {
          const float value = block.scale[i / 16] * static_cast<float>(block.codes[i]);
          out[k + i] = HasMinimum(w.type) ? value + block.minimum[i / 16] : value;
        }
      }
  }
}

}  // namespace qzo::kernels
