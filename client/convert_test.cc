// Checkpoints of every architecture and quantization as GGUF files: what is read back computes the same.
#include "client/convert.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <map>
#include <nlohmann/json.hpp>
#include <numeric>

#include "client/convert_settings.h"
#include "kernels/weights.h"
#include "model/graph/engine.h"
#include "model/graph/model.h"
#include "model/graph/repack.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_dir.h"
#include "tests/support/tiny_checkpoint.h"
#include "tests/support/tiny_model.h"

namespace qzo::client {
namespace {

using ::qzo::model::GgmlType;
using ::qzo::testing::StatusIs;
using ::qzo::testing::TinyCheckpoint;
using ::testing::AllOf;
using ::testing::HasSubstr;

using Files = std::map<std::string, std::string>;

Files Golden(const std::string& name) {
  Files files = {{"tokenizer.json", TinyCheckpoint::Tokenizer()}};
  for (const char* file : {"config.json", "model.safetensors"}) {
    files[file] = base::RealFileSystem()->Read(testing::TestFile("golden/architectures/" + name + "/" + file)).value();
  }
  return files;
}

Files Tiny(const std::string& method, int bits = 4, bool act_order = false) {
  Files files = TinyCheckpoint(method, bits, act_order).Files();
  files["tokenizer.json"] = TinyCheckpoint::Tokenizer();
  return files;
}

std::vector<float> Logits(const model::Model& model, const std::vector<int32_t>& ids) {
  kernels::ThreadPool pool(1);
  model::PlainLane lane;
  return model::Engine(model, kernels::BestKernels(), &pool, kernels::Arithmetic::kFp32).Logits(ids, &lane).value();
}

// In units of the largest expected value.
double LargestError(const std::vector<float>& got, const std::vector<float>& expected) {
  double error = 0, largest = 0;
  EXPECT_EQ(got.size(), expected.size());
  for (size_t i = 0; i < expected.size(); ++i) {
    largest = std::max(largest, std::fabs(double{expected[i]}));
    error = std::max(error, std::fabs(double{got[i]} - expected[i]));
  }
  return error / largest;
}

class ConvertTest : public ::testing::Test {
 protected:
  absl::StatusOr<ConvertReport> Convert(const Files& files, GgmlType type) {
    const auto checkpoint = testing::OpenFiles(files);
    EXPECT_OK(checkpoint);
    return ConvertToGguf(base::RealFileSystem(), **checkpoint, type, {}, out_);
  }

