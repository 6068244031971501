#include "model/formats/model_info.h"

#include <gtest/gtest.h>

#include <functional>
#include <map>

#include "tests/support/gguf_builder.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_dir.h"

namespace qzo::model {
namespace {

using qzo::testing::GgufBuilder;
using qzo::testing::StatusIs;
using qzo::testing::TestFile;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Pair;

struct TestTensor {
  std::vector<uint64_t> dims;
  GgmlType type = GgmlType::kF32;
};

// One block of a llama: 2 heads of 16 over 32 values, 1 key-value head, 64 wide, 8 tokens.
struct TestModel {
  TestModel() {
    for (const char* norm : {"output_norm", "blk.0.attn_norm", "blk.0.ffn_norm"}) Set(norm, {{32}});
    Set("token_embd", {{32, 8}, GgmlType::kQ8_0});
    Set("blk.0.attn_q", {{32, 32}, GgmlType::kQ4_1});
    Set("blk.0.attn_k", {{32, 16}, GgmlType::kQ4_0});
    Set("blk.0.attn_v", {{32, 16}, GgmlType::kQ8_0});
    Set("blk.0.attn_output", {{32, 32}, GgmlType::kF16});
    Set("blk.0.ffn_gate", {{32, 64}, GgmlType::kQ4_1});
    Set("blk.0.ffn_up", {{32, 64}, GgmlType::kQ4_1});
    Set("blk.0.ffn_down", {{64, 32}, GgmlType::kBF16});
  }
  void Set(const std::string& name, TestTensor tensor) { tensors[name + ".weight"] = std::move(tensor); }

  std::string Build() const {
    GgufBuilder builder;
    for (const auto& [key, value] : strings) builder.String(key, value);
    for (const auto& [key, value] : numbers) builder.Uint32("llama." + key, value);
    if (has_epsilon) builder.Float("llama.attention.layer_norm_rms_epsilon", epsilon);
    for (const auto& [name, tensor] : tensors) {
      const GgmlTypeInfo* type = FindGgmlType(static_cast<uint32_t>(tensor.type));
      uint64_t values = 1;
      for (const uint64_t dim : tensor.dims) values *= dim;
      const uint64_t bytes =
          values / static_cast<uint64_t>(type->block_values) * static_cast<uint64_t>(type->block_bytes);
      builder.Tensor(name, tensor.type, tensor.dims, std::string(bytes, '\0'));
    }
    return builder.Finish();
  }

