// Models of checkpoint directories: what they compute, and that repacked layers compute what their values do.
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>

#include "base/fs.h"
#include "kernels/test_data.h"
#include "method/batch_order.h"
#include "method/rule.h"
#include "model/graph/engine.h"
#include "model/graph/replica.h"
#include "tests/support/temp_dir.h"
#include "tests/support/tiny_checkpoint.h"
#include "tests/support/tiny_model.h"

namespace qzo::model {
namespace {

using qzo::testing::FlatLanes;
using qzo::testing::OpenFiles;
using qzo::testing::StatusIs;
using qzo::testing::SupportedKernels;
using qzo::testing::TinyCheckpoint;
using ::testing::HasSubstr;

using Files = std::map<std::string, std::string>;

std::unique_ptr<Tokenizer> StoriesTokenizer() {
  const auto file = GgufFile::Open(testing::TestFile("golden/models/stories260k/stories260K-F32.gguf"));
  auto tokenizer = MakeTokenizer(**file);
  EXPECT_OK(tokenizer);
  return *std::move(tokenizer);
}

std::unique_ptr<Model> Load(const Files& files) {
  auto checkpoint = OpenFiles(files);
  EXPECT_OK(checkpoint);
  auto model = Model::Load(*std::move(checkpoint), StoriesTokenizer());
  EXPECT_OK(model);
  return model.ok() ? *std::move(model) : nullptr;
}

std::vector<float> Logits(const Model& model, const kernels::Kernels& kernels, LaneSource* lane,
                          kernels::Arithmetic arithmetic = kernels::Arithmetic::kFp32) {
  kernels::ThreadPool pool(1);
  const std::vector<int32_t> ids = {1, 403, 407, 261, 378};
  auto logits = Engine(model, kernels, &pool, arithmetic).Logits(ids, lane);
  EXPECT_OK(logits);
  return *std::move(logits);
}

void ExpectNear(const std::vector<float>& got, const std::vector<float>& expected, float bound = 1e-4f) {
  float largest = 0;
  for (const float value : expected) largest = std::max(largest, std::abs(value));
  ASSERT_GT(largest, 0.1f);
  for (size_t i = 0; i < expected.size(); ++i) ASSERT_NEAR(got[i], expected[i], bound * largest);
}

// The checkpoint with every quantized layer of `model` as F32.
Files Dequantized(TinyCheckpoint checkpoint, const Model& model) {
  checkpoint.config.erase("quantization_config");
  const Layer& layer = model.layers()[0];
  const kernels::WeightMatrix matrices[] = {layer.q,    layer.k,  layer.v,   layer.attention_output,
                                            layer.gate, layer.up, layer.down};
  std::erase_if(checkpoint.tensors, [](const auto& entry) { return entry.first.find("proj") != std::string::npos; });
  for (size_t i = 0; i < 7; ++i) {
    const kernels::WeightMatrix& w = matrices[i];
    std::vector<float> row(static_cast<size_t>(w.cols)), values;
    for (int64_t n = 0; n < w.rows; ++n) {
      kernels::DequantizeRow(w, n, row.data());
      std::vector<float> ordered(row);
      for (size_t j = 0; w.order != nullptr && j < row.size(); ++j) ordered[static_cast<size_t>(w.order[j])] = row[j];
      values.insert(values.end(), ordered.begin(), ordered.end());
    }
    checkpoint.Set(model.info().trained[i].name, "F32", {w.rows, w.cols}, values);
  }
  return checkpoint.Files();
}

constexpr std::pair<const char*, int> kMethods[] = {{"gptq", 2},  {"gptq", 3},  {"gptq", 4},
                                                    {"gptq", 8},  {"awq", 4},   {"bitsandbytes", 4},
                                                    {"aqlm", 16}, {"aqlm", 28}, {"aqlm", 8}};

TEST(CheckpointModelTest, RepackedLayersComputeWhatTheirValuesDo) {
  for (const auto& [method, bits] : kMethods) {
    const TinyCheckpoint checkpoint(method, bits);
    const Files files = checkpoint.Files();
    const std::unique_ptr<Model> model = Load(files);
    const Files plain_files = Dequantized(checkpoint, *model);
    const std::unique_ptr<Model> plain = Load(plain_files);
    PlainLane lane;
    const std::vector<float> expected = Logits(*plain, *SupportedKernels().front(), &lane);
    for (const kernels::Kernels* kernels : SupportedKernels()) {
      EXPECT_EQ(kernels::FirstDifference(Logits(*model, *kernels, &lane), expected), -1)
          << method << bits << " " << kernels->name;
    }
  }
}

// By group, and by row where a row has one scale.
TEST(CheckpointModelTest, TwentyStepsLowerTheLoss) {
  TaskSpec task;
  task.prompt = "{t}";
  task.options = {"He", "She"};
  constexpr char kRows[] =
      "{\"t\":\"Once upon\",\"label\":0}\n{\"t\":\"a time\",\"label\":1}\n{\"t\":\"Tom was\",\"label\":0}\n"
      "{\"t\":\"Lily saw\",\"label\":1}\n";
  kernels::ThreadPool pool(2);
  for (const auto& [method, bits] : kMethods) {
    const Files files = TinyCheckpoint(method, bits).Files();
    const std::unique_ptr<Model> model = Load(files);
    DatasetReport report;
    ASSERT_OK_AND_ASSIGN(const TaskDataset data, TaskDataset::Load(task, model->tokenizer(), kRows, "rows", &report));
    method::MethodSpec spec;
    spec.granularity = method::Granularity::kGroup;
    spec.seed = 5;
    spec.steps = 20;
    spec.batch_size = 4;
    spec.learning_rate = 0.05f;
    Engine engine(*model, kernels::BestKernels(), &pool, kernels::Arithmetic::kInt16);
    ASSERT_OK_AND_ASSIGN(const auto replica, Replica::Create(*model, spec, kernels::BestKernels(), &pool));
    const method::BatchOrder order(spec, "digest", data.rows_by_label());
    const auto loss = [&] {
      auto sums = replica->EvaluateRows(&engine, task, data, std::vector<int32_t>{0, 1, 2, 3});
      EXPECT_OK(sums);
      return sums->loss_sum;
    };
    const double before = loss();
    method::RuleState state;
    std::vector<method::ItemLosses> items;
    for (uint32_t step = 0; step < spec.steps; ++step) {
      ASSERT_OK(replica->MeasureItems(&engine, task, data, order, 0, spec.items(), &items));
      std::vector<float> d;
      for (const method::ItemLosses& item : items) d.push_back(method::ProjectedGradient({&item, 1}, spec.epsilon));
      ASSERT_OK(replica->Apply(method::Coefficients(spec, step, d, &state)));
    }
    EXPECT_LT(loss(), 0.95 * before) << method << bits;
  }
}

TEST(CheckpointModelTest, UnitsAreTheInversesOfScalesBesideACodebook) {
  const TinyCheckpoint checkpoint("aqlm", 8);
  const Files files = checkpoint.Files();
  const std::unique_ptr<Model> model = Load(files);
  ASSERT_OK_AND_ASSIGN(const std::vector<float> units, model->Units(0, method::Granularity::kChannel));
  const std::string& scales = checkpoint.tensors.at("model.layers.0.self_attn.q_proj.scales").bytes;
  ASSERT_EQ(units.size(), 64u);
  for (size_t n = 0; n < units.size(); ++n) {
    uint16_t half;
    std::memcpy(&half, scales.data() + 2 * n, 2);
    EXPECT_EQ(units[n], 1 / kernels::HalfToFloat(half));
  }
  const Files nf4_files = TinyCheckpoint("bitsandbytes").Files();
  const std::unique_ptr<Model> nf4 = Load(nf4_files);
  EXPECT_EQ(nf4->info().trained[0].group, 32);
  ASSERT_OK_AND_ASSIGN(const std::vector<float> by_group, nf4->Units(0, method::Granularity::kGroup));
  EXPECT_EQ(by_group.size(), 64u * 64 / 32);
  EXPECT_EQ(by_group[5], 1 / nf4->layers()[0].q.scales[5]);
}

// Columns are added up in another order then.
TEST(CheckpointModelTest, ActivationsFollowTheColumnsOfActOrder) {
  const TinyCheckpoint checkpoint("gptq", 4, true);
  const Files files = checkpoint.Files();
  const std::unique_ptr<Model> model = Load(files);
  ASSERT_NE(model->layers()[0].q.order, nullptr);
  const Files plain_files = Dequantized(checkpoint, *model);
  PlainLane lane;
  const std::vector<float> got = Logits(*model, kernels::BestKernels(), &lane);
  ExpectNear(got, Logits(*Load(plain_files), kernels::BestKernels(), &lane));
  EXPECT_EQ(kernels::FirstDifference(got, Logits(*model, *SupportedKernels().front(), &lane)), -1);
}

// In integers the input is put in order before it is rounded.
TEST(CheckpointModelTest, ProductsOfIntegersAreCloseAndTheSameEverywhere) {
  for (const bool act_order : {false, true}) {
    const Files files = TinyCheckpoint("gptq", 4, act_order).Files();
    const std::unique_ptr<Model> model = Load(files);
    PlainLane lane;
    const std::vector<float> exact = Logits(*model, kernels::BestKernels(), &lane);
    const std::vector<float> expected = Logits(*model, *SupportedKernels().front(), &lane, kernels::Arithmetic::kInt16);
    EXPECT_NE(kernels::FirstDifference(expected, exact), -1);
    ExpectNear(expected, exact, 1e-2f);
    for (const kernels::Kernels* kernels : SupportedKernels()) {
      EXPECT_EQ(kernels::FirstDifference(Logits(*model, *kernels, &lane, kernels::Arithmetic::kInt16), expected), -1)
          << kernels->name;
    }
  }
}

TEST(CheckpointModelTest, GroupsOfSeveralBlocksAreTrained) {
  TinyCheckpoint checkpoint("gptq", 4);
  checkpoint.config["quantization_config"]["group_size"] = -1;
  for (auto& [name, tensor] : checkpoint.tensors) {  // one group a row
    const bool per_group = name.ends_with(".scales") || name.ends_with(".qzeros");
    if (!per_group) continue;
    tensor.bytes.resize(tensor.bytes.size() / static_cast<size_t>(tensor.dims[0]));
    tensor.dims[0] = 1;
  }
  const Files files = checkpoint.Files();
  const std::unique_ptr<Model> model = Load(files);
  EXPECT_EQ(model->layers()[0].down.group, 96);
  const method::Partition partition(method::Granularity::kGroup, model->info().trained);
  EXPECT_EQ(partition.tensors()[6].count, 64);
  std::vector<float> multipliers(static_cast<size_t>(partition.multipliers()));
  for (size_t i = 0; i < multipliers.size(); ++i) multipliers[i] = 1 + 0.01f * static_cast<float>(i % 9);
  FlatLanes lane(partition, {multipliers});
  const std::vector<float> expected = Logits(*model, *SupportedKernels().front(), &lane);
  for (const kernels::Kernels* kernels : SupportedKernels()) {
    EXPECT_EQ(kernels::FirstDifference(Logits(*model, *kernels, &lane), expected), -1) << kernels->name;
  }
  ASSERT_OK_AND_ASSIGN(const std::vector<float> units, model->Units(6, method::Granularity::kChannel));
  const auto& scales = checkpoint.tensors.at("model.layers.0.mlp.down_proj.scales");
  for (size_t n = 0; n < 64; ++n) {
    uint16_t half;
    std::memcpy(&half, scales.bytes.data() + 2 * n, 2);
    EXPECT_EQ(units[n], 1 / kernels::HalfToFloat(half));
  }
}

TEST(CheckpointModelTest, PlainTypesComputeWhatTheyHold) {
  TinyCheckpoint half, full;
  for (auto& [name, tensor] : half.tensors) {
    if (name.find("proj") == std::string::npos) continue;
    std::vector<uint16_t> brains(tensor.bytes.size() / 4);
    std::vector<float> values(brains.size());
    for (size_t i = 0; i < brains.size(); ++i) {
      std::memcpy(&brains[i], tensor.bytes.data() + 4 * i + 2, 2);
      values[i] = std::bit_cast<float>(uint32_t{brains[i]} << 16);
    }
    full.Set(name, "F32", tensor.dims, values);
    half.Set(name, "BF16", std::vector<int64_t>(tensor.dims), brains);
  }
  const Files files = half.Files(2), full_files = full.Files();
  PlainLane lane;
  EXPECT_EQ(kernels::FirstDifference(Logits(*Load(files), kernels::BestKernels(), &lane),
                                     Logits(*Load(full_files), kernels::BestKernels(), &lane)),
            -1);
}

// stories260K the way Hugging Face has it: other names, and the rows of queries and keys so that halves of a head are
// turned together.
TEST(CheckpointModelTest, AgreesWithTheGgufOfTheSameModel) {
  const std::unique_ptr<Model> gguf = qzo::testing::LoadStories("F32");
  const ModelInfo& info = gguf->info();
  TinyCheckpoint checkpoint;
  checkpoint.tensors.clear();
  checkpoint.config = {{"model_type", "llama"},
                       {"num_hidden_layers", info.layers},
                       {"hidden_size", info.embedding_length},
                       {"intermediate_size", info.feed_forward_length},
                       {"vocab_size", info.vocabulary},
                       {"num_attention_heads", info.heads},
                       {"num_key_value_heads", info.kv_heads},
                       {"max_position_embeddings", info.context_length},
                       {"rms_norm_eps", info.norm_epsilon},
                       {"tie_word_embeddings", true}};
  const auto copy = [&](const std::string& from, const std::string& to, bool by_halves) {
    const GgufTensor& tensor = *gguf->file().FindTensor(from + ".weight");
    const std::vector<int64_t> dims(tensor.dims.rbegin(), tensor.dims.rend());
    std::string bytes(tensor.bytes);
    const size_t row = 4 * static_cast<size_t>(dims.back()), head = static_cast<size_t>(info.head_dim);
    for (size_t n = 0; by_halves && n < static_cast<size_t>(dims[0]); ++n) {
      const size_t i = n % head, source = n - i + (i < head / 2 ? 2 * i : 2 * (i - head / 2) + 1);
      bytes.replace(n * row, row, tensor.bytes.substr(source * row, row));
    }
    checkpoint.tensors[to + ".weight"] = {"F32", dims, bytes};
  };
  copy("token_embd", "model.embed_tokens", false);
  copy("output_norm", "model.norm", false);
  for (int32_t layer = 0; layer < info.layers; ++layer) {
    const std::string from = "blk." + std::to_string(layer) + ".";
    const std::string to = "model.layers." + std::to_string(layer) + ".";
    copy(from + "attn_norm", to + "input_layernorm", false);
    copy(from + "ffn_norm", to + "post_attention_layernorm", false);
    copy(from + "attn_q", to + "self_attn.q_proj", true);
    copy(from + "attn_k", to + "self_attn.k_proj", true);
    copy(from + "attn_v", to + "self_attn.v_proj", false);
    copy(from + "attn_output", to + "self_attn.o_proj", false);
    copy(from + "ffn_gate", to + "mlp.gate_proj", false);
    copy(from + "ffn_up", to + "mlp.up_proj", false);
    copy(from + "ffn_down", to + "mlp.down_proj", false);
  }
  const Files files = checkpoint.Files(3);
  PlainLane lane;
  ExpectNear(Logits(*Load(files), kernels::BestKernels(), &lane), Logits(*gguf, kernels::BestKernels(), &lane));
}

TEST(CheckpointModelTest, Llama3ScalingSlowsLongWavelengthsOnly) {
  TinyCheckpoint checkpoint;
  const Files files = checkpoint.Files();
  checkpoint.config["rope_scaling"] = {{"rope_type", "llama3"},
                                       {"factor", 4.0},
                                       {"low_freq_factor", 1.0},
                                       {"high_freq_factor", 4.0},
                                       {"original_max_position_embeddings", 64}};
  const Files scaled_files = checkpoint.Files();
  const std::unique_ptr<Model> model = Load(files), scaled = Load(scaled_files);
  const auto angle = [](const Model& m, size_t position, size_t i) {
    return std::atan2(m.rope().sin[position * 16 + i], m.rope().cos[position * 16 + i]);
  };
  EXPECT_EQ(angle(*scaled, 3, 0), angle(*model, 3, 0));               // a wavelength of 6.3 positions
  EXPECT_NEAR(angle(*scaled, 100, 15), angle(*model, 25, 15), 1e-6);  // of 35,000
  // Wavelength 2π·10000^(4/16) = 62.8 turns 1.019 times in 64 positions.
  const double kept = (64 / (2 * M_PI * 10) - 1) / 3, divisor = 1 / ((1 - kept) / 4 + kept);
  EXPECT_NEAR(angle(*scaled, 10, 4), 1 / divisor, 1e-5);
}

TEST(CheckpointModelTest, ADirectoryIsLoadedWithItsTokenizer) {
  testing::TempDir directory;
  Files files = TinyCheckpoint("awq").Files(2);
  const auto write = [&] {
    for (const auto& [name, bytes] : files) {
      ASSERT_OK(base::RealFileSystem()->WriteDurably(directory.File(name), bytes));
    }
  };
  write();
  EXPECT_THAT(Model::Load(directory.path()), StatusIs(absl::StatusCode::kInvalidArgument,
                                                      HasSubstr(directory.path() + ": tokenizer.json is missing")));
  files["tokenizer.json"] = R"({"model":{"type":"BPE","vocab":{"a":0,"b":1,"ab":2},"merges":["a b"]}})";
  write();
  ASSERT_OK_AND_ASSIGN(const auto model, Model::Load(directory.path()));
  EXPECT_EQ(model->path(), directory.path());
  EXPECT_EQ(model->tokenizer().vocab_size(), 3);
  EXPECT_EQ(model->Digest(), (*OpenFiles(files))->Digest());
}

TEST(CheckpointModelTest, OnlyGgufModelsHaveAFile) {
  const Files files = TinyCheckpoint("awq").Files();
  const std::unique_ptr<Model> model = Load(files);
  EXPECT_FALSE(model->from_gguf());
  EXPECT_EQ(model->path(), "dir");
  EXPECT_EQ(model->Digest().size(), 64u);
  const ModelInfo& info = model->info();
  EXPECT_EQ(info.repacked_bytes,
            (2 * 64 + 2 * 32 + 3 * 96) * 64 / 32 * kernels::BlockBytes(kernels::WeightType::kU4x32));
  EXPECT_EQ(model->resident_bytes(), info.file_bytes - info.released_bytes + info.repacked_bytes);
}

TEST(CheckpointModelTest, ATokenizerLargerThanTheEmbeddingIsRefused) {
  TinyCheckpoint checkpoint;
  checkpoint.config["vocab_size"] = 8;
  checkpoint.AddFloats("model.embed_tokens.weight", {8, 64});
  checkpoint.AddFloats("lm_head.weight", {8, 64});
  const Files files = checkpoint.Files();
  EXPECT_THAT(Model::Load(*OpenFiles(files), StoriesTokenizer()),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("dir: the tokenizer has 512 tokens")));
}

}  // namespace
}  // namespace qzo::model
