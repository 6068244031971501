// Llama 1 to 3, and Mistral, which GGUF files call llama, too. Converters to GGUF permute the query and key rows of
// these two so that the pairs of rotary embedding are neighbours.
#include "base/status_macros.h"
#include "model/formats/architectures/all.h"

namespace qzo::model {
namespace {

absl::Status ReadKeys(const GgufKeys& keys, ModelInfo* info) {
  QZO_RETURN_IF_ERROR(ReadCommonKeys(keys, info));
  info->rope_layout = RopeLayout::kAdjacent;
  if (!keys.Has("attention.sliding_window")) return absl::OkStatus();
  QZO_ASSIGN_OR_RETURN(info->window, keys.Dimension("attention.sliding_window", kMaxDimension));
  info->local.assign(static_cast<size_t>(info->layers), true);
  return absl::OkStatus();
}

absl::Status ReadLlamaConfig(const ConfigObject& config, ModelInfo* info) {
  QZO_RETURN_IF_ERROR(config.Only("hidden_act", "silu"));
  QZO_RETURN_IF_ERROR(config.Only("attention_bias", false));
  QZO_RETURN_IF_ERROR(config.Only("mlp_bias", false));
  return ReadCommonConfig(config, {}, info);
}

absl::Status ReadMistralConfig(const ConfigObject& config, ModelInfo* info) {
  QZO_RETURN_IF_ERROR(config.Only("hidden_act", "silu"));
  QZO_RETURN_IF_ERROR(ReadCommonConfig(config, {.context_length = 131072}, info));
  return ReadWindow(config, std::vector<bool>(static_cast<size_t>(info->layers), true), info);
}

}  // namespace

Architecture Llama() {
  return {.gguf = "llama",
          .checkpoint = "llama",
          .parts = CommonParts(false, false),
          .read_gguf = ReadKeys,
          .read_config = ReadLlamaConfig};
}

Architecture Mistral() {
  return {.gguf = nullptr,
          .checkpoint = "mistral",
          .parts = CommonParts(false, false),
          .read_gguf = nullptr,
          .read_config = ReadMistralConfig,
          .becomes = "llama"};
}

}  // namespace qzo::model
