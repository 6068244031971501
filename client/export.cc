#include "client/export.h"

#include <cmath>
#include <cstring>
#include <map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "client/requantize.h"
#include "kernels/weights.h"
#include "model/formats/gguf_patch.h"

namespace qzo::client {
namespace {

using ::qzo::model::GgmlType;
using ::qzo::model::GgufTensor;

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

// IQ1_M spreads the half over the highest four bits of each of the last four words.
void MultiplySpreadHalf(float multiplier, char* block, Rounding* rounding) {
  constexpr size_t kWords = 48;
  uint16_t words[4];
  std::memcpy(words, block + kWords, sizeof words);
  uint16_t half = 0;
  for (int i = 0; i < 4; ++i) half = static_cast<uint16_t>(half | (words[i] >> 12) << 4 * i);
  half = MultiplyHalf(multiplier, half, rounding);
  for (int i = 0; i < 4; ++i) words[i] = static_cast<uint16_t>((words[i] & 0x0FFF) | (half >> 4 * i & 0xF) << 12);
  std::memcpy(block + kWords, words, sizeof words);
}

const model::GgmlTypeInfo& InfoOf(GgmlType type) { return *model::FindGgmlType(static_cast<uint32_t>(type)); }

// How the multipliers of a tensor lie beside its blocks.
struct Layout {
  int64_t blocks_per_row = 0;
  int64_t per_row = 0;  // multipliers: 1, or one per scale group
};

Layout LayoutOf(GgmlType type, const method::PartitionTensor& trained) {
  return {.blocks_per_row = trained.shape.cols / InfoOf(type).block_values,
          .per_row = trained.count / trained.shape.rows};
}

bool Holds(GgmlType type, const method::PartitionTensor& trained) {
  const Layout layout = LayoutOf(type, trained);
  return type != GgmlType::kMXFP4 && layout.per_row <= layout.blocks_per_row;
}

absl::Status CheckShape(const GgufTensor& tensor, const method::PartitionTensor& trained) {
  const int64_t blocks = trained.shape.rows * LayoutOf(tensor.type, trained).blocks_per_row;
  if (static_cast<int64_t>(tensor.bytes.size()) == blocks * InfoOf(tensor.type).block_bytes) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(tensor.name, ": ", tensor.bytes.size(), " bytes, which is not the shape trained"));
}

// In the tensor's own type.
std::string Multiply(const GgufTensor& tensor, const method::PartitionTensor& trained,
                     absl::Span<const float> multipliers, Rounding* rounding) {
  const Layout layout = LayoutOf(tensor.type, trained);
  const std::vector<size_t> halves = HalvesOf(tensor.type);
  std::string bytes(tensor.bytes);
  char* block = bytes.data();
  for (int64_t row = 0; row < trained.shape.rows; ++row) {
    for (int64_t i = 0; i < layout.blocks_per_row; ++i, block += InfoOf(tensor.type).block_bytes) {
      const float multiplier = multipliers[static_cast<size_t>(trained.offset + row * layout.per_row +
                                                               i * layout.per_row / layout.blocks_per_row)];
      if (tensor.type == GgmlType::kF32) {
        MultiplyStored(Number::kF32, multiplier, block, rounding);
      } else if (tensor.type == GgmlType::kBF16) {
        MultiplyStored(Number::kBF16, multiplier, block, rounding);
      } else if (tensor.type == GgmlType::kIQ1_M) {
        MultiplySpreadHalf(multiplier, block, rounding);
      } else {
        for (const size_t half : halves) MultiplyStored(Number::kF16, multiplier, block + half, rounding);
      }
    }
  }
  return bytes;
}

// With its deltas, in its own type.
std::string AddDeltas(const GgufTensor& tensor, const method::PartitionTensor& trained,
                      absl::Span<const float> multipliers, Rounding* rounding) {
  const Number number = tensor.type == GgmlType::kF32   ? Number::kF32
                        : tensor.type == GgmlType::kF16 ? Number::kF16
                                                        : Number::kBF16;
  std::string bytes(tensor.bytes);
  char* at = bytes.data();
  for (const float delta :
       multipliers.subspan(static_cast<size_t>(trained.offset), static_cast<size_t>(trained.count))) {
    AddStored(number, delta, at, rounding);
    at += InfoOf(tensor.type).block_bytes;
  }
  return bytes;
}

// In another type.
std::string Convert(const GgufTensor& tensor, const method::PartitionTensor& trained,
                    absl::Span<const float> multipliers, GgmlType type) {
  const method::TensorShape& shape = trained.shape;
  const int64_t per_row = LayoutOf(tensor.type, trained).per_row;
  const kernels::WeightMatrix matrix{.type = *kernels::FindWeightType(InfoOf(tensor.type).name),
                                     .data = reinterpret_cast<const std::byte*>(tensor.bytes.data()),
                                     .rows = shape.rows,
                                     .cols = shape.cols};
  std::string bytes;
  bytes.reserve(static_cast<size_t>(shape.rows * shape.cols / InfoOf(type).block_values * InfoOf(type).block_bytes));
  std::vector<float> row(static_cast<size_t>(shape.cols));
  for (int64_t n = 0; n < shape.rows; ++n) {
    kernels::DequantizeRow(matrix, n, row.data());
    for (int64_t k = 0; k < shape.cols; ++k) {
      row[static_cast<size_t>(k)] *=
          multipliers[static_cast<size_t>(trained.offset + n * per_row + k * per_row / shape.cols)];
    }
    AppendRow(type, row, &bytes);
  }
  return bytes;
}

}  // namespace

