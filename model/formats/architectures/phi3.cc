// Phi 3, 3.5 and 4: queries, keys and values in one matrix, gate and up in another. Its long-context variants have two
// sets of rotary divisors: one for sequences within the original context, one for longer ones.
#include "base/status_macros.h"
#include "model/formats/architectures/all.h"

namespace qzo::model {
namespace {

absl::Status ReadKeys(const GgufKeys& keys, ModelInfo* info) {
  QZO_RETURN_IF_ERROR(ReadCommonKeys(keys, info));
  if (keys.Has("attention.sliding_window")) {
    QZO_ASSIGN_OR_RETURN(info->window, keys.Dimension("attention.sliding_window", kMaxDimension));
    info->local.assign(static_cast<size_t>(info->layers), true);
  }
  if (!keys.HasTensor("rope_factors_short.weight")) return absl::OkStatus();
  Rope& rope = info->rope;
  rope.scaling = RopeScaling::kLongRope;
  rope.divisors_tensor = "rope_factors_short.weight";
  QZO_ASSIGN_OR_RETURN(rope.context, keys.Dimension("rope.scaling.original_context_length", kMaxContextLength));
  rope.factor = static_cast<double>(info->context_length) / rope.context;
  QZO_ASSIGN_OR_RETURN(rope.magnitude, keys.Positive("rope.scaling.attn_factor", 0));
  if (info->context_length > rope.context) rope.long_divisors_tensor = "rope_factors_long.weight";
  return absl::OkStatus();
}

absl::Status ReadLongRope(const ConfigObject& config, const ConfigObject& scaling, ModelInfo* info) {
  Rope& rope = info->rope;
  const ConfigObject& holder = scaling.Get("original_max_position_embeddings").is_null() ? config : scaling;
  QZO_ASSIGN_OR_RETURN(rope.context,
                       holder.Dimension("original_max_position_embeddings", std::nullopt, kMaxContextLength));
  rope.scaling = RopeScaling::kLongRope;
  rope.factor = static_cast<double>(info->context_length) / rope.context;
  const auto divisors = static_cast<size_t>(info->rotary_dim / 2);
  QZO_ASSIGN_OR_RETURN(rope.divisors, scaling.Positives("short_factor", divisors));
  if (info->context_length > rope.context) {
    QZO_ASSIGN_OR_RETURN(rope.long_divisors, scaling.Positives("long_factor", divisors));
  }
  if (!scaling.Get("attention_factor").is_null()) {
    QZO_ASSIGN_OR_RETURN(rope.magnitude, scaling.Positive("attention_factor"));
  }
  return absl::OkStatus();
}

// "su" is the first name of "longrope".
bool IsLongRope(const nlohmann::json& scaling) {
  for (const char* key : {"rope_type", "type"}) {
    const auto type = scaling.find(key);
    if (type != scaling.end() && !type->is_null()) return *type == "longrope" || *type == "su";
  }
  return false;
}

absl::Status ReadConfig(const ConfigObject& config, ModelInfo* info) {
  QZO_RETURN_IF_ERROR(config.Only("hidden_act", "silu"));
  const char* key = config.Get("rope_parameters").is_object() ? "rope_parameters" : "rope_scaling";
  const bool long_rope = IsLongRope(config.Get(key));
  QZO_RETURN_IF_ERROR(ReadCommonConfig(long_rope ? config.Without(key) : config, {.context_length = 4096}, info));
  QZO_ASSIGN_OR_RETURN(const double share, config.Positive("partial_rotary_factor", 1));
  info->rotary_dim = static_cast<int32_t>(info->head_dim * share);
  if (info->rotary_dim < 2 || info->rotary_dim > info->head_dim || info->rotary_dim % 2 != 0) {
    return config.Error("'partial_rotary_factor' is ", share, ", expected an even part of the head's ", info->head_dim);
  }
  QZO_RETURN_IF_ERROR(ReadWindow(config, std::vector<bool>(static_cast<size_t>(info->layers), true), info));
  if (!long_rope) return absl::OkStatus();
  QZO_ASSIGN_OR_RETURN(const ConfigObject scaling, config.Nested(key));
  QZO_ASSIGN_OR_RETURN(const double base, scaling.Positive("rope_theta", info->rope.base));
  info->rope.base = static_cast<float>(base);
  return ReadLongRope(config, scaling, info);
}

}  // namespace

Architecture Phi3() {
  return {.gguf = "phi3",
          .checkpoint = "phi3",
          .parts = {{Part::kAttentionNorm, "attn_norm", "input_layernorm"},
                    {Part::kQkv, "attn_qkv", "self_attn.qkv_proj"},
                    {Part::kAttentionOutput, "attn_output", "self_attn.o_proj"},
                    {Part::kFeedForwardNorm, "ffn_norm", "post_attention_layernorm"},
                    {Part::kGateUp, "ffn_up", "mlp.gate_up_proj"},
                    {Part::kDown, "ffn_down", "mlp.down_proj"}},
          .read_gguf = ReadKeys,
          .read_config = ReadConfig,
          .ignored = {".rotary_emb.inv_freq", "rope_factors_long.weight"}};
}

}  // namespace qzo::model
