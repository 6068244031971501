#include "client/export.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <map>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "kernels/weights.h"
#include "model/formats/gguf_patch.h"

namespace qzo::client {
namespace {

using ::qzo::model::GgmlType;
using ::qzo::model::GgufTensor;

float Bf16ToFloat(uint16_t value) { return std::bit_cast<float>(uint32_t{value} << 16); }
uint32_t FloatBits(float value) { return std::bit_cast<uint32_t>(value); }

// How a stored number is read, written and bounded.
struct Half {
  using Stored = uint16_t;
  static float Load(Stored stored) { return kernels::HalfToFloat(stored); }
  static Stored Store(float value) { return FloatToHalf(value); }
  static constexpr float kLargest = 65504.0f;
  static constexpr float kSmallestNormal = 0x1p-14f;
};
struct Bf16 {
  using Stored = uint16_t;
  static float Load(Stored stored) { return Bf16ToFloat(stored); }
  static Stored Store(float value) { return FloatToBf16(value); }
  static constexpr float kLargest = 0x1.fep127f;
  static constexpr float kSmallestNormal = 0x1p-126f;
};
struct Single {
  using Stored = uint32_t;
  static float Load(Stored stored) { return std::bit_cast<float>(stored); }
  static Stored Store(float value) { return FloatBits(value); }
  static constexpr float kLargest = 0x1.fffffep127f;
  static constexpr float kSmallestNormal = 0x1p-126f;
};

// Multiplies the number stored at `at`, which has any alignment.
template <typename Format>
void Multiply(float multiplier, char* at, ExportReport* report) {
  typename Format::Stored stored;
  std::memcpy(&stored, at, sizeof stored);
  const double exact = double{multiplier} * double{Format::Load(stored)};
  float rounded = Format::Load(Format::Store(static_cast<float>(exact)));
  ++report->values;
  if (std::isinf(rounded)) {
    ++report->overflowed;
    rounded = std::copysign(Format::kLargest, rounded);
  } else if (exact != 0 && std::fabs(exact) < double{Format::kSmallestNormal}) {
    ++report->subnormal;
  } else if (exact != 0) {
    report->max_relative_error = std::max(report->max_relative_error, std::fabs(double{rounded} / exact - 1));
  }
  stored = Format::Store(rounded);
  std::memcpy(at, &stored, sizeof stored);
}

// Where a block of a quantized type has the half-precision scale, and minimum, to which all its values are
// proportional. Empty for types without: MXFP4's scale is a power of two, IQ1_M's is in pieces.
std::vector<size_t> HalvesOf(GgmlType type) {
  switch (type) {
    case GgmlType::kQ4_1:
    case GgmlType::kQ5_1:
    case GgmlType::kQ4_K:
    case GgmlType::kQ5_K:
      return {0, 2};
    case GgmlType::kQ2_K:
      return {80, 82};
    case GgmlType::kQ3_K:
      return {108};
    case GgmlType::kQ6_K:
      return {208};
    case GgmlType::kTQ1_0:
      return {52};
    case GgmlType::kTQ2_0:
      return {64};
    case GgmlType::kMXFP4:
    case GgmlType::kIQ1_M:
      return {};
    default:
      return {0};
  }
}

absl::StatusOr<std::string> MultiplyTensor(const GgufTensor& tensor, const method::PartitionTensor& trained,
                                           absl::Span<const float> multipliers, ExportReport* report) {
  const model::GgmlTypeInfo& type = *model::FindGgmlType(static_cast<uint32_t>(tensor.type));
  const int64_t blocks_per_row = trained.shape.cols / type.block_values;
  const int64_t per_row = trained.count / trained.shape.rows;  // multipliers of a row: 1, or one per scale group
  const std::vector<size_t> halves = HalvesOf(tensor.type);
  std::string bytes(tensor.bytes);
  if (static_cast<int64_t>(bytes.size()) != trained.shape.rows * blocks_per_row * type.block_bytes) {
    return absl::InvalidArgumentError(
        absl::StrCat(tensor.name, ": ", bytes.size(), " bytes, which is not the shape trained"));
  }
  if (halves.empty()) {
    return absl::InvalidArgumentError(absl::StrCat(tensor.name, ": type ", std::string(type.name),
                                                   " cannot be exported: its blocks have no scale in half precision"));
  }
  if (per_row > blocks_per_row) {
    return absl::InvalidArgumentError(absl::StrCat(tensor.name, ": type ", std::string(type.name),
                                                   " keeps one scale in half precision for ", per_row / blocks_per_row,
                                                   " scale groups: export needs an adapter of granularity CHANNEL"));
  }
  char* block = bytes.data();
  for (int64_t row = 0; row < trained.shape.rows; ++row) {
    for (int64_t i = 0; i < blocks_per_row; ++i, block += type.block_bytes) {
      const float multiplier =
          multipliers[static_cast<size_t>(trained.offset + row * per_row + i * per_row / blocks_per_row)];
      if (tensor.type == GgmlType::kF32) {
        Multiply<Single>(multiplier, block, report);
      } else if (tensor.type == GgmlType::kBF16) {
        Multiply<Bf16>(multiplier, block, report);
      } else {
        for (const size_t half : halves) Multiply<Half>(multiplier, block + half, report);
      }
    }
  }
  ++report->tensors;
  return bytes;
}

}  // namespace

uint16_t FloatToHalf(float value) {
  const uint32_t bits = FloatBits(value);
  const auto sign = static_cast<uint16_t>(bits >> 16 & 0x8000);
  const uint32_t magnitude = bits & 0x7FFFFFFF;
  if (magnitude > 0x7F800000) return sign | 0x7E00;
  if (magnitude >= 0x477FF000) return sign | 0x7C00;  // from 65520 on, half way to the next power, ties to even go up
  if (magnitude < 0x38800000) {  // below 2^-14: adding 1/2 shifts the bits into place and rounds them
    return sign | static_cast<uint16_t>(FloatBits(std::bit_cast<float>(magnitude) + 0.5f) - FloatBits(0.5f));
  }
  const uint32_t rounded = magnitude + 0xFFF + (magnitude >> 13 & 1);
  return sign | static_cast<uint16_t>((rounded - 0x38000000) >> 13);
}

uint16_t FloatToBf16(float value) {
  const uint32_t bits = FloatBits(value);
  if ((bits & 0x7FFFFFFF) > 0x7F800000) return static_cast<uint16_t>(bits >> 16 | 0x40);
  return static_cast<uint16_t>((bits + 0x7FFF + (bits >> 16 & 1)) >> 16);
}

absl::StatusOr<ExportReport> ExportGguf(base::FileSystem* fs, const model::GgufFile& file,
                                        const method::Partition& partition, absl::Span<const float> multipliers,
                                        const std::string& destination) {
  ExportReport report;
  std::map<std::string, model::TensorReplacement> replacements;
  for (const method::PartitionTensor& trained : partition.tensors()) {
    replacements[trained.shape.name] = [&trained, multipliers, &report](const GgufTensor& tensor) {
      return MultiplyTensor(tensor, trained, multipliers, &report);
    };
  }
  QZO_RETURN_IF_ERROR(model::WriteGgufWithReplacedTensors(fs, file, replacements, destination));
  return report;
}

}  // namespace qzo::client
