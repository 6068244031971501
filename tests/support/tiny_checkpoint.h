// Small llama checkpoints of random weights, as the files of a directory: plain or quantized.
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

  // `method` is "", "gptq", "awq", "bitsandbytes" (with nested scales), or "aqlm" of one codebook of 8 or 16 bits, or,
  // for 28, of two of 8.
  explicit TinyCheckpoint(const std::string& method = "", int bits = 4, bool act_order = false, int layers = 1) {
    config["num_hidden_layers"] = layers;
    if (method == "bitsandbytes") {
      config["quantization_config"] = {
          {"quant_method", method}, {"load_in_4bit", true}, {"bnb_4bit_quant_type", "nf4"}};
    } else if (method == "aqlm") {
      config["quantization_config"] = {{"quant_method", method},
                                       {"in_group_size", 8},
                                       {"out_group_size", 1},
                                       {"num_codebooks", bits == 28 ? 2 : 1},
                                       {"nbits_per_codebook", bits == 28 ? 8 : bits}};
    } else if (!method.empty()) {
      config["quantization_config"] = {{"quant_method", method}, {"bits", bits}, {"group_size", 32}};
    }
    AddFloats("model.embed_tokens.weight", {512, 64});
    AddFloats("lm_head.weight", {512, 64});
    AddFloats("model.norm.weight", {64});
    for (int layer = 0; layer < layers; ++layer) {
      const std::string block = "model.layers." + std::to_string(layer) + ".";
      AddFloats(block + "input_layernorm.weight", {64});
      AddFloats(block + "post_attention_layernorm.weight", {64});
      for (const auto& [name, rows, cols] : {std::tuple{"self_attn.q_proj", 64, 64},
                                             {"self_attn.k_proj", 32, 64},
                                             {"self_attn.v_proj", 32, 64},
                                             {"self_attn.o_proj", 64, 64},
                                             {"mlp.gate_proj", 96, 64},
                                             {"mlp.up_proj", 96, 64},
                                             {"mlp.down_proj", 64, 96}}) {
        AddLinear(block + name, rows, cols, method, bits, act_order);
      }
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

  // A tokenizer.json of the printable ASCII characters, the blank and the line feed, each a token.
  static std::string Tokenizer() {
    nlohmann::json vocabulary = {{"\u0120", 0}, {"\u010a", 1}};  // as byte-level BPE spells these two
    for (char c = '!'; c <= '~'; ++c) vocabulary[std::string(1, c)] = static_cast<int>(vocabulary.size());
    return nlohmann::json{{"model", {{"type", "BPE"}, {"vocab", vocabulary}, {"merges", nlohmann::json::array()}}},
                          {"pre_tokenizer", {{"type", "ByteLevel"}, {"add_prefix_space", false}}}}
        .dump();
  }

  nlohmann::json config = {
      {"model_type", "llama"},    {"hidden_size", 64},        {"intermediate_size", 96},        {"vocab_size", 512},
      {"num_attention_heads", 2}, {"num_key_value_heads", 1}, {"max_position_embeddings", 128}, {"rms_norm_eps", 1e-5}};
  std::map<std::string, Tensor> tensors;

 private:
  void AddLinear(const std::string& name, int64_t rows, int64_t cols, const std::string& method, int bits,
                 bool act_order) {
    if (method.empty()) return AddFloats(name + ".weight", {rows, cols});
    if (method == "bitsandbytes") return AddNf4(name + ".weight", rows, cols);
    if (method == "aqlm") return AddAqlm(name, rows, cols, bits);
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
  // Blocks of 32 values, whose 8-bit scales share one for every 16.
  void AddNf4(const std::string& name, int64_t rows, int64_t cols) {
    const int64_t blocks = rows * cols / 32;
    AddBytes(name, "U8", {rows * cols / 2, 1}, rows * cols / 2);
    AddBytes(name + ".absmax", "U8", {blocks}, blocks);
    std::vector<float> values(16), map(256), scales(static_cast<size_t>((blocks + 15) / 16));
    for (size_t i = 0; i < 16; ++i) values[i] = -1 + static_cast<float>(i) / 7.5f;
    for (size_t i = 0; i < 256; ++i) map[i] = -1 + static_cast<float>(i) / 127.5f;
    for (float& scale : scales) scale = std::uniform_real_distribution<float>(0.05f, 0.1f)(random_);
    Set(name + ".quant_map", "F32", {16}, values);
    Set(name + ".nested_quant_map", "F32", {256}, map);
    Set(name + ".nested_absmax", "F32", {(blocks + 15) / 16}, scales);
    const std::string state = nlohmann::json{{"quant_type", "nf4"},    {"blocksize", 32},      {"shape", {rows, cols}},
                                             {"nested_blocksize", 16}, {"nested_offset", 0.2}, {"dtype", "float16"}}
                                  .dump();
    Set(name + ".quant_state.bitsandbytes__nf4", "U8", {static_cast<int64_t>(state.size())},
        std::vector<char>(state.begin(), state.end()));
  }
  void AddAqlm(const std::string& name, int64_t rows, int64_t cols, int bits) {
    const int64_t books = bits == 28 ? 2 : 1, size = bits == 16 ? 2 : 1, entries = bits == 16 ? 65536 : 256;
    AddBytes(name + ".codes", size == 2 ? "I16" : "I8", {rows, cols / 8, books}, rows * cols / 8 * books * size);
    std::vector<uint16_t> book(static_cast<size_t>(books * entries * 8)), scales(static_cast<size_t>(rows));
    for (uint16_t& half : book) half = static_cast<uint16_t>((random_() & 0x8000) | (0x3000 + random_() % 0xc00));
    for (uint16_t& half : scales) half = static_cast<uint16_t>(0x3000 + random_() % 0x800);  // 2⁻³ … 2⁻¹
    Set(name + ".codebooks", "F16", {books, entries, 1, 8}, book);
    Set(name + ".scales", "F16", {rows, 1, 1, 1}, scales);
  }
  void AddBytes(const std::string& name, const std::string& dtype, const std::vector<int64_t>& dims, int64_t count) {
    std::vector<uint8_t> bytes(static_cast<size_t>(count));
    for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(random_());
    Set(name, dtype, dims, bytes);
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
