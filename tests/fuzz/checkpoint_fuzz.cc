// Any bytes as a checkpoint of two files, config.json and, after the first newline, model.safetensors: the readers
// refuse them, or what they checked can be repacked.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/log.h"
#include "model/formats/checkpoint_info.h"
#include "model/graph/repack.h"

namespace qzo::model {
namespace {

void Use(const CheckpointInfo& checkpoint) {
  QZO_CHECK(checkpoint.linears.size() == checkpoint.info.trained.size());
  for (const CheckpointLinear& linear : checkpoint.linears) {
    if (linear.storage == LinearStorage::kPlain) {
      QZO_CHECK(static_cast<int64_t>(linear.weight->bytes.size()) ==
                linear.rows * linear.cols * SafetensorsTypeBytes(linear.weight->type));
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
