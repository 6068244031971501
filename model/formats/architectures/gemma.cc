// Gemma 2 and 3, text: norms after each half of a block as well as before it, embeddings times √embedding_length, local
// layers among global ones. Checkpoints store norm weights minus one. Gemma 2 caps scores and logits; Gemma 3 norms
// each head's query and key, and local layers have a rotary embedding of their own.
#include <cmath>

#include "base/status_macros.h"
#include "model/formats/architectures/all.h"

namespace qzo::model {
namespace {

constexpr int32_t kGemma3Period = 6;  // the last layer of so many is global
// The largest of each generation, which GGUF files tell by their layers alone, scale scores by the embedding's share of
// a head rather than by the head's size.
constexpr int32_t kLargestGemma2Layers = 46, kLargestGemma3Layers = 62;

std::vector<bool> LocalLayers(int32_t layers, int32_t period) {
  std::vector<bool> local(static_cast<size_t>(layers));
  for (int32_t layer = 0; layer < layers; ++layer) local[static_cast<size_t>(layer)] = (layer + 1) % period != 0;
  return local;
}

void SetCommon(ModelInfo* info) {
  info->mlp = MlpKind::kGeluGated;
  info->embedding_scale = std::sqrt(static_cast<float>(info->embedding_length));
}

absl::Status ReadKeys(const GgufKeys& keys, int32_t largest, int32_t period, ModelInfo* info) {
  QZO_RETURN_IF_ERROR(ReadCommonKeys(keys, info));
  SetCommon(info);
  if (info->layers == largest && !keys.Has("attention.scale")) {
    const int32_t share = info->embedding_length / info->heads;
    info->attention_scale = 1.0f / std::sqrt(static_cast<float>(share));
  }
  QZO_ASSIGN_OR_RETURN(info->window, keys.Dimension("attention.sliding_window", kMaxDimension));
  QZO_ASSIGN_OR_RETURN(const int32_t told, keys.Dimension("attention.sliding_window_pattern", kMaxDimension, period));
  info->local = LocalLayers(info->layers, told);
  return absl::OkStatus();
}

absl::Status ReadGemma2Keys(const GgufKeys& keys, ModelInfo* info) {
  QZO_RETURN_IF_ERROR(ReadKeys(keys, kLargestGemma2Layers, 2, info));
  QZO_ASSIGN_OR_RETURN(info->attention_softcap, keys.Positive("attn_logit_softcapping", 50));
  QZO_ASSIGN_OR_RETURN(info->logit_softcap, keys.Positive("final_logit_softcapping", 30));
  return absl::OkStatus();
}

absl::Status ReadGemma3Keys(const GgufKeys& keys, ModelInfo* info) {
  QZO_RETURN_IF_ERROR(ReadKeys(keys, kLargestGemma3Layers, kGemma3Period, info));
  info->local_rope.emplace();
  QZO_ASSIGN_OR_RETURN(info->local_rope->base, keys.Positive("rope.freq_base_swa", 10000));
  if (!keys.Has("rope.freq_base")) info->rope.base = 1e6f;
  QZO_RETURN_IF_ERROR(keys.Only("attn_logit_softcapping", 0));
  return keys.Only("final_logit_softcapping", 0);
}

absl::StatusOr<float> SoftCap(const ConfigObject& config, const char* key) {
  if (config.Get(key).is_null()) return 0.0f;
  QZO_ASSIGN_OR_RETURN(const double cap, config.Positive(key));
  return static_cast<float>(cap);
}

absl::Status ReadConfig(const ConfigObject& config, const ConfigDefaults& defaults, ModelInfo* info) {
  const char* activation = config.Get("hidden_activation").is_null() ? "hidden_act" : "hidden_activation";
  QZO_RETURN_IF_ERROR(config.Only(activation, "gelu_pytorch_tanh"));
  QZO_RETURN_IF_ERROR(config.Only("attention_bias", false));
  QZO_RETURN_IF_ERROR(config.Only("use_bidirectional_attention", false));
  QZO_RETURN_IF_ERROR(ReadCommonConfig(config, defaults, info));
  SetCommon(info);
  info->norm_shift = 1;
  QZO_ASSIGN_OR_RETURN(const double scalar, config.Positive("query_pre_attn_scalar", 256));
  info->attention_scale = static_cast<float>(1 / std::sqrt(scalar));
  QZO_ASSIGN_OR_RETURN(info->attention_softcap, SoftCap(config, "attn_logit_softcapping"));
  QZO_ASSIGN_OR_RETURN(info->logit_softcap, SoftCap(config, "final_logit_softcapping"));
  return absl::OkStatus();
}

absl::Status ReadGemma2Config(const ConfigObject& config, ModelInfo* info) {
  QZO_RETURN_IF_ERROR(
      ReadConfig(config, {.context_length = 8192, .head_dim = 256, .tied_head = true, .rope_base = 10000}, info));
  return ReadWindow(config, LocalLayers(info->layers, 2), info);
}

// Newer writers have one rotary embedding for each kind of layer in `rope_parameters`.
absl::Status ReadGemma3Config(const ConfigObject& config, ModelInfo* info) {
  const ConfigDefaults defaults = {.context_length = 131072, .head_dim = 256, .tied_head = true, .rope_base = 1e6};
  info->local_rope.emplace();
  const bool nested = config.Get("rope_parameters").is_object();
  QZO_RETURN_IF_ERROR(ReadConfig(nested ? config.Without("rope_parameters") : config, defaults, info));
  QZO_ASSIGN_OR_RETURN(const double base, config.Positive("rope_local_base_freq", 10000));
  info->local_rope->base = static_cast<float>(base);
  if (nested) {
    QZO_ASSIGN_OR_RETURN(const ConfigObject both, config.Nested("rope_parameters"));
    QZO_ASSIGN_OR_RETURN(const ConfigObject global, both.Nested("full_attention"));
    QZO_ASSIGN_OR_RETURN(const ConfigObject local, both.Nested("sliding_attention"));
    QZO_RETURN_IF_ERROR(ReadRopeObject(global, defaults.rope_base, *info, &info->rope));
    QZO_RETURN_IF_ERROR(ReadRopeObject(local, base, *info, &*info->local_rope));
  }
  QZO_ASSIGN_OR_RETURN(const int32_t period, config.Dimension("sliding_window_pattern", kGemma3Period));
  return ReadWindow(config, LocalLayers(info->layers, period), info);
}

std::vector<PartNames> Parts(bool qk_norm) {
  std::vector<PartNames> parts;
  for (const PartNames& part : CommonParts(false, qk_norm)) {
    if (part.part != Part::kFeedForwardNorm) {
      parts.push_back(part);
      continue;
    }
    parts.push_back({Part::kPostAttentionNorm, "post_attention_norm", "post_attention_layernorm"});
    parts.push_back({Part::kFeedForwardNorm, "ffn_norm", "pre_feedforward_layernorm"});
  }
  parts.push_back({Part::kPostFeedForwardNorm, "post_ffw_norm", "post_feedforward_layernorm"});
  return parts;
}

}  // namespace

Architecture Gemma2() {
  return {.gguf = "gemma2",
          .checkpoint = "gemma2",
          .parts = Parts(false),
          .read_gguf = ReadGemma2Keys,
          .read_config = ReadGemma2Config};
}

Architecture Gemma3() {
  return {.gguf = "gemma3",
          .checkpoint = "gemma3_text",
          .parts = Parts(true),
          .read_gguf = ReadGemma3Keys,
          .read_config = ReadGemma3Config};
}

}  // namespace qzo::model
