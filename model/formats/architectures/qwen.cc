// Qwen 2 and 2.5 (biases of queries, keys and values), Qwen 3 (norms of each head's query and key).
#include "base/status_macros.h"
#include "model/formats/architectures/all.h"

namespace qzo::model {
namespace {

absl::Status ReadKeys(const GgufKeys& keys, ModelInfo* info) {
  QZO_RETURN_IF_ERROR(keys.Only("attention.sliding_window", 0));
  return ReadCommonKeys(keys, info);
}

absl::Status ReadConfig(const ConfigObject& config, int32_t head_dim, ModelInfo* info) {
  QZO_RETURN_IF_ERROR(config.Only("hidden_act", "silu"));
  QZO_RETURN_IF_ERROR(config.Only("use_sliding_window", false));
  return ReadCommonConfig(config, {.context_length = 32768, .head_dim = head_dim}, info);
}

absl::Status ReadQwen2Config(const ConfigObject& config, ModelInfo* info) { return ReadConfig(config, 0, info); }

absl::Status ReadQwen3Config(const ConfigObject& config, ModelInfo* info) {
  QZO_RETURN_IF_ERROR(config.Only("attention_bias", false));
  return ReadConfig(config, 128, info);
}

}  // namespace

Architecture Qwen2() {
  return {.gguf = "qwen2",
          .checkpoint = "qwen2",
          .parts = CommonParts(true, false),
          .read_gguf = ReadKeys,
          .read_config = ReadQwen2Config};
}

Architecture Qwen3() {
  return {.gguf = "qwen3",
          .checkpoint = "qwen3",
          .parts = CommonParts(false, true),
          .read_gguf = ReadKeys,
          .read_config = ReadQwen3Config};
}

}  // namespace qzo::model
