#include <algorithm>
#include <cmath>
#include <string>

#include "base/status_macros.h"
#include "model/formats/architectures/all.h"

namespace qzo::model {
namespace {

using Json = nlohmann::json;

absl::Status CheckHeads(const GgufKeys& keys, const ModelInfo& info) {
  if (info.heads % info.kv_heads != 0) {
    return keys.Error("key '", keys.Key("attention.head_count_kv"), "' is ", info.kv_heads,
                      ", which does not divide the ", info.heads, " heads");
  }
  if (int64_t{info.heads} * info.head_dim > kMaxDimension) {
    return keys.Error(info.heads, " heads of ", info.head_dim, " values are more than ", kMaxDimension, " values");
  }
  QZO_ASSIGN_OR_RETURN(const int32_t value_length,
                       keys.Dimension("attention.value_length", kMaxDimension, info.head_dim));
  if (value_length != info.head_dim) {
    return keys.Error("key '", keys.Key("attention.value_length"), "' is ", value_length,
                      ", expected that of the keys, ", info.head_dim);
  }
  return absl::OkStatus();
}

// 'longrope' says nothing that its tensors, which Phi 3 reads and others refuse, do not say.
absl::Status ReadScalingKeys(const GgufKeys& keys, Rope* rope) {
  QZO_ASSIGN_OR_RETURN(const std::string type, keys.Text("rope.scaling.type", "none"));
  const bool divisors = keys.HasTensor("rope_freqs.weight");
  if (type == "none" || (type == "longrope" && keys.HasTensor("rope_factors_short.weight"))) {
    QZO_ASSIGN_OR_RETURN(rope->factor, keys.Positive("rope.scale_linear", 1));  // of old files
    if (divisors && rope->factor == 1) {
      rope->scaling = RopeScaling::kDivisors;
      rope->divisors_tensor = "rope_freqs.weight";
    } else if (rope->factor != 1) {
      rope->scaling = RopeScaling::kLinear;
    }
    if (!divisors || rope->factor == 1) return absl::OkStatus();
  }
  if (divisors || (type != "linear" && type != "yarn")) {
    return keys.Error("key '", keys.Key("rope.scaling.type"), "' is '", type,
                      "', supported: 'none', 'linear', 'yarn', or a rope_freqs.weight tensor");
  }
  rope->scaling = type == "linear" ? RopeScaling::kLinear : RopeScaling::kYarn;
  QZO_ASSIGN_OR_RETURN(rope->factor, keys.Positive("rope.scaling.factor"));
  if (type == "linear") return absl::OkStatus();
  QZO_ASSIGN_OR_RETURN(rope->context, keys.Dimension("rope.scaling.original_context_length", kMaxContextLength));
  QZO_ASSIGN_OR_RETURN(rope->high, keys.Positive("rope.scaling.yarn_beta_fast", 32));
  QZO_ASSIGN_OR_RETURN(rope->low, keys.Positive("rope.scaling.yarn_beta_slow", 1));
  for (const char* factor :
       {"rope.scaling.attn_factor", "rope.scaling.yarn_attn_factor", "rope.scaling.yarn_ext_factor"}) {
    QZO_RETURN_IF_ERROR(keys.Only(factor, 1));
  }
  return keys.Only("rope.scaling.yarn_log_multiplier", 0);
}

absl::Status ReadLlama3Object(const ConfigObject& config, Rope* rope) {
  rope->scaling = RopeScaling::kLlama3;
  QZO_ASSIGN_OR_RETURN(rope->low, config.Positive("low_freq_factor"));
  QZO_ASSIGN_OR_RETURN(rope->high, config.Positive("high_freq_factor"));
  QZO_ASSIGN_OR_RETURN(rope->context, config.Dimension("original_max_position_embeddings"));
  if (rope->high > rope->low) return absl::OkStatus();
  return config.Error("'high_freq_factor' is ", rope->high, ", expected more than low_freq_factor, ", rope->low);
}

absl::Status ReadYarnObject(const ConfigObject& config, const ModelInfo& info, Rope* rope) {
  rope->scaling = RopeScaling::kYarn;
  QZO_ASSIGN_OR_RETURN(rope->context, config.Dimension("original_max_position_embeddings", info.context_length));
  QZO_ASSIGN_OR_RETURN(rope->high, config.Positive("beta_fast", 32));
  QZO_ASSIGN_OR_RETURN(rope->low, config.Positive("beta_slow", 1));
  if (!config.Get("attention_factor").is_null()) {
    QZO_ASSIGN_OR_RETURN(rope->magnitude, config.Positive("attention_factor"));
  }
  for (const char* key : {"mscale", "mscale_all_dim"}) QZO_RETURN_IF_ERROR(config.Only(key, nullptr));
  return config.Only("truncate", true);
}

}  // namespace

absl::Status ReadSizeKeys(const GgufKeys& keys, const char* epsilon, ModelInfo* info) {
  QZO_ASSIGN_OR_RETURN(info->layers, keys.Dimension("block_count", kMaxDimension));
  QZO_ASSIGN_OR_RETURN(info->context_length, keys.Dimension("context_length", kMaxContextLength));
  QZO_ASSIGN_OR_RETURN(info->embedding_length, keys.Dimension("embedding_length", kMaxDimension));
  QZO_ASSIGN_OR_RETURN(info->feed_forward_length, keys.Dimension("feed_forward_length", kMaxDimension));
  QZO_ASSIGN_OR_RETURN(info->heads, keys.Dimension("attention.head_count", kMaxDimension));
  QZO_ASSIGN_OR_RETURN(info->kv_heads, keys.Dimension("attention.head_count_kv", kMaxDimension, info->heads));
  if (!keys.Has("attention.key_length") && info->embedding_length % info->heads != 0) {
    return keys.Error("key '", keys.Key("embedding_length"), "' is ", info->embedding_length, ", no multiple of the ",
                      info->heads, " heads");
  }
  QZO_ASSIGN_OR_RETURN(info->head_dim, keys.Dimension("attention.key_length", kMaxDimension,
                                                      std::max(1, info->embedding_length / info->heads)));
  QZO_RETURN_IF_ERROR(CheckHeads(keys, *info));
  if (keys.Has("expert_count")) {
    QZO_ASSIGN_OR_RETURN(const double experts, keys.Number("expert_count"));
    if (experts != 0) return keys.Error("a mixture of ", experts, " experts is not supported, only dense models are");
  }
  info->attention_scale = 1.0f / std::sqrt(static_cast<float>(info->head_dim));
  QZO_ASSIGN_OR_RETURN(info->attention_scale, keys.Positive("attention.scale", info->attention_scale));
  QZO_ASSIGN_OR_RETURN(info->norm_epsilon, keys.Positive(epsilon));
  return absl::OkStatus();
}

absl::Status ReadCommonKeys(const GgufKeys& keys, ModelInfo* info) {
  QZO_RETURN_IF_ERROR(ReadSizeKeys(keys, "attention.layer_norm_rms_epsilon", info));
  QZO_ASSIGN_OR_RETURN(info->rotary_dim, keys.Dimension("rope.dimension_count", kMaxDimension, info->head_dim));
  if (info->rotary_dim % 2 != 0 || info->rotary_dim > info->head_dim) {
    return keys.Error("key '", keys.Key("rope.dimension_count"), "' is ", info->rotary_dim,
                      ", expected an even number up to ", info->head_dim, ", the size of a head");
  }
  QZO_ASSIGN_OR_RETURN(info->rope.base, keys.Positive("rope.freq_base", 10000));
  return ReadScalingKeys(keys, &info->rope);
}

absl::Status ReadRopeObject(const ConfigObject& config, double base, const ModelInfo& info, Rope* rope) {
  QZO_ASSIGN_OR_RETURN(const double theta, config.Positive("rope_theta", base));
  rope->base = static_cast<float>(theta);
  const char* type = config.Get("rope_type").is_null() ? "type" : "rope_type";
  const Json value = config.Get(type);
  if (value.is_null() || value == "default") return absl::OkStatus();
  if (value != "linear" && value != "llama3" && value != "yarn") {
    return config.Error("'", type, "' is ", config.Shown(type),
                        ", supported: \"default\", \"linear\", \"llama3\" and \"yarn\"");
  }
  QZO_ASSIGN_OR_RETURN(rope->factor, config.Positive("factor"));
  if (value == "llama3") return ReadLlama3Object(config, rope);
  if (value == "yarn") return ReadYarnObject(config, info, rope);
  rope->scaling = RopeScaling::kLinear;
  return absl::OkStatus();
}

absl::Status ReadCommonConfig(const ConfigObject& config, const ConfigDefaults& defaults, ModelInfo* info) {
  QZO_ASSIGN_OR_RETURN(info->layers, config.Dimension("num_hidden_layers"));
  QZO_ASSIGN_OR_RETURN(info->context_length,
                       config.Dimension("max_position_embeddings", defaults.context_length, kMaxContextLength));
  QZO_ASSIGN_OR_RETURN(info->embedding_length, config.Dimension("hidden_size"));
  QZO_ASSIGN_OR_RETURN(info->feed_forward_length, config.Dimension("intermediate_size"));
  QZO_ASSIGN_OR_RETURN(info->vocabulary, config.Dimension("vocab_size"));
  QZO_ASSIGN_OR_RETURN(info->heads, config.Dimension("num_attention_heads"));
  QZO_ASSIGN_OR_RETURN(info->kv_heads, config.Dimension("num_key_value_heads", info->heads));
  if (info->heads % info->kv_heads != 0) {
    return config.Error("'num_key_value_heads' is ", info->kv_heads, ", which does not divide the ", info->heads,
                        " heads");
  }
  const bool whole = info->embedding_length % info->heads == 0;
  if (config.Get("head_dim").is_null() && defaults.head_dim == 0 && !whole) {
    return config.Error("'hidden_size' is ", info->embedding_length, ", no multiple of the ", info->heads, " heads");
  }
  const int32_t head_dim = defaults.head_dim != 0 ? defaults.head_dim : info->embedding_length / info->heads;
  QZO_ASSIGN_OR_RETURN(info->head_dim, config.Dimension("head_dim", head_dim));
  if (info->head_dim % 2 != 0 || int64_t{info->heads} * info->head_dim > kMaxDimension) {
    return config.Error(info->heads, " heads of ", info->head_dim, " values, expected an even size and at most ",
                        kMaxDimension, " values");
  }
  info->rotary_dim = info->head_dim;
  info->attention_scale = 1.0f / std::sqrt(static_cast<float>(info->head_dim));
  QZO_ASSIGN_OR_RETURN(const double epsilon, config.Positive("rms_norm_eps", 1e-6));
  info->norm_epsilon = static_cast<float>(epsilon);
  QZO_ASSIGN_OR_RETURN(info->tied_head, config.Flag("tie_word_embeddings", defaults.tied_head));

  // `rope_theta` and `rope_scaling`, or both in `rope_parameters`, as newer writers have it.
  if (config.Get("rope_parameters").is_object()) {
    QZO_ASSIGN_OR_RETURN(const ConfigObject parameters, config.Nested("rope_parameters"));
    QZO_RETURN_IF_ERROR(parameters.Only("full_attention", nullptr));  // one set for each kind of layer
    return ReadRopeObject(parameters, defaults.rope_base, *info, &info->rope);
  }
  QZO_ASSIGN_OR_RETURN(const double base, config.Positive("rope_theta", defaults.rope_base));
  info->rope.base = static_cast<float>(base);
  if (config.Get("rope_scaling").is_null()) return absl::OkStatus();
  QZO_ASSIGN_OR_RETURN(const ConfigObject scaling, config.Nested("rope_scaling"));
  return ReadRopeObject(scaling, base, *info, &info->rope);
}

absl::Status ReadWindow(const ConfigObject& config, const std::vector<bool>& otherwise, ModelInfo* info) {
  if (config.Get("sliding_window").is_null()) return absl::OkStatus();
  QZO_ASSIGN_OR_RETURN(info->window, config.Dimension("sliding_window"));
  info->local = otherwise;
  const Json types = config.Get("layer_types");
  if (types.is_null()) return absl::OkStatus();
  info->local.clear();
  for (const Json& type : types) {
    if (type != "full_attention" && type != "sliding_attention") {
      return config.Error("'layer_types' has ", type.dump().substr(0, 60),
                          ", supported: \"full_attention\" and \"sliding_attention\"");
    }
    info->local.push_back(type == "sliding_attention");
  }
  if (info->local.size() == static_cast<size_t>(info->layers)) return absl::OkStatus();
  return config.Error("'layer_types' is ", config.Shown("layer_types"), ", expected a list of ", info->layers);
}

std::vector<PartNames> CommonParts(bool qkv_bias, bool qk_norm) {
  std::vector<PartNames> parts = {{Part::kAttentionNorm, "attn_norm", "input_layernorm"},
                                  {Part::kQ, "attn_q", "self_attn.q_proj", qkv_bias},
                                  {Part::kK, "attn_k", "self_attn.k_proj", qkv_bias},
                                  {Part::kV, "attn_v", "self_attn.v_proj", qkv_bias},
                                  {Part::kAttentionOutput, "attn_output", "self_attn.o_proj"}};
  if (qk_norm) {
    parts.push_back({Part::kQNorm, "attn_q_norm", "self_attn.q_norm"});
    parts.push_back({Part::kKNorm, "attn_k_norm", "self_attn.k_norm"});
  }
  parts.push_back({Part::kFeedForwardNorm, "ffn_norm", "post_attention_layernorm"});
  parts.push_back({Part::kGate, "ffn_gate", "mlp.gate_proj"});
  parts.push_back({Part::kUp, "ffn_up", "mlp.up_proj"});
  parts.push_back({Part::kDown, "ffn_down", "mlp.down_proj"});
  return parts;
}

}  // namespace qzo::model