  std::map<std::string, std::string> strings = {{"general.architecture", "llama"}};
  std::map<std::string, uint32_t> numbers = {{"block_count", 1},          {"context_length", 128},
                                             {"embedding_length", 32},    {"feed_forward_length", 64},
                                             {"attention.head_count", 2}, {"attention.head_count_kv", 1},
                                             {"rope.dimension_count", 8}};
  std::map<std::string, TestTensor> tensors;
  bool has_epsilon = true;
  float epsilon = 1e-5f;
};

absl::StatusOr<ModelInfo> Read(const TestModel& model) {
  const std::string bytes = model.Build();
  auto file = GgufFile::ParseBytes(bytes, "model.gguf");
  EXPECT_OK(file);
  return ReadModelInfo(**file);
}

TEST(ModelInfoTest, ReadsTheShapesOfALlama) {
  const TestModel model;
  ASSERT_OK_AND_ASSIGN(const ModelInfo info, Read(model));
  EXPECT_EQ(info.architecture, "llama");
  EXPECT_EQ(info.layers, 1);
  EXPECT_EQ(info.embedding_length, 32);
  EXPECT_EQ(info.feed_forward_length, 64);
  EXPECT_EQ(info.heads, 2);
  EXPECT_EQ(info.kv_heads, 1);
  EXPECT_EQ(info.head_dim, 16);
  EXPECT_EQ(info.rotary_dim, 8);
  EXPECT_EQ(info.vocabulary, 8);
  EXPECT_EQ(info.context_length, 128);
  EXPECT_EQ(info.norm_epsilon, 1e-5f);
  EXPECT_EQ(info.rope.base, 10000);  // the file does not say
  EXPECT_TRUE(info.tied_head);
  EXPECT_EQ(info.parameters, 3 * 32 + 8 * 32 + 2 * 32 * 32 + 2 * 16 * 32 + 3 * 64 * 32);
  EXPECT_EQ(info.file_bytes, static_cast<int64_t>(model.Build().size()));
  ASSERT_OK_AND_ASSIGN(const auto file, GgufFile::ParseBytes(model.Build(), "model.gguf"));
  const auto bytes = [&](const char* name) { return static_cast<int64_t>(file->FindTensor(name)->bytes.size()); };
  EXPECT_EQ(info.embedding_bytes, bytes("token_embd.weight"));
  EXPECT_EQ(info.head_bytes, bytes("token_embd.weight") + bytes("output_norm.weight")) << "a tied head";
  int64_t rest = 0;
  for (const GgufTensor& tensor : file->tensors()) rest += static_cast<int64_t>(tensor.bytes.size());
  EXPECT_THAT(info.block_bytes, ElementsAre(rest - info.head_bytes)) << "all other tensors are of the one block";
  EXPECT_THAT(info.tensor_types, ElementsAre(Pair("BF16", 1), Pair("F16", 1), Pair("F32", 3), Pair("Q4_0", 1),
                                             Pair("Q4_1", 3), Pair("Q8_0", 2)));
}

TEST(ModelInfoTest, TrainedTensorsComeInThePartitionsOrderWithTheirGroups) {
  ASSERT_OK_AND_ASSIGN(const ModelInfo info, Read(TestModel()));
  using Shape = method::TensorShape;
  EXPECT_THAT(info.trained,
              ElementsAre(Shape{"blk.0.attn_q.weight", 32, 32, 32}, Shape{"blk.0.attn_k.weight", 16, 32, 32},
                          Shape{"blk.0.attn_v.weight", 16, 32, 32}, Shape{"blk.0.attn_output.weight", 32, 32, 32},
                          Shape{"blk.0.ffn_gate.weight", 64, 32, 32}, Shape{"blk.0.ffn_up.weight", 64, 32, 32},
                          Shape{"blk.0.ffn_down.weight", 32, 64, 64}));  // BF16: a row is one group
}

TEST(ModelInfoTest, ReadsTheShippedModels) {
  for (const char* storage : {"F32", "Q8_0", "Q4_0", "Q4_1"}) {
    ASSERT_OK_AND_ASSIGN(const auto file, GgufFile::Open(TestFile("golden/models/stories260k/stories260K-" +
                                                                  std::string(storage) + ".gguf")));
    ASSERT_OK_AND_ASSIGN(const ModelInfo info, ReadModelInfo(*file));
    EXPECT_EQ(info.layers, 5);
    EXPECT_EQ(info.head_dim, 8);
    EXPECT_EQ(info.trained.size(), 35u);
    EXPECT_EQ(info.parameters, 260032);
  }
}

TEST(ModelInfoTest, ActivationsGrowWithRowsOnceTheLogitsAreThere) {
  ASSERT_OK_AND_ASSIGN(const ModelInfo info, Read(TestModel()));
  // Residual and hidden state of 32 each, gate and up of 64, the gate's output rounded.
  const int64_t row = 4 * (32 + 32 + 2 * 64) + 2 * kRoundedBlockBytes + kRowBookkeepingBytes;
  EXPECT_EQ(info.ActivationBytes(1000) - info.ActivationBytes(100), 900 * row);
  EXPECT_EQ(info.ActivationBytes(1), row + kHeadRows * 4 * (32 + 8));
}

TEST(ModelInfoTest, RefusesAndNamesWhatItCannotCompute) {
  const std::vector<std::pair<std::function<void(TestModel*)>, std::string>> cases = {
      {[](TestModel* m) { m->strings.clear(); }, "model.gguf: key 'general.architecture' is missing"},
      {[](TestModel* m) { m->strings["general.architecture"] = "mamba"; },
       "architecture 'mamba' is not supported, supported: 'llama', 'qwen2', 'qwen3', 'gemma2', 'gemma3', 'phi3', "
       "'opt', "
       "'gpt2'"},
      {[](TestModel* m) { m->numbers.erase("block_count"); }, "key 'llama.block_count' is missing"},
      {[](TestModel* m) { m->numbers["block_count"] = 0; }, "key 'llama.block_count' is 0, expected 1 to"},
      {[](TestModel* m) { m->numbers["block_count"] = 2; }, "tensor 'blk.1.attn_norm.weight' is missing"},
      {[](TestModel* m) { m->numbers["context_length"] = 1 << 21; },
       "'llama.context_length' is 2097152, expected 1 to 1048576"},
      {[](TestModel* m) { m->numbers["attention.head_count_kv"] = 3; },
       "'llama.attention.head_count_kv' is 3, which does not divide the 2"},
      {[](TestModel* m) {
         m->numbers["attention.head_count"] = 3;
         m->numbers["attention.head_count_kv"] = 3;
       },
       "'llama.embedding_length' is 32, no multiple of the 3 heads"},
      {[](TestModel* m) { m->numbers["attention.value_length"] = 8; },
       "'llama.attention.value_length' is 8, expected that of the keys, 16"},
      {[](TestModel* m) { m->numbers["rope.dimension_count"] = 7; },
       "'llama.rope.dimension_count' is 7, expected an even number up to 16"},
      {[](TestModel* m) { m->numbers["expert_count"] = 4; }, "a mixture of 4 experts is not supported"},
      {[](TestModel* m) { m->strings["llama.rope.scaling.type"] = "dynamic"; },
       "'llama.rope.scaling.type' is 'dynamic', supported: 'none', 'linear', 'yarn'"},
      {[](TestModel* m) { m->strings["llama.rope.scaling.type"] = "linear"; },
       "key 'llama.rope.scaling.factor' is missing"},
      {[](TestModel* m) { m->has_epsilon = false; }, "key 'llama.attention.layer_norm_rms_epsilon' is missing"},
      {[](TestModel* m) { m->epsilon = -1; },
       "'llama.attention.layer_norm_rms_epsilon' is -1, expected a positive number"},
      {[](TestModel* m) { m->tensors.erase("token_embd.weight"); }, "tensor 'token_embd.weight' is missing"},
      {[](TestModel* m) { m->Set("token_embd", {{32}}); },
       "tensor 'token_embd.weight' has dimensions [32], expected [32, 32]"},
      {[](TestModel* m) {
         m->Set("output", {{32, 9}});
       },
       "tensor 'output.weight' has dimensions [32, 9], expected [32, 8]"},
      {[](TestModel* m) { m->tensors.erase("blk.0.ffn_up.weight"); }, "tensor 'blk.0.ffn_up.weight' is missing"},
      {[](TestModel* m) {
         m->Set("blk.0.attn_k", {{32, 32}});
       },
       "tensor 'blk.0.attn_k.weight' has dimensions [32, 32], expected [32, 16]"},
      {[](TestModel* m) {
         m->Set("output_norm", {{32}, GgmlType::kQ8_0});
       },
       "tensor 'output_norm.weight' is stored as Q8_0, supported: F32, F16, BF16"},
      {[](TestModel* m) { m->Set("rope_freqs", {{5}}); },
       "tensor 'rope_freqs.weight' has dimensions [5], expected [4]"},
      {[](TestModel* m) { m->tensors["blk.0.attn_q.bias"] = {{32}}; },
       "tensor 'blk.0.attn_q.bias' is no part of the architecture 'llama'"},
      {[](TestModel* m) {
         m->Set("blk.1.attn_q", {{32, 32}});
       },
       "tensor 'blk.1.attn_q.weight' is no part of the architecture 'llama' of 1 blocks"},
  };
  for (const auto& [spoil, message] : cases) {
    TestModel model;
    spoil(&model);
    EXPECT_THAT(Read(model), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(message)));
  }
}

TEST(ModelInfoTest, ActivationsCountWhatAnArchitectureHolds) {
  const auto floats_a_row = [](const char* name) {
    const auto file = GgufFile::Open(TestFile(std::string("golden/architectures/") + name + "/model.gguf"));
    const auto info = ReadModelInfo(**file);
    EXPECT_OK(info);
    return (info->ActivationBytes(2) - info->ActivationBytes(1) - kRowBookkeepingBytes) / 4;
  };
  const int64_t rounded = 64 / 32 * kRoundedBlockBytes / 4;  // of the widest input of a product
  EXPECT_EQ(floats_a_row("llama"), 32 + 32 + 2 * 64 + rounded);
  EXPECT_EQ(floats_a_row("opt"), 32 + 32 + 96 + rounded)
      << "one inner state of 64, and queries, keys and values of 32 each";
  EXPECT_EQ(floats_a_row("gemma2"), 2 * 32 + 64 + 128 + rounded) << "a branch before its norm; queries of 64";
}

TEST(ModelInfoTest, AHeadOfItsOwnAndRopeDivisorsAreAccepted) {
  TestModel model;
  model.Set("output", {{32, 8}, GgmlType::kQ4_0});
  model.Set("rope_freqs", {{4}});
  model.numbers["attention.key_length"] = 16;
  model.numbers["expert_count"] = 0;
  model.strings["llama.rope.scaling.type"] = "none";
  ASSERT_OK_AND_ASSIGN(const ModelInfo info, Read(model));
  EXPECT_FALSE(info.tied_head);
}

}  // namespace
}  // namespace qzo::model
