// Any bytes as quantize_config.json, or after a first byte 'a' as AutoAWQ's quant_config.json: refused, or settings
// within their bounds.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/log.h"
#include "model/formats/checkpoint_config.h"
#include "tests/support/safetensors_builder.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace qzo::model;
  static const std::string& weights = *new std::string(qzo::testing::SafetensorsBytes("{}", ""));
  std::string_view bytes(reinterpret_cast<const char*>(data), size);
  const bool awq = bytes.substr(0, 1) == "a";
  if (awq) bytes.remove_prefix(1);
  const auto checkpoint = Checkpoint::FromFiles({{"config.json", "{}"},
                                                 {awq ? "quant_config.json" : "quantize_config.json", bytes},
                                                 {"model.safetensors", weights}},
                                                "fuzz");
  QZO_CHECK(checkpoint.ok());
  const auto quantization = ReadQuantization(**checkpoint);
  if (!quantization.ok() || bytes.empty()) return 0;
  QZO_CHECK(quantization->storage != LinearStorage::kPlain);
  QZO_CHECK(quantization->group_size == -1 || quantization->group_size % 32 == 0);
  QZO_CHECK(quantization->bits >= 2 && quantization->bits <= 16);
  return 0;
}