  testing::TempDir dir_;
  const std::string out_ = dir_.File("out.gguf");
};

class EveryArchitecture : public ConvertTest, public ::testing::WithParamInterface<const char*> {};

// The bounds of architectures_test: of fp32, and of rounding to 8 bits.
TEST_P(EveryArchitecture, ComputesTheLogitsOfTransformers) {
  std::vector<int32_t> ids;
  for (int32_t i = 0; i < 14; ++i) ids.push_back((7 * i * i + 3 * i + 1) % 96);
  const std::string name = GetParam();
  const std::string stored =
      base::RealFileSystem()->Read(testing::TestFile("golden/architectures/" + name + "/logits.bin")).value();
  std::vector<float> expected(stored.size() / sizeof(float));
  std::memcpy(expected.data(), stored.data(), stored.size());
  for (const auto& [type, bound] : {std::pair{GgmlType::kF16, 200 * 0x1p-24}, {GgmlType::kQ8_0, 20 * 0x1p-8}}) {
    ASSERT_OK_AND_ASSIGN(const ConvertReport report, Convert(Golden(name), type));
    ASSERT_OK_AND_ASSIGN(const auto model, model::Model::Load(out_));
    EXPECT_EQ(report.tensors, static_cast<int64_t>(model->file().tensors().size()));
    EXPECT_EQ(report.kept_rows, 0);
    EXPECT_LT(LargestError(Logits(*model, ids), expected), bound);
    EXPECT_EQ(model->tokenizer().vocab_size(), 96);
  }
}

INSTANTIATE_TEST_SUITE_P(All, EveryArchitecture,
                         ::testing::Values("llama", "mistral", "qwen2", "qwen3", "gemma2", "gemma3", "phi3", "opt",
                                           "gpt2"),
                         [](const auto& name) { return std::string(name.param); });

TEST_F(ConvertTest, OtherRotarySettingsComeThrough) {
  for (const char* name : {"llama-linear", "llama-yarn"}) {
    Files files = Golden("llama");
    files["config.json"] = base::RealFileSystem()
                               ->Read(testing::TestFile(std::string("golden/architectures/") + name + "/config.json"))
                               .value();
    ASSERT_OK(Convert(files, GgmlType::kF16));
    ASSERT_OK_AND_ASSIGN(const auto made, model::Model::Load(out_));
    auto checkpoint = testing::OpenFiles(files);
    ASSERT_OK(checkpoint);
    auto tokenizer = model::MakeTokenizer(**checkpoint);
    ASSERT_OK_AND_ASSIGN(const auto source, model::Model::Load(*std::move(checkpoint), *std::move(tokenizer)));
    EXPECT_EQ(made->rope().cos, source->rope().cos) << name;
    EXPECT_EQ(made->rope().sin, source->rope().sin) << name;
  }
}

// Trained matrices of the converted model and of the checkpoint, those of queries and keys, whose rows move, left out.
struct Pair {
  std::vector<float> made, source;
  float largest = 0;
};
std::vector<Pair> Pairs(const model::Model& made, const Files& files) {
  const auto checkpoint = testing::OpenFiles(files);
  const auto read = model::ReadCheckpointInfo(**checkpoint);
  std::vector<Pair> pairs;
  for (size_t i = 2; i < read->linears.size(); ++i) {
    const model::CheckpointLinear& linear = read->linears[i];
    const model::PackedLinear packed = PackLinear(linear);
    const kernels::WeightMatrix before = MatrixOf(linear, ViewOf(packed)), after = made.layers()[0].trained[i];
    Pair& pair = pairs.emplace_back();
    std::vector<float> stored(static_cast<size_t>(linear.cols)), row(stored.size());
    for (int64_t n = 0; n < linear.rows; ++n) {
      kernels::DequantizeRow(before, n, stored.data());
      for (size_t k = 0; k < row.size(); ++k)
        row[before.order == nullptr ? k : static_cast<size_t>(before.order[k])] = stored[k];
      pair.source.insert(pair.source.end(), row.begin(), row.end());
      kernels::DequantizeRow(after, n, row.data());
      pair.made.insert(pair.made.end(), row.begin(), row.end());
    }
    for (const float value : pair.source) pair.largest = std::max(pair.largest, std::fabs(value));
  }
  return pairs;
}

double LargestDistance(const Pair& pair) {
  double distance = 0;
  for (size_t i = 0; i < pair.made.size(); ++i) {
    distance = std::max(distance, std::fabs(double{pair.made[i]} - pair.source[i]));
  }
  return distance;
}

TEST_F(ConvertTest, CodesThatATypeCanHaveAreKept) {
  for (const auto& [method, bits] : {std::pair{"gptq", 2}, {"gptq", 3}, {"gptq", 4}, {"awq", 4}}) {
    const Files files = Tiny(method, bits);
    ASSERT_OK_AND_ASSIGN(const ConvertReport report, Convert(files, GgmlType::kQ8_0));
    EXPECT_EQ(report.rows, 64 + 32 + 32 + 64 + 96 + 96 + 64);
    EXPECT_EQ(report.kept_rows, report.rows);
    ASSERT_OK_AND_ASSIGN(const auto made, model::Model::Load(out_));
    for (const Pair& pair : Pairs(*made, files)) EXPECT_EQ(pair.made, pair.source);
  }
}

// Zeros of any value are a minimum of Q4_1, which is half precision; Q4_0 has 8 alone.
TEST_F(ConvertTest, FourBitsWithAMinimumKeepCodesWhateverTheZeros) {
  const Files files = Tiny("gptq");
  ASSERT_OK_AND_ASSIGN(ConvertReport report, Convert(files, GgmlType::kQ4_1));
  EXPECT_EQ(report.kept_rows, report.rows);
  ASSERT_OK_AND_ASSIGN(const auto with_minimum, model::Model::Load(out_));
  for (const Pair& pair : Pairs(*with_minimum, files)) EXPECT_LE(LargestDistance(pair), pair.largest * 0x1p-11);
  ASSERT_OK_AND_ASSIGN(report, Convert(files, GgmlType::kQ4_0));
  EXPECT_LT(report.kept_rows, report.rows);
  ASSERT_OK_AND_ASSIGN(const auto without, model::Model::Load(out_));
  for (const Pair& pair : Pairs(*without, files)) EXPECT_LE(LargestDistance(pair), pair.largest / 7);
}

TEST_F(ConvertTest, ZerosOfEightAreCodesOfQ4_0) {
  TinyCheckpoint tiny("gptq");
  for (auto& [name, tensor] : tiny.tensors) {
    if (name.ends_with(".qzeros")) tensor.bytes.assign(tensor.bytes.size(), '\x77');  // less one
  }
  Files files = tiny.Files();
  files["tokenizer.json"] = TinyCheckpoint::Tokenizer();
  ASSERT_OK_AND_ASSIGN(const ConvertReport report, Convert(files, GgmlType::kQ4_0));
  EXPECT_EQ(report.kept_rows, report.rows);
  ASSERT_OK_AND_ASSIGN(const auto made, model::Model::Load(out_));
  for (const Pair& pair : Pairs(*made, files)) EXPECT_EQ(pair.made, pair.source);
}

// Columns of an order of their own, entries of codebooks, 8 bits with zeros: values are quantized again.
TEST_F(ConvertTest, WhatATypeCannotHaveIsRoundedToIt) {
  for (const auto& [method, bits, act_order] : {std::tuple{"gptq", 4, true},
                                                {"gptq", 8, false},
                                                {"bitsandbytes", 4, false},
                                                {"aqlm", 8, false},
                                                {"aqlm", 28, false}}) {
    const Files files = Tiny(method, bits, act_order);
    for (const auto& [type, bound] : {std::pair{GgmlType::kF16, 0x1p-11}, {GgmlType::kQ8_0, 1.0 / 200}}) {
      ASSERT_OK_AND_ASSIGN(const ConvertReport report, Convert(files, type));
      EXPECT_EQ(report.kept_rows, 0) << method;
      ASSERT_OK_AND_ASSIGN(const auto made, model::Model::Load(out_));
      for (const Pair& pair : Pairs(*made, files)) EXPECT_LE(LargestDistance(pair), pair.largest * bound) << method;
    }
  }
}

// What an adapter has trained, as a GGUF file: for nested NF4, whose scales are codes, the only way to have it in one.
TEST_F(ConvertTest, MultipliersAreFoldedIn) {
  for (const auto& [method, act_order] :
       {std::pair{"gptq", false}, {"gptq", true}, {"bitsandbytes", false}, {"aqlm", false}, {"", false}}) {
    const std::string name = method;
    const Files files = Tiny(name, name == "aqlm" ? 8 : 4, act_order);
    for (const auto granularity : {method::Granularity::kChannel, method::Granularity::kGroup}) {
      auto checkpoint = testing::OpenFiles(files);
      ASSERT_OK(checkpoint);
      ASSERT_OK_AND_ASSIGN(const model::CheckpointInfo read, model::ReadCheckpointInfo(**checkpoint));
      const method::Partition partition(granularity, read.info.trained);
      std::vector<float> multipliers(static_cast<size_t>(partition.multipliers()));
      for (size_t i = 0; i < multipliers.size(); ++i) multipliers[i] = 0.7f + 0.05f * static_cast<float>(i * 7 % 11);
      const Fold fold = {.partition = &partition, .multipliers = multipliers};
      ASSERT_OK_AND_ASSIGN(const ConvertReport report,
                           ConvertToGguf(base::RealFileSystem(), **checkpoint, GgmlType::kQ8_0, fold, out_));
      EXPECT_EQ(report.kept_rows, name == "gptq" && !act_order ? report.rows : 0);
      auto tokenizer = model::MakeTokenizer(**checkpoint);
      ASSERT_OK_AND_ASSIGN(const auto source, model::Model::Load(*std::move(checkpoint), *std::move(tokenizer)));
      ASSERT_OK_AND_ASSIGN(const auto made, model::Model::Load(out_));
      const std::vector<int32_t> ids = {1, 40, 7, 26, 37};
      kernels::ThreadPool pool(1);
      testing::FlatLanes lane(partition, {multipliers});
      const std::vector<float> expected =
          model::Engine(*source, kernels::BestKernels(), &pool, kernels::Arithmetic::kFp32).Logits(ids, &lane).value();
      EXPECT_LT(LargestError(Logits(*made, ids), expected), 20 * 0x1p-8) << name;
      EXPECT_GT(LargestError(Logits(*source, ids), expected), 0.05) << "multipliers without influence prove nothing";
    }
  }
}

TEST_F(ConvertTest, DeltasAreFoldedInAsIfTheTensorsHeldThem) {
  TinyCheckpoint tiny("aqlm", 8);
  const auto convert = [&](bool with_deltas) {
    Files files = tiny.Files();
    files["tokenizer.json"] = TinyCheckpoint::Tokenizer();
    const auto checkpoint = testing::OpenFiles(files).value();
    const model::CheckpointInfo read = model::ReadCheckpointInfo(*checkpoint).value();
    method::MethodSpec spec;
    spec.train_unquantized = with_deltas;
    const method::Partition partition = read.info.PartitionFor(spec);
    std::vector<float> values = partition.InitialValues();
    for (const method::PartitionTensor& tensor : partition.tensors()) {
      for (int64_t i = 0; i < tensor.count; ++i) {
        values[static_cast<size_t>(tensor.offset + i)] +=
            static_cast<float>((i + static_cast<int64_t>(tensor.shape.name.size())) % 5) / 8;
      }
    }
    const Fold fold = {.partition = &partition, .multipliers = values};
    EXPECT_OK(ConvertToGguf(base::RealFileSystem(), *checkpoint, GgmlType::kQ8_0, fold, out_));
    if (with_deltas) {  // from here on in the tensors themselves
      for (const method::PartitionTensor& tensor : partition.tensors()) {
        if (!tensor.shape.deltas) continue;
        TinyCheckpoint::Tensor& stored = tiny.tensors.at(tensor.shape.name);
        for (int64_t i = 0; i < tensor.count; ++i) {
          float value;
          std::memcpy(&value, stored.bytes.data() + i * 4, sizeof value);
          value += values[static_cast<size_t>(tensor.offset + i)];
          std::memcpy(stored.bytes.data() + i * 4, &value, sizeof value);
        }
      }
    }
    return base::RealFileSystem()->Read(out_).value();
  };
  const std::string folded = convert(true);
  EXPECT_TRUE(folded == convert(false)) << "the files differ";
}

TEST_F(ConvertTest, UnusedTokensFillTheEmbedding) {
  ASSERT_OK(Convert(Tiny(""), GgmlType::kQ8_0));
  ASSERT_OK_AND_ASSIGN(const auto made, model::Model::Load(out_));
  EXPECT_EQ(made->tokenizer().vocab_size(), 512);
  EXPECT_EQ(made->tokenizer().FindToken("[PAD511]"), 511);
  EXPECT_EQ(made->tokenizer().Encode("[PAD511]", true).value().size(), 8u);
}

TEST_F(ConvertTest, WhatGgufCannotSayIsRefusedByName) {
  const auto changed = [](const std::string& name, const nlohmann::json& changes) {
    Files files = Golden(name);
    nlohmann::json config = nlohmann::json::parse(files["config.json"]);
    config.update(changes);
    files["config.json"] = config.dump();
    return files;
  };
  const auto kInvalid = absl::StatusCode::kInvalidArgument;
  EXPECT_THAT(
      Convert(changed("mistral", {{"layer_types", {"sliding_attention", "full_attention"}}}), GgmlType::kF16),
      StatusIs(kInvalid, AllOf(HasSubstr("dir: GGUF files of 'llama'"), HasSubstr("which layers see a window"))));
  EXPECT_THAT(Convert(changed("gemma2", {{"attn_logit_softcapping", nullptr}}), GgmlType::kF16),
              StatusIs(kInvalid, HasSubstr("soft caps")));
  nlohmann::json yarn = {
      {"rope_type", "yarn"}, {"factor", 4.0}, {"attention_factor", 2.0}, {"original_max_position_embeddings", 16}};
  EXPECT_THAT(Convert(changed("llama", {{"rope_scaling", yarn}}), GgmlType::kF16),
              StatusIs(kInvalid, HasSubstr("rotary embedding")));

  Files unigram = Golden("llama");
  unigram["tokenizer.json"] = R"({"model":{"type":"Unigram","unk_id":0,"vocab":[["<unk>",0.0],["a",-1.0]]}})";
  EXPECT_THAT(Convert(unigram, GgmlType::kF16), StatusIs(kInvalid, HasSubstr("'Unigram'")));

  TinyCheckpoint large("");
  const float values[64] = {1e6f};
  std::memcpy(large.tensors["model.layers.0.self_attn.o_proj.weight"].bytes.data(), values, sizeof values);
  Files files = large.Files();
  files["tokenizer.json"] = TinyCheckpoint::Tokenizer();
  EXPECT_THAT(Convert(files, GgmlType::kF16),
              StatusIs(kInvalid, AllOf(HasSubstr("o_proj.weight' has the value 1e+06"), HasSubstr("half precision"))));
  EXPECT_FALSE(base::RealFileSystem()->Exists(out_));
}

}  // namespace
}  // namespace qzo::client