std::vector<std::string> TensorsThatCannotHold(const model::GgufFile& file, const method::Partition& partition) {
  std::vector<std::string> names;
  for (const method::PartitionTensor& trained : partition.tensors()) {
    const GgufTensor* tensor = file.FindTensor(trained.shape.name);
    if (tensor == nullptr || Holds(tensor->type, trained)) continue;
    names.push_back(absl::StrCat(tensor->name, " (", std::string(InfoOf(tensor->type).name), ")"));
  }
  return names;
}

std::vector<float> NearestHeld(const model::GgufFile& file, const method::Partition& partition,
                               absl::Span<const float> multipliers) {
  std::vector<float> held(multipliers.begin(), multipliers.end());
  for (const method::PartitionTensor& trained : partition.tensors()) {
    const GgufTensor* tensor = file.FindTensor(trained.shape.name);
    if (tensor == nullptr || Holds(tensor->type, trained)) continue;
    const Layout layout = LayoutOf(tensor->type, trained);
    const absl::Span<float> ours =
        absl::MakeSpan(held).subspan(static_cast<size_t>(trained.offset), static_cast<size_t>(trained.count));
    if (tensor->type == GgmlType::kMXFP4) {
      for (float& k : ours) k = std::exp2(std::round(std::log2(k)));
      continue;
    }
    const auto of_block = static_cast<size_t>(layout.per_row / layout.blocks_per_row);
    for (size_t first = 0; first < ours.size(); first += of_block) {
      double sum = 0;
      for (const float k : ours.subspan(first, of_block)) sum += double{k};
      for (float& k : ours.subspan(first, of_block)) k = static_cast<float>(sum / static_cast<double>(of_block));
    }
  }
  return held;
}

absl::StatusOr<ExportReport> ExportGguf(base::FileSystem* fs, const model::GgufFile& file,
                                        const method::Partition& partition, absl::Span<const float> multipliers,
                                        std::optional<GgmlType> fallback, const std::string& destination) {
  ExportReport report;
  std::map<std::string, model::TensorReplacement> replacements;
  std::map<std::string, GgmlType> types;
  for (const method::PartitionTensor& trained : partition.tensors()) {
    const std::string& name = trained.shape.name;
    if (const GgufTensor* tensor = file.FindTensor(name); tensor != nullptr) {
      QZO_RETURN_IF_ERROR(CheckShape(*tensor, trained));
      if (!Holds(tensor->type, trained)) {
        if (!fallback) {
          return absl::InvalidArgumentError(absl::StrCat(name, ": type ", std::string(InfoOf(tensor->type).name),
                                                         " cannot hold the adapter's multipliers"));
        }
        types[name] = *fallback;
        ++report.converted;
      }
    }
    ++report.tensors;
    replacements[name] = [&, multipliers](const GgufTensor& tensor) -> absl::StatusOr<std::string> {
      if (trained.shape.deltas) return AddDeltas(tensor, trained, multipliers, &report.rounding);
      const auto type = types.find(tensor.name);
      return type == types.end() ? Multiply(tensor, trained, multipliers, &report.rounding)
                                 : Convert(tensor, trained, multipliers, type->second);
    };
  }
  QZO_RETURN_IF_ERROR(model::WriteGgufWithReplacedTensors(fs, file, replacements, types, destination));
  return report;
}

}  // namespace qzo::client
