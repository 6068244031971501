// GPT-2: learned positions, layer norms with biases, GELU, queries, keys and values in one matrix, a tied head.
// Checkpoints store linear layers as [inputs, outputs].
#include <cmath>

#include "base/status_macros.h"
#include "model/formats/architectures/all.h"

namespace qzo::model {
namespace {

void SetCommon(ModelInfo* info) {
  info->norm = NormKind::kLayer;
  info->mlp = MlpKind::kGelu;
}

absl::Status ReadKeys(const GgufKeys& keys, ModelInfo* info) {
  SetCommon(info);
  return ReadSizeKeys(keys, "attention.layer_norm_epsilon", info);
}

absl::Status ReadConfig(const ConfigObject& config, ModelInfo* info) {
  SetCommon(info);
  // Two names of one function.
  if (config.Get("activation_function") != "gelu_pytorch_tanh") {
    QZO_RETURN_IF_ERROR(config.Only("activation_function", "gelu_new"));
  }
  QZO_RETURN_IF_ERROR(config.Only("scale_attn_weights", true));
  QZO_RETURN_IF_ERROR(config.Only("scale_attn_by_inverse_layer_idx", false));
  QZO_RETURN_IF_ERROR(config.Only("add_cross_attention", false));
  QZO_ASSIGN_OR_RETURN(info->layers, config.Dimension("n_layer"));
  QZO_ASSIGN_OR_RETURN(info->context_length, config.Dimension("n_positions", 1024, kMaxContextLength));
  QZO_ASSIGN_OR_RETURN(info->embedding_length, config.Dimension("n_embd", std::nullopt, kMaxDimension / 4));
  QZO_ASSIGN_OR_RETURN(info->feed_forward_length, config.Dimension("n_inner", 4 * info->embedding_length));
  QZO_ASSIGN_OR_RETURN(info->vocabulary, config.Dimension("vocab_size"));
  QZO_ASSIGN_OR_RETURN(info->heads, config.Dimension("n_head"));
  if (info->embedding_length % info->heads != 0) {
    return config.Error("'n_embd' is ", info->embedding_length, ", no multiple of the ", info->heads, " heads");
  }
  info->kv_heads = info->heads;
  info->head_dim = info->embedding_length / info->heads;
  info->attention_scale = 1.0f / std::sqrt(static_cast<float>(info->head_dim));
  QZO_ASSIGN_OR_RETURN(const double epsilon, config.Positive("layer_norm_epsilon", 1e-5));
  info->norm_epsilon = static_cast<float>(epsilon);
  QZO_ASSIGN_OR_RETURN(info->tied_head, config.Flag("tie_word_embeddings", true));
  return absl::OkStatus();
}

}  // namespace

Architecture Gpt2() {
  return {.gguf = "gpt2",
          .checkpoint = "gpt2",
          .parts = {{Part::kAttentionNorm, "attn_norm", "ln_1", true},
                    {Part::kQkv, "attn_qkv", "attn.c_attn", true},
                    {Part::kAttentionOutput, "attn_output", "attn.c_proj", true},
                    {Part::kFeedForwardNorm, "ffn_norm", "ln_2", true},
                    {Part::kUp, "ffn_up", "mlp.c_fc", true},
                    {Part::kDown, "ffn_down", "mlp.c_proj", true}},
          .read_gguf = ReadKeys,
          .read_config = ReadConfig,
          .prefixes = {"transformer.", ""},
          .embedding = "wte",
          .positions = "wpe",
          .output_norm = "ln_f",
          .blocks = "h.",
          .ignored = {".attn.bias", ".attn.masked_bias"},  // causal masks
          .transposed = true};
}

}  // namespace qzo::model
