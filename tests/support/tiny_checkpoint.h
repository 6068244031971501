// Small llama checkpoints of random weights, as the files of a directory: plain, GPTQ or AWQ.
#ifndef QZO_TESTS_SUPPORT_TINY_CHECKPOINT_H_
#define QZO_TESTS_SUPPORT_TINY_CHECKPOINT_H_

#include <algorithm>
#include <cstdint>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <numeric>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "model/formats/checkpoint.h"
#include "tests/support/safetensors_builder.h"
#include "tests/support/status_matchers.h"

namespace qzo::testing {

class TinyCheckpoint {
 public:
  struct Tensor {
    std::string dtype;
    std::vector<int64_t> dims;
    std::string bytes;
  };

  // `method` is "", "gptq" or "awq".
  explicit TinyCheckpoint(const std::string& method = "", int bits = 4, bool act_order = false) {
    if (!method.empty()) config["quantization_config"] = {{"quant_method", method}, {"bits", bits}, {"group_size", 32}};
    AddFloats("model.embed_tokens.weight", {512, 64});
    AddFloats("lm_head.weight", {512, 64});
    AddFloats("model.norm.weight", {64});
    AddFloats("model.layers.0.input_layernorm.weight", {64});
    AddFloats("model.layers.0.post_attention_layernorm.weight", {64});
    for (const auto& [name, rows, cols] : {std::tuple{"self_attn.q_proj", 64, 64},
                                           {"self_attn.k_proj", 32, 64},
                                           {"self_attn.v_proj", 32, 64},
                                           {"self_attn.o_proj", 64, 64},
                                           {"mlp.gate_proj", 96, 64},
                                           {"mlp.up_proj", 96, 64},
                                           {"mlp.down_proj", 64, 96}}) {
      AddLinear(std::string("model.layers.0.") + name, rows, cols, method, bits, act_order);
    }
  }

  void AddFloats(const std::string& name, const std::vector<int64_t>& dims) {
    std::vector<float> values(static_cast<size_t>(
        std::accumulate(dims.begin(), dims.end(), int64_t{1}, [](int64_t a, int64_t b) { return a * b; })));
    for (float& value : values) value = std::uniform_real_distribution<float>(-1, 1)(random_);
    Set(name, "F32", dims, values);
  }
  template <typename T>
  void Set(const std::string& name, const std::string& dtype, const std::vector<int64_t>& dims,
           const std::vector<T>& values) {
    tensors[name] = {dtype, dims, {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T)}};
  }

  // The files by name; `shards` > 1 spreads the tensors and adds the index.
  std::map<std::string, std::string> Files(size_t shards = 1) const {
    std::vector<SafetensorsBuilder> builders(shards);
    std::map<std::string, std::string> files = {{"config.json", config.dump()}};
    nlohmann::json map;
    const auto name_of = [shards](size_t shard) {
      return shards == 1 ? std::string("model.safetensors") : "model-" + std::to_string(shard) + ".safetensors";
    };
    size_t next = 0;
    for (const auto& [name, tensor] : tensors) {
      const size_t shard = next++ % shards;
      builders[shard].Tensor(name, tensor.dtype, tensor.dims, tensor.bytes);
      map[name] = name_of(shard);
    }
    for (size_t shard = 0; shard < shards; ++shard) files[name_of(shard)] = builders[shard].Finish();
    if (shards > 1) files["model.safetensors.index.json"] = nlohmann::json{{"weight_map", map}}.dump();
    return files;
  }

  nlohmann::json config = {
      {"model_type", "llama"}, {"num_hidden_layers", 1},   {"hidden_size", 64},        {"intermediate_size", 96},
      {"vocab_size", 512},     {"num_attention_heads", 2}, {"num_key_value_heads", 1}, {"max_position_embeddings", 128},
      {"rms_norm_eps", 1e-5}};
  std::map<std::string, Tensor> tensors;

 private:
  void AddLinear(const std::string& name, int64_t rows, int64_t cols, const std::string& method, int bits,
                 bool act_order) {
    if (method.empty()) return AddFloats(name + ".weight", {rows, cols});
    const int64_t groups = cols / 32;
    const bool gptq = method == "gptq";
    AddWords(name + ".qweight",
             gptq ? std::vector<int64_t>{cols * bits / 32, rows} : std::vector<int64_t>{cols, rows * bits / 32});
    AddWords(name + ".qzeros", {groups, rows * bits / 32});
    std::vector<uint16_t> scales(static_cast<size_t>(groups * rows));
    for (uint16_t& scale : scales) scale = static_cast<uint16_t>(0x2000 + random_() % 0x800);  // 2⁻⁷ … 2⁻⁵
    Set(name + ".scales", "F16", {groups, rows}, scales);
    if (!act_order) return;
    std::vector<int32_t> indices(static_cast<size_t>(cols));
    for (size_t k = 0; k < indices.size(); ++k) indices[k] = static_cast<int32_t>(k / 32);
    std::shuffle(indices.begin(), indices.end(), random_);
    Set(name + ".g_idx", "I32", {cols}, indices);
  }
  void AddWords(const std::string& name, const std::vector<int64_t>& dims) {
    std::vector<uint32_t> words(static_cast<size_t>(dims[0] * dims[1]));
    for (uint32_t& word : words) word = static_cast<uint32_t>(random_());
    Set(name, "I32", dims, words);
  }

  std::mt19937 random_{3};
};

// `files` must outlive the result.
inline absl::StatusOr<std::unique_ptr<model::Checkpoint>> OpenFiles(const std::map<std::string, std::string>& files) {
  return model::Checkpoint::FromFiles({files.begin(), files.end()}, "dir");
}

}  // namespace qzo::testing

#endif  // QZO_TESTS_SUPPORT_TINY_CHECKPOINT_H_
