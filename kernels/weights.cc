#include "kernels/weights.h"

#include <cstring>
#include <iterator>

#include "base/log.h"
#include "kernels/code_range.h"
#include "kernels/exact_math.h"
#include "kernels/weight_blocks.h"

namespace qzo::kernels {
namespace {

struct TypeInfo {
  std::string_view name;
  int64_t values;
  int64_t bytes;
  int64_t group;
  BlockDecoder decode = nullptr;  // of quantized types without a codebook
};

// In the order of WeightType.
constexpr TypeInfo kTypes[] = {{"F32", 1, 4, 1},
                               {"F16", 1, 2, 1},
                               {"BF16", 1, 2, 1},
                               {"Q4_0", 32, 18, 32, DecodeQ4_0},
                               {"Q4_1", 32, 20, 32, DecodeQ4_1},
                               {"Q5_0", 32, 22, 32, DecodeQ5_0},
                               {"Q5_1", 32, 24, 32, DecodeQ5_1},
                               {"Q8_0", 32, 34, 32, DecodeQ8_0},
                               {"IQ4_NL", 32, 18, 32, DecodeIQ4_NL},
                               {"MXFP4", 32, 17, 32, DecodeMXFP4},
                               {"Q2_K", 256, 84, 16, DecodeQ2_K},
                               {"Q3_K", 256, 110, 16, DecodeQ3_K},
                               {"Q4_K", 256, 144, 32, DecodeQ4_K},
                               {"Q5_K", 256, 176, 32, DecodeQ5_K},
                               {"Q6_K", 256, 210, 16, DecodeQ6_K},
                               {"IQ4_XS", 256, 136, 32, DecodeIQ4_XS},
                               {"TQ1_0", 256, 54, 256, DecodeTQ1_0},
                               {"TQ2_0", 256, 66, 256, DecodeTQ2_0},
                               {"IQ1_S", 256, 50, 32, DecodeIQ1_S},
                               {"IQ1_M", 256, 56, 16, DecodeIQ1_M},
                               {"IQ2_XXS", 256, 66, 32, DecodeIQ2_XXS},
                               {"IQ2_XS", 256, 74, 16, DecodeIQ2_XS},
                               {"IQ2_S", 256, 82, 16, DecodeIQ2_S},
                               {"IQ3_XXS", 256, 98, 32, DecodeIQ3_XXS},
                               {"IQ3_S", 256, 110, 32, DecodeIQ3_S},
                               {"U2x32", 32, 12, 32, DecodeU2},
                               {"U3x32", 32, 16, 32, DecodeU3},
                               {"U4x32", 32, 20, 32, DecodeU4},
                               {"U8x32", 32, 36, 32, DecodeU8},
                               {"U2x128", 128, 36, 128, DecodeU2},
                               {"U3x128", 128, 52, 128, DecodeU3},
                               {"U4x128", 128, 68, 128, DecodeU4},
                               {"U8x128", 128, 132, 128, DecodeU8},
                               {"B4", 32, 16, 32},
                               {"B1x8", 32, 4, 32},
                               {"B2x8", 32, 8, 32},
                               {"B1x16", 32, 8, 32}};

const TypeInfo& Info(WeightType type) { return kTypes[static_cast<size_t>(type)]; }

}  // namespace

int64_t BlockValues(WeightType type) { return Info(type).values; }
int64_t BlockBytes(WeightType type) { return Info(type).bytes; }
int64_t GroupValues(WeightType type) { return Info(type).group; }
std::string_view WeightTypeName(WeightType type) { return Info(type).name; }
bool HasMinimum(WeightType type) {
  return type == WeightType::kQ4_1 || type == WeightType::kQ5_1 || type == WeightType::kQ2_K ||
         type == WeightType::kQ4_K || type == WeightType::kQ5_K;
}

bool HasSmallCodes(WeightType type) {
  switch (type) {
    case WeightType::kQ4_0:
    case WeightType::kQ4_1:
    case WeightType::kQ5_0:
    case WeightType::kMXFP4:
    case WeightType::kQ2_K:
    case WeightType::kQ3_K:
    case WeightType::kQ4_K:
    case WeightType::kTQ1_0:
    case WeightType::kTQ2_0:
    case WeightType::kIQ1_S:
    case WeightType::kIQ1_M:
    case WeightType::kIQ3_S:
    case WeightType::kU2x32:
    case WeightType::kU3x32:
    case WeightType::kU4x32:
    case WeightType::kU2x128:
    case WeightType::kU3x128:
    case WeightType::kU4x128:
      return true;
    default:
      return false;
  }
}

std::optional<WeightType> FindWeightType(std::string_view name) {
  for (size_t type = 0; type < std::size(kTypes); ++type) {
    if (kTypes[type].name == name) return static_cast<WeightType>(type);
  }
  return std::nullopt;
}

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

void DecodeCodes(WeightType type, const std::byte* row, int64_t first_value, CodeBlock* out) {
  const TypeInfo& info = Info(type);
  const int64_t block = first_value / info.values;
  info.decode(row + block * info.bytes, static_cast<int>((first_value - block * info.values) / 32), out);
}

void DequantizeRow(const WeightMatrix& w, int64_t row, float* out) {
  QZO_CHECK(w.cols % BlockValues(w.type) == 0);
  const int64_t bytes = w.cols / BlockValues(w.type) * BlockBytes(w.type);
  const std::byte* p = w.data + row * bytes;
  switch (w.type) {
    case WeightType::kF32:
      std::memcpy(out, p, static_cast<size_t>(bytes));
      return;
    case WeightType::kF16:
      for (int64_t i = 0; i < w.cols; ++i) out[i] = LoadHalf(p + 2 * i);
      return;
    case WeightType::kBF16:
      for (int64_t i = 0; i < w.cols; ++i) out[i] = FromBits(uint32_t{Load16(p + 2 * i)} << 16);
      return;
    default:
      for (int64_t k = 0; k < w.cols; k += 32) {
        if (HasCodebook(w.type)) {
          DecodeEntries(w, row, k, out + k);
          continue;
        }
        CodeBlock block;
        DecodeCodes(w.type, p, k, &block);
        for (int i = 0; i < 32; ++i) {
          out[k + i] = Fma(block.scale[i / 16], static_cast<float>(block.codes[i]), block.minimum[i / 16]);
        }
      }
  }
}

}  // namespace qzo::kernels
