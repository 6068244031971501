// Any bytes as config.json: settings of a model are refused or within their bounds, and so are those of its
// quantization.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/log.h"
#include "model/formats/checkpoint_config.h"
#include "model/formats/config_object.h"
#include "tests/support/safetensors_builder.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace qzo::model;
  static const std::string& weights = *new std::string(qzo::testing::SafetensorsBytes("{}", ""));
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  const auto checkpoint = Checkpoint::FromFiles({{"config.json", bytes}, {"model.safetensors", weights}}, "fuzz");
  QZO_CHECK(checkpoint.ok());
  if (const auto quantization = ReadQuantization(**checkpoint); quantization.ok()) {
    QZO_CHECK(quantization->group_size == -1 || quantization->group_size % 32 == 0);
    QZO_CHECK(quantization->storage == LinearStorage::kPlain || quantization->bits >= 2);
    QZO_CHECK(quantization->bits <= 16 && quantization->codebooks >= 1 && quantization->codebooks <= 2);
  }
  ModelInfo info;
  if (!ReadConfig(**checkpoint, &info).ok()) return 0;
  for (const int32_t dimension : {info.layers, info.embedding_length, info.feed_forward_length, info.heads,
                                  info.kv_heads, info.head_dim, info.vocabulary}) {
    QZO_CHECK(dimension >= 1 && dimension <= kMaxDimension);
  }
  QZO_CHECK(info.context_length >= 1 && info.context_length <= kMaxContextLength);
  QZO_CHECK(info.heads % info.kv_heads == 0 && info.rotary_dim >= 0 && info.rotary_dim <= info.head_dim);
  QZO_CHECK(info.local.empty() || info.local.size() == static_cast<size_t>(info.layers));
  return 0;
}
