// OPT: learned positions, which begin at row 2 of their table, layer norms with biases, ReLU, a tied head. No converter
// to GGUF knows it; its tensors are named there as those of other models are.
#include <cmath>

#include "base/status_macros.h"
#include "model/formats/architectures/all.h"

namespace qzo::model {
namespace {

void SetCommon(ModelInfo* info) {
  info->norm = NormKind::kLayer;
  info->mlp = MlpKind::kRelu;
  info->position_offset = 2;
}

absl::Status ReadKeys(const GgufKeys& keys, ModelInfo* info) {
  SetCommon(info);
  return ReadSizeKeys(keys, "attention.layer_norm_epsilon", info);
}

absl::Status ReadConfig(const ConfigObject& config, ModelInfo* info) {
  SetCommon(info);
  QZO_RETURN_IF_ERROR(config.Only("activation_function", "relu"));
  // Norms after the blocks and a projection of the embedding: OPT-350m alone.
  QZO_RETURN_IF_ERROR(config.Only("do_layer_norm_before", true));
  QZO_RETURN_IF_ERROR(config.Only("_remove_final_layer_norm", false));
  QZO_RETURN_IF_ERROR(config.Only("enable_bias", true));
  QZO_RETURN_IF_ERROR(config.Only("layer_norm_elementwise_affine", true));
  QZO_ASSIGN_OR_RETURN(info->layers, config.Dimension("num_hidden_layers"));
  QZO_ASSIGN_OR_RETURN(info->context_length, config.Dimension("max_position_embeddings", 2048, kMaxContextLength));
  QZO_ASSIGN_OR_RETURN(info->embedding_length, config.Dimension("hidden_size"));
  QZO_RETURN_IF_ERROR(config.Only("word_embed_proj_dim", info->embedding_length));
  QZO_ASSIGN_OR_RETURN(info->feed_forward_length, config.Dimension("ffn_dim"));
  QZO_ASSIGN_OR_RETURN(info->vocabulary, config.Dimension("vocab_size"));
  QZO_ASSIGN_OR_RETURN(info->heads, config.Dimension("num_attention_heads"));
  if (info->embedding_length % info->heads != 0) {
    return config.Error("'hidden_size' is ", info->embedding_length, ", no multiple of the ", info->heads, " heads");
  }
  info->kv_heads = info->heads;
  info->head_dim = info->embedding_length / info->heads;
  info->attention_scale = 1.0f / std::sqrt(static_cast<float>(info->head_dim));
  info->norm_epsilon = 1e-5f;
  QZO_ASSIGN_OR_RETURN(info->tied_head, config.Flag("tie_word_embeddings", true));
  return absl::OkStatus();
}

}  // namespace

Architecture Opt() {
  return {.gguf = "opt",
          .checkpoint = "opt",
          .parts = {{Part::kAttentionNorm, "attn_norm", "self_attn_layer_norm", true},
                    {Part::kQ, "attn_q", "self_attn.q_proj", true},
                    {Part::kK, "attn_k", "self_attn.k_proj", true},
                    {Part::kV, "attn_v", "self_attn.v_proj", true},
                    {Part::kAttentionOutput, "attn_output", "self_attn.out_proj", true},
                    {Part::kFeedForwardNorm, "ffn_norm", "final_layer_norm", true},
                    {Part::kUp, "ffn_up", "fc1", true},
                    {Part::kDown, "ffn_down", "fc2", true}},
          .read_gguf = ReadKeys,
          .read_config = ReadConfig,
          .prefixes = {"model.decoder.", "decoder."},
          .positions = "embed_positions",
          .output_norm = "final_layer_norm"};
}

}  // namespace qzo::model
