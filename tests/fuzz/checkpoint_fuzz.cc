// Any bytes as a checkpoint of two files, config.json and, after the first newline, model.safetensors: the readers
// refuse them, or what they checked can be repacked and read.
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "base/log.h"
#include "kernels/weights.h"
#include "model/formats/checkpoint_info.h"
#include "model/graph/repack.h"

namespace qzo::model {
namespace {

// Reads the first and the last row: every code of theirs, and scales.
void UseCodebook(const CheckpointLinear& linear) {
  const PackedLinear packed = UnpackScales(linear);
  QZO_CHECK(static_cast<int64_t>(packed.scales.size() * sizeof(float)) == RepackedBytes(linear));
  kernels::WeightMatrix matrix{.type = packed.type,
                               .data = reinterpret_cast<const std::byte*>(linear.weight->bytes.data()),
                               .rows = linear.rows,
                               .cols = linear.cols,
                               .group = linear.group};
  matrix.scales =
      HasScalesInPlace(linear) ? reinterpret_cast<const float*>(linear.scales->bytes.data()) : packed.scales.data();
  matrix.codebook = reinterpret_cast<const std::byte*>(linear.codebook->bytes.data());
  matrix.codebook_type = *kernels::FindWeightType(SafetensorsTypeName(linear.codebook->type));
  std::vector<float> row(static_cast<size_t>(linear.cols));
  kernels::DequantizeRow(matrix, 0, row.data());
  kernels::DequantizeRow(matrix, linear.rows - 1, row.data());
}

void Use(const CheckpointInfo& checkpoint) {
  QZO_CHECK(checkpoint.linears.size() == checkpoint.info.trained.size());
  for (const CheckpointLinear& linear : checkpoint.linears) {
    if (linear.storage == LinearStorage::kPlain) {
      QZO_CHECK(static_cast<int64_t>(linear.weight->bytes.size()) ==
                linear.rows * linear.cols * SafetensorsTypeBytes(linear.weight->type));
      continue;
    }
    if (linear.codebook != nullptr) {
      UseCodebook(linear);
      continue;
    }
    const PackedLinear packed = Repack(linear);
    QZO_CHECK(static_cast<int64_t>(packed.bytes.size()) ==
              linear.rows * linear.cols / kernels::BlockValues(packed.type) * kernels::BlockBytes(packed.type));
    for (const int32_t column : packed.order) QZO_CHECK(column >= 0 && column < linear.cols);
  }
}

}  // namespace
}  // namespace qzo::model

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  const size_t newline = bytes.find('\n');
  if (newline == std::string_view::npos) return 0;
  const auto checkpoint = qzo::model::Checkpoint::FromFiles(
      {{"config.json", bytes.substr(0, newline)}, {"model.safetensors", bytes.substr(newline + 1)}}, "fuzz");
  if (!checkpoint.ok()) return 0;
  const auto info = qzo::model::ReadCheckpointInfo(**checkpoint);
  if (info.ok()) qzo::model::Use(*info);
  return 0;
}
