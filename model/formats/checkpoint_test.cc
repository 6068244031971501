#include "model/formats/checkpoint.h"

#include <gtest/gtest.h>

#include <fstream>
#include <functional>

#include "base/digest.h"
#include "model/formats/checkpoint_config.h"
#include "model/formats/checkpoint_info.h"
#include "tests/support/temp_dir.h"
#include "tests/support/tiny_checkpoint.h"

namespace qzo::model {
namespace {

using qzo::testing::OpenFiles;
using qzo::testing::StatusIs;
using qzo::testing::TinyCheckpoint;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Pair;

constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;

absl::StatusOr<CheckpointInfo> ReadInfo(const std::map<std::string, std::string>& files) {
  const auto checkpoint = OpenFiles(files);
  if (!checkpoint.ok()) return checkpoint.status();
  return ReadCheckpointInfo(**checkpoint);
}

TEST(CheckpointTest, ReadsADirectoryAndItsDigest) {
  const std::map<std::string, std::string> files = TinyCheckpoint().Files(2);
  testing::TempDir directory;
  std::string lines;
  for (const auto& [name, bytes] : files) {
    std::ofstream(directory.File(name), std::ios::binary) << bytes;
    lines += base::Sha256Hex(bytes) + "  " + name + "\n";
  }
  std::ofstream(directory.File("training_args.bin")) << "not part of the model";
  std::ofstream(directory.File("adapter.safetensors")) << "nor this, which the index does not name";
  ASSERT_OK_AND_ASSIGN(const auto checkpoint, Checkpoint::Open(directory.path()));
  EXPECT_EQ(checkpoint->tensors().size(), 12u);
  ASSERT_NE(checkpoint->FindTensor("lm_head.weight"), nullptr);
  EXPECT_EQ(checkpoint->FindTensor("lm_head.bias"), nullptr);
  EXPECT_EQ(checkpoint->File("config.json"), files.at("config.json"));
  EXPECT_EQ(checkpoint->Digest(), base::Sha256Hex(lines));
}

TEST(CheckpointTest, RefusesIncompleteDirectories) {
  auto files = TinyCheckpoint().Files(3);
  files.erase("model-1.safetensors");
  EXPECT_THAT(OpenFiles(files), StatusIs(kInvalid, HasSubstr("'model-1.safetensors', which model.safetensors.index.json"
                                                             " names, is not there")));
  files["model.safetensors.index.json"] = R"({"weight_map":{"a":"../../etc/passwd"}})";
  EXPECT_THAT(OpenFiles(files), StatusIs(kInvalid, HasSubstr("'../../etc/passwd', which")));
  files["model.safetensors.index.json"] = R"({"weight_map":{"a":7}})";
  EXPECT_THAT(OpenFiles(files), StatusIs(kInvalid, HasSubstr("the file of tensor 'a' is not a string")));
  files["model.safetensors.index.json"] = "[]";
  EXPECT_THAT(OpenFiles(files), StatusIs(kInvalid, HasSubstr("'weight_map' is missing")));
  files.erase("model.safetensors.index.json");
  EXPECT_THAT(OpenFiles(files), StatusIs(kInvalid, HasSubstr("expected model.safetensors or")));
  auto twice = TinyCheckpoint().Files(2);
  twice["model-1.safetensors"] = twice["model-0.safetensors"];
  EXPECT_THAT(OpenFiles(twice), StatusIs(kInvalid, HasSubstr("is in another file, too")));
}

TEST(CheckpointTest, ReadsWhatTheModelHolds) {
  ASSERT_OK_AND_ASSIGN(const CheckpointInfo plain, ReadInfo(TinyCheckpoint().Files()));
  EXPECT_EQ(plain.info.layers, 1);
  EXPECT_EQ(plain.info.head_dim, 32);
  EXPECT_EQ(plain.info.rope.base, 10000);
  EXPECT_EQ(plain.info.rope_layout, RopeLayout::kHalves);
  EXPECT_EQ(plain.info.blocks[0].at(Part::kUp).weight, "model.layers.0.mlp.up_proj.weight");
  EXPECT_FALSE(plain.info.tied_head);
  EXPECT_EQ(plain.info.trained[6], (method::TensorShape{"model.layers.0.mlp.down_proj.weight", 64, 96, 96}));
  EXPECT_THAT(plain.info.tensor_types, ElementsAre(Pair("F32", 12)));
  EXPECT_EQ(plain.info.embedding_bytes, int64_t{plain.info.vocabulary} * plain.info.embedding_length * 4);
  EXPECT_EQ(plain.info.head_bytes, plain.info.embedding_bytes + int64_t{plain.info.embedding_length} * 4);
  EXPECT_EQ(plain.info.embedding_bytes + plain.info.head_bytes + plain.info.block_bytes.at(0),
            plain.info.parameters * 4)
      << "every tensor is somewhere";

  ASSERT_OK_AND_ASSIGN(const CheckpointInfo gptq, ReadInfo(TinyCheckpoint("gptq", 3, true).Files()));
  EXPECT_EQ(gptq.info.trained[6], (method::TensorShape{"model.layers.0.mlp.down_proj.weight", 64, 96, 32}));
  EXPECT_EQ(gptq.info.parameters, plain.info.parameters);
  EXPECT_THAT(gptq.info.tensor_types, ElementsAre(Pair("F32", 5), Pair("GPTQ3", 7)));
  EXPECT_TRUE(gptq.linears[0].zeros_minus_one);
  EXPECT_NE(gptq.linears[0].indices, nullptr);
}

TEST(CheckpointTest, ReadsRotarySettingsOldAndNew) {
  TinyCheckpoint model;
  model.config["rope_theta"] = 500000.0;
  model.config["rope_scaling"] = {{"rope_type", "llama3"},
                                  {"factor", 8.0},
                                  {"low_freq_factor", 1.0},
                                  {"high_freq_factor", 4.0},
                                  {"original_max_position_embeddings", 8192}};
  ASSERT_OK_AND_ASSIGN(const CheckpointInfo old, ReadInfo(model.Files()));
  EXPECT_EQ(old.info.rope.base, 500000);
  EXPECT_EQ(old.info.rope.scaling, RopeScaling::kLlama3);
  EXPECT_EQ(old.info.rope.factor, 8);
  EXPECT_EQ(old.info.rope.context, 8192);
  TinyCheckpoint newer;
  newer.config["rope_parameters"] = {{"rope_type", "default"}, {"rope_theta", 20000.0}};
  ASSERT_OK_AND_ASSIGN(const CheckpointInfo read, ReadInfo(newer.Files()));
  EXPECT_EQ(read.info.rope.base, 20000);
  EXPECT_EQ(read.info.rope.scaling, RopeScaling::kNone);
}

TEST(CheckpointTest, ReadsQuantizationFromAFileOfItsOwn) {
  TinyCheckpoint gptq("gptq");
  gptq.config.erase("quantization_config");
  auto files = gptq.Files();
  files["quantize_config.json"] = R"({"bits":4,"group_size":32,"checkpoint_format":"gptq_v2"})";
  ASSERT_OK_AND_ASSIGN(const CheckpointInfo info, ReadInfo(files));
  EXPECT_FALSE(info.linears[0].zeros_minus_one);

  TinyCheckpoint awq("awq");
  awq.config.erase("quantization_config");
  files = awq.Files();
  files["quant_config.json"] = R"({"w_bit":4,"q_group_size":32,"zero_point":true,"version":"GEMM"})";
  ASSERT_OK_AND_ASSIGN(const CheckpointInfo other, ReadInfo(files));
  EXPECT_EQ(other.linears[0].storage, LinearStorage::kAwq);
}

TEST(CheckpointTest, AcceptsWhatChangesNothing) {
  TinyCheckpoint model("gptq");
  model.Set("model.layers.0.self_attn.q_proj.bias", "F16", {64}, std::vector<uint16_t>(64));
  model.AddFloats("model.layers.0.self_attn.rotary_emb.inv_freq", {16});
  model.config["tie_word_embeddings"] = true;
  ASSERT_OK_AND_ASSIGN(const CheckpointInfo info, ReadInfo(model.Files()));
  EXPECT_EQ(info.info.head.weight, info.info.embedding.weight);
}

TEST(CheckpointTest, RefusesAndNamesWhatItCannotCompute) {
  const auto set = [](const char* key, nlohmann::json value) {
    return [key, value](TinyCheckpoint* m) { m->config[key] = value; };
  };
  const auto quantization = [](const char* key, nlohmann::json value) {
    return [key, value](TinyCheckpoint* m) { m->config["quantization_config"][key] = value; };
  };
  const std::string q = "model.layers.0.self_attn.q_proj";
  const std::vector<std::pair<std::function<void(TinyCheckpoint*)>, std::string>> cases = {
      {set("model_type", "mixtral"),
       "dir/config.json: 'model_type' is \"mixtral\", supported: \"llama\", \"mistral\", \"qwen2\""},
      {set("hidden_size", nullptr), "'hidden_size' is null, expected 1 to"},
      {set("num_hidden_layers", -1), "'num_hidden_layers' is -1, expected 1 to"},
      {set("num_hidden_layers", 2), "tensor 'model.layers.1.input_layernorm.weight' is missing"},
      {set("max_position_embeddings", 1 << 21), "'max_position_embeddings' is 2097152, expected 1 to 1048576"},
      {set("num_key_value_heads", 3), "'num_key_value_heads' is 3, which does not divide the 2"},
      {set("rms_norm_eps", "small"), "'rms_norm_eps' is \"small\", expected a positive number"},
      {set("attention_bias", true), "'attention_bias' is true, supported: false"},
      {set("hidden_act", "gelu"), "'hidden_act' is \"gelu\", supported: \"silu\""},
      {set("rope_scaling", {{"type", "dynamic"}}),
       "'type' is \"dynamic\", supported: \"default\", \"linear\", \"llama3\" and \"yarn\""},
      {set("rope_scaling", {{"type", "linear"}}), "'factor' is null, expected a positive number"},
      {set("rope_scaling", {{"type", "yarn"}, {"factor", 2}, {"mscale", 0.7}}), "'mscale' is 0.7, supported: null"},
      {set("tie_word_embeddings", 1), "'tie_word_embeddings' is 1, expected true or false"},
      {set("rope_scaling", 7), "'rope_scaling' is 7, expected an object"},
      {set("vocab_size", 511), "'model.embed_tokens.weight' has the shape [512, 64], expected [511, 64]"},
      {quantization("quant_method", "hqq"),
       "'quant_method' is \"hqq\", supported: \"gptq\", \"awq\", \"bitsandbytes\" and \"aqlm\""},
      {quantization("bits", 5), "'bits' is 5, supported: 2, 3, 4 and 8"},
      {quantization("group_size", 48), "'group_size' is 48, supported: multiples of 32, and -1"},
      {quantization("group_size", 128),
       "layer '" + q + "' is [64, 64], expected columns in multiples of 32 and of the group size 128"},
      {quantization("checkpoint_format", "marlin"), "is \"marlin\", supported: \"gptq\" and \"gptq_v2\""},
      {quantization("dynamic", {{"-:.*", {}}}), "settings that differ between layers are not supported"},
      {quantization("pack_dtype", "int16"), "'pack_dtype' is \"int16\", supported: \"int32\""},
      {quantization("quant_method", "awq"), "tensor '" + q + ".qweight' has the shape [8, 64], expected [64, 8]"},
      {[&](TinyCheckpoint* m) { m->tensors.erase(q + ".scales"); }, "tensor '" + q + ".scales' is missing"},
      {[&](TinyCheckpoint* m) { m->tensors[q + ".qweight"].dtype = "F32"; }, "is stored as F32, supported: I32"},
      {[&](TinyCheckpoint* m) { m->AddFloats(q + ".bias", {64}); }, "q_proj.bias' is not zero"},
      {[&](TinyCheckpoint* m) { m->AddFloats("model.layers.0.mlp.experts", {2}); },
       "'model.layers.0.mlp.experts' is no part of the architecture 'llama' of 1 layers"},
      {[&](TinyCheckpoint* m) { m->Set(q + ".g_idx", "I32", {64}, std::vector<int32_t>(64, 2)); },
       "q_proj.g_idx' has the group 2 for column 0, expected less than 2"},
      {[&](TinyCheckpoint* m) { m->Set(q + ".g_idx", "I32", {64}, std::vector<int32_t>(64, 1)); },
       "gives group 0 0 columns, expected the group size 32"},
  };
  for (const auto& [spoil, message] : cases) {
    TinyCheckpoint model("gptq");
    spoil(&model);
    EXPECT_THAT(ReadInfo(model.Files()), StatusIs(kInvalid, HasSubstr(message)));
  }
  TinyCheckpoint awq("awq");
  awq.config["quantization_config"]["version"] = "gemv";
  EXPECT_THAT(ReadInfo(awq.Files()), StatusIs(kInvalid, HasSubstr("'version' is \"gemv\", supported: \"gemm\"")));
  auto files = TinyCheckpoint().Files();
  const std::string large((size_t{64} << 20) + 1, ' ');
  EXPECT_THAT(Checkpoint::FromFiles({{"config.json", large}}, "dir"),
              StatusIs(kInvalid, HasSubstr("dir: config.json has 67108865 bytes, expected at most 67108864")));
  const std::string deep = "{\"model_type\":" + std::string(1 << 20, '[') + std::string(1 << 20, ']') + "}";
  for (const std::string& text : {std::string("{"), deep}) {
    files["config.json"] = text;
    EXPECT_THAT(ReadInfo(files), StatusIs(kInvalid, HasSubstr("dir/config.json: missing, or not a JSON object")));
  }
}

TEST(CheckpointTest, DescribesLayersWithACodebook) {
  ASSERT_OK_AND_ASSIGN(const CheckpointInfo nf4, ReadInfo(TinyCheckpoint("bitsandbytes").Files()));
  EXPECT_EQ(nf4.info.tensor_types.at("NF4"), 7);
  EXPECT_EQ(nf4.info.trained[0], (method::TensorShape{"model.layers.0.self_attn.q_proj.weight", 64, 64, 32}));
  ASSERT_TRUE(nf4.linears[0].nested.has_value());
  EXPECT_EQ(nf4.linears[0].nested->block, 16);
  EXPECT_EQ(nf4.linears[0].nested->offset, 0.2f);
  EXPECT_EQ(nf4.info.repacked_bytes, 4 * (64 * 64 * 2 + 32 * 64 * 2 + 96 * 64 * 3) / 32);
  for (const auto& [bits, type] : {std::pair{16, "AQLM1x16"}, {28, "AQLM2x8"}, {8, "AQLM1x8"}}) {
    ASSERT_OK_AND_ASSIGN(const CheckpointInfo aqlm, ReadInfo(TinyCheckpoint("aqlm", bits).Files()));
    EXPECT_EQ(aqlm.info.tensor_types.at(type), 7);
    EXPECT_EQ(aqlm.info.trained[0].group, 64);
    EXPECT_EQ(aqlm.info.repacked_bytes, 4 * (64 + 32 + 32 + 64 + 96 + 96 + 64));
  }
  // Modules that were left out.
  TinyCheckpoint some("bitsandbytes");
  const std::string up = "model.layers.0.mlp.up_proj.weight";
  std::erase_if(some.tensors, [&](const auto& entry) { return entry.first.starts_with(up); });
  some.AddFloats(up, {96, 64});
  ASSERT_OK_AND_ASSIGN(const CheckpointInfo mixed, ReadInfo(some.Files()));
  EXPECT_EQ(mixed.info.tensor_types.at("NF4"), 6);
}

TEST(CheckpointTest, RefusesLayersWithACodebookThatDoNotFit) {
  using Spoil = std::function<void(TinyCheckpoint*)>;
  const std::string q = "model.layers.0.self_attn.q_proj", state = q + ".weight.quant_state.bitsandbytes__nf4";
  const auto say = [&](const char* key, nlohmann::json value) -> Spoil {
    return [state, key, value](TinyCheckpoint* m) {
      nlohmann::json json = nlohmann::json::parse(m->tensors.at(state).bytes);
      json[key] = value;
      const std::string text = json.dump();
      m->Set(state, "U8", {static_cast<int64_t>(text.size())}, std::vector<char>(text.begin(), text.end()));
    };
  };
  const auto set = [](const char* key, nlohmann::json value) -> Spoil {
    return [key, value](TinyCheckpoint* m) { m->config["quantization_config"][key] = value; };
  };
  const auto shorten = [&](const std::string& name) -> Spoil {
    return [name](TinyCheckpoint* m) {
      TinyCheckpoint::Tensor& tensor = m->tensors.at(name);
      tensor.bytes.resize(tensor.bytes.size() / static_cast<size_t>(tensor.dims[0]) *
                          static_cast<size_t>(tensor.dims[0] - 1));
      --tensor.dims[0];
    };
  };
  const auto expect_refused = [](TinyCheckpoint model, const Spoil& spoil, const std::string& message) {
    spoil(&model);
    EXPECT_THAT(ReadInfo(model.Files()), StatusIs(kInvalid, HasSubstr(message)));
  };
  const std::pair<Spoil, std::string> nf4[] = {
      {set("load_in_8bit", true), "'load_in_8bit' is true, supported: false"},
      {set("bnb_4bit_quant_type", "fp4"), "'bnb_4bit_quant_type' is \"fp4\", supported: \"nf4\""},
      {set("bnb_4bit_quant_storage", "bfloat16"), "'bnb_4bit_quant_storage' is \"bfloat16\", supported: \"uint8\""},
      {[&](TinyCheckpoint* m) { m->tensors.erase(state); }, "nf4' is missing"},
      {[&](TinyCheckpoint* m) { m->Set(state, "U8", {1}, std::vector<char>{'['}); }, "nf4': expected a JSON object"},
      {say("quant_type", "fp4"), "'quant_type' is \"fp4\", supported: \"nf4\""},
      {say("shape", {32, 128}), "'shape' is [32,128], supported: [64,64]"},
      {say("blocksize", 48), "'blocksize' is 48, supported: multiples of 32 that divide the 64 columns"},
      {say("blocksize", 128), "'blocksize' is 128, supported"},
      {say("blocksize", 0), "'blocksize' is 0, expected 1 to"},
      {say("blocksize", 64), "weight.absmax' has the shape [128], expected [64]"},
      {say("nested_blocksize", 8), "nested_absmax' has the shape [8], expected [16]"},
      {say("nested_offset", "none"), "'nested_offset' is \"none\", expected a number"},
      {say("nested_offset", 1e300), "'nested_offset' is 1e+300, expected a number"},
      {shorten(q + ".weight"), "q_proj.weight' has the shape [2047, 1], expected [2048, 1]"},
      {shorten(q + ".weight.quant_map"), "quant_map' has the shape [15], expected [16]"},
      {shorten(q + ".weight.nested_quant_map"), "nested_quant_map' has the shape [255], expected [256]"},
      {[&](TinyCheckpoint* m) { m->tensors[q + ".weight.absmax"].dtype = "I8"; }, "is stored as I8, supported: U8"},
  };
  for (const auto& [spoil, message] : nf4) expect_refused(TinyCheckpoint("bitsandbytes"), spoil, message);
  const std::pair<Spoil, std::string> aqlm[] = {
      {set("in_group_size", 16), "'in_group_size' is 16, supported: 8"},
      {set("out_group_size", 2), "'out_group_size' is 2, supported: 1"},
      {set("num_codebooks", 2),
       "'num_codebooks' is 2 and 'nbits_per_codebook' 16, supported: 1 of 16, 2 of 8 and 1 of 8"},
      {set("nbits_per_codebook", 12), "'nbits_per_codebook' 12, supported"},
      {shorten(q + ".codes"), "codes' has the shape [63, 8, 1], expected [64, 8, 1]"},
      {shorten(q + ".scales"), "scales' has the shape [63, 1, 1, 1], expected [64, 1, 1, 1]"},
      {set("nbits_per_codebook", 8), "codes' is stored as I16, supported: I8"},
      {[&](TinyCheckpoint* m) { m->tensors.erase(q + ".codebooks"); }, "codebooks' is missing"},
  };
  for (const auto& [spoil, message] : aqlm) expect_refused(TinyCheckpoint("aqlm", 16), spoil, message);
}

// The directory of tests/golden/architectures/`name` with a changed config.json.
absl::StatusOr<CheckpointInfo> ReadChanged(const std::string& name, const nlohmann::json& changes) {
  const std::string path = testing::TestFile("golden/architectures/" + name);
  auto weights = base::MappedFile::Open(path + "/model.safetensors");
  auto text = base::MappedFile::Open(path + "/config.json");
  EXPECT_OK(weights);
  EXPECT_OK(text);
  nlohmann::json config = nlohmann::json::parse((*text)->bytes());
  config.update(changes);
  const std::string changed = config.dump();
  auto checkpoint =
      Checkpoint::FromFiles({{"config.json", changed}, {"model.safetensors", (*weights)->bytes()}}, "dir");
  EXPECT_OK(checkpoint);
  return ReadCheckpointInfo(**checkpoint);
}

TEST(CheckpointTest, SettingsOfAnArchitectureAreReadOrRefusedByName) {
  ASSERT_OK_AND_ASSIGN(const CheckpointInfo gemma, ReadChanged("gemma3", {{"sliding_window_pattern", 1}}));
  EXPECT_FALSE(gemma.info.IsLocal(0));
  ASSERT_OK_AND_ASSIGN(
      const CheckpointInfo typed,
      ReadChanged("gemma3", {{"layer_types", {"full_attention", "sliding_attention"}},
                             {"rope_parameters",
                              {{"full_attention", {{"rope_type", "linear"}, {"factor", 8.0}, {"rope_theta", 5e5}}},
                               {"sliding_attention", {{"rope_type", "default"}, {"rope_theta", 300.0}}}}}}));
  EXPECT_FALSE(typed.info.IsLocal(0));
  EXPECT_TRUE(typed.info.IsLocal(1));
  EXPECT_EQ(typed.info.rope.base, 5e5f);
  EXPECT_EQ(typed.info.rope.factor, 8);
  EXPECT_EQ(typed.info.local_rope->base, 300);
  ASSERT_OK_AND_ASSIGN(const CheckpointInfo mistral, ReadChanged("mistral", {{"sliding_window", nullptr}}));
  EXPECT_EQ(mistral.info.window, 0);
  ASSERT_OK_AND_ASSIGN(const CheckpointInfo phi3,
                       ReadChanged("phi3", {{"partial_rotary_factor", 0.75}, {"rope_scaling", nullptr}}));
  EXPECT_EQ(phi3.info.rotary_dim, 6);
  EXPECT_EQ(phi3.info.context_length, 64);

  const struct {
    const char* name;
    nlohmann::json changes;
    const char* message;
  } cases[] = {
      {"opt", {{"do_layer_norm_before", false}}, "'do_layer_norm_before' is false, supported: true"},
      {"opt", {{"word_embed_proj_dim", 16}}, "'word_embed_proj_dim' is 16, supported: 32"},
      {"opt", {{"activation_function", "gelu"}}, "'activation_function' is \"gelu\", supported: \"relu\""},
      {"opt", {{"max_position_embeddings", 65}}, "embed_positions.weight' has the shape [66, 32], expected [67, 32]"},
      {"gpt2", {{"activation_function", "gelu"}}, "is \"gelu\", supported: \"gelu_new\""},
      {"gpt2", {{"scale_attn_by_inverse_layer_idx", true}}, "is true, supported: false"},
      {"gpt2", {{"n_inner", 64}}, "'transformer.h.0.mlp.c_fc.weight' has the shape [32, 128], expected [32, 64]"},
      {"mistral", {{"sliding_window", 0}}, "'sliding_window' is 0, expected 1 to"},
      {"qwen2", {{"use_sliding_window", true}}, "'use_sliding_window' is true, supported: false"},
      {"qwen3", {{"attention_bias", true}}, "'attention_bias' is true, supported: false"},
      {"gemma2", {{"hidden_activation", "gelu"}}, "'hidden_activation' is \"gelu\", supported: \"gelu_pytorch_tanh\""},
      {"gemma2", {{"final_logit_softcapping", -1}}, "'final_logit_softcapping' is -1, expected a positive number"},
      {"gemma3",
       {{"layer_types", nlohmann::json::array({"full_attention"})}},
       "'layer_types' is [\"full_attention\"], expected a list of 2"},
      {"gemma3", {{"layer_types", {"chunked_attention", "x"}}}, "'layer_types' has \"chunked_attention\", supported:"},
      {"gemma3", {{"model_type", "gemma3"}}, "'model_type' is \"gemma3\", supported:"},
      {"phi3",
       {{"partial_rotary_factor", 0.4}},
       "'partial_rotary_factor' is 0.4, expected an even part of the head's 8"},
      {"phi3",
       {{"rope_scaling", {{"type", "longrope"}, {"short_factor", {1.0, 2.0}}}}},
       "'short_factor' is [1.0,2.0], expected a list of 4"},
      {"phi3",
       {{"rope_scaling", {{"type", "longrope"}, {"short_factor", {1.0, 1.25, 1.5, 2.0}}, {"long_factor", nullptr}}}},
       "'long_factor' is null, expected a list of 4"},
      {"llama", {{"model_type", "qwen3"}, {"head_dim", 8}, {"rope_scaling", nullptr}}, "q_norm.weight' is missing"},
      {"qwen2", {{"model_type", "llama"}}, "q_proj.bias' is not zero: the architecture has no bias there"},
  };
  for (const auto& refused : cases) {
    EXPECT_THAT(ReadChanged(refused.name, refused.changes), StatusIs(kInvalid, HasSubstr(refused.message)))
        << refused.name << refused.changes;
  }
}

}  // namespace
}  // namespace qzo::model
