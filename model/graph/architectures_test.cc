// Every architecture from both formats: the logits that Hugging Face transformers computes for the same weights
// (tests/reference/architectures.py), the same bits from every variant and however rows share a pass, and training.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "base/fs.h"
#include "kernels/test_data.h"
#include "kernels/weights.h"
#include "method/batch_order.h"
#include "method/rule.h"
#include "model/graph/forward.h"
#include "model/graph/generation_batch.h"
#include "model/graph/replica.h"
#include "tests/support/safetensors_builder.h"
#include "tests/support/status_matchers.h"
#include "tests/support/tiny_checkpoint.h"
#include "tests/support/tiny_model.h"

namespace qzo::model {
namespace {

using qzo::testing::FlatLanes;
using qzo::testing::LoadBytes;
using qzo::testing::MultipliedFile;
using qzo::testing::SupportedKernels;

std::string PathOf(const std::string& name, const std::string& file) {
  return testing::TestFile("golden/architectures/" + name + "/" + file);
}

std::unique_ptr<Model> LoadGguf(const std::string& name) {
  auto model = Model::Load(PathOf(name, "model.gguf"));
  EXPECT_OK(model);
  return model.ok() ? *std::move(model) : nullptr;
}

// The directory has no tokenizer: that of the GGUF file serves.
std::unique_ptr<Model> LoadCheckpoint(const std::string& name) {
  auto checkpoint = Checkpoint::Open(PathOf(name, ""));
  EXPECT_OK(checkpoint);
  auto file = GgufFile::Open(PathOf(name, "model.gguf"));
  EXPECT_OK(file);
  auto tokenizer = MakeTokenizer(**file);
  EXPECT_OK(tokenizer);
  auto model = Model::Load(*std::move(checkpoint), *std::move(tokenizer));
  EXPECT_OK(model);
  return model.ok() ? *std::move(model) : nullptr;
}

// The linear layers of a golden checkpoint are codes −8 … 7 times a scale of 32 … 63 · 2⁻¹⁰ for 32 inputs: what GPTQ
// and a codebook of 16 values hold exactly.
struct CodedLayer {
  std::string name;
  int64_t rows, cols;
  std::vector<int> codes;   // [rows, cols], 0 … 15
  std::vector<int> scales;  // [rows, cols / 32]
};

CodedLayer CodesOf(const CheckpointLinear& linear) {
  CodedLayer layer{.name = linear.name.substr(0, linear.name.rfind('.')), .rows = linear.rows, .cols = linear.cols};
  std::vector<float> values(static_cast<size_t>(linear.rows * linear.cols));
  const int64_t stored_cols = linear.transposed ? linear.rows : linear.cols;
  const kernels::WeightMatrix matrix{.type = *kernels::FindWeightType(SafetensorsTypeName(linear.weight->type)),
                                     .data = reinterpret_cast<const std::byte*>(linear.weight->bytes.data()),
                                     .rows = linear.rows * linear.cols / stored_cols,
                                     .cols = stored_cols};
  for (int64_t row = 0; row < matrix.rows; ++row)
    kernels::DequantizeRow(matrix, row, &values[static_cast<size_t>(row * stored_cols)]);
  for (int64_t n = 0; n < linear.rows; ++n) {
    for (int64_t first = 0; first < linear.cols; first += 32) {
      int units[32];
      for (int64_t i = 0; i < 32; ++i) {
        const int64_t k = first + i;
        units[i] = static_cast<int>(
            values[static_cast<size_t>(linear.transposed ? k * linear.rows + n : n * linear.cols + k)] * 1024);
      }
      int scale = 32;
      const auto fits = [&](int unit) { return unit % scale == 0 && unit / scale >= -8 && unit / scale <= 7; };
      while (scale < 64 && !std::all_of(units, units + 32, fits)) ++scale;
      EXPECT_LT(scale, 64) << linear.name << " row " << n;
      layer.scales.push_back(scale);
      for (const int unit : units) layer.codes.push_back(unit / scale + 8);
    }
  }
  return layer;
}

void AddGptq(const CodedLayer& layer, testing::SafetensorsBuilder* builder) {
  const size_t rows = static_cast<size_t>(layer.rows), cols = static_cast<size_t>(layer.cols), groups = cols / 32;
  std::vector<uint32_t> codes(cols / 8 * rows), zeros(groups * rows / 8, 0x77777777);  // 8, less one
  std::vector<uint16_t> scales(groups * rows);
  for (size_t n = 0; n < rows; ++n) {
    for (size_t k = 0; k < cols; ++k)
      codes[k / 8 * rows + n] |= static_cast<uint32_t>(layer.codes[n * cols + k]) << 4 * (k % 8);
    for (size_t g = 0; g < groups; ++g)
      scales[g * rows + n] = static_cast<uint16_t>(10 << 10 | (layer.scales[n * groups + g] - 32) << 5);
  }
  builder->Values(layer.name + ".qweight", "I32", {layer.cols / 8, layer.rows}, codes);
  builder->Values(layer.name + ".qzeros", "I32", {layer.cols / 32, layer.rows / 8}, zeros);
  builder->Values(layer.name + ".scales", "F16", {layer.cols / 32, layer.rows}, scales);
}

void AddNf4(const CodedLayer& layer, testing::SafetensorsBuilder* builder) {
  std::vector<uint8_t> codes;
  std::vector<float> absmax, values;
  for (size_t i = 0; i < layer.codes.size(); i += 2)
    codes.push_back(static_cast<uint8_t>(layer.codes[i] << 4 | layer.codes[i + 1]));
  for (const int scale : layer.scales) absmax.push_back(static_cast<float>(scale) / 1024);
  for (int value = -8; value < 8; ++value) values.push_back(static_cast<float>(value));
  const std::string name = layer.name + ".weight", state = R"({"quant_type":"nf4","blocksize":32})";
  builder->Values(name, "U8", {layer.rows * layer.cols / 2, 1}, codes);
  builder->Values(name + ".absmax", "F32", {static_cast<int64_t>(absmax.size())}, absmax);
  builder->Values(name + ".quant_map", "F32", {16}, values);
  builder->Tensor(name + ".quant_state.bitsandbytes__nf4", "U8", {static_cast<int64_t>(state.size())}, state);
}

// The golden checkpoint with its linear layers quantized. The files outlive the model.
std::unique_ptr<Model> LoadQuantized(const std::string& name, const std::string& method,
                                     std::map<std::string, std::string>* files) {
  const auto plain = Checkpoint::Open(PathOf(name, ""));
  EXPECT_OK(plain);
  const auto info = ReadCheckpointInfo(**plain);
  EXPECT_OK(info);
  testing::SafetensorsBuilder builder;
  std::set<std::string> coded;
  for (const CheckpointLinear& linear : info->linears) {
    coded.insert(linear.name);
    method == "gptq" ? AddGptq(CodesOf(linear), &builder) : AddNf4(CodesOf(linear), &builder);
  }
  for (const SafetensorsTensor& tensor : (*plain)->tensors()) {
    if (coded.contains(tensor.name)) continue;
    builder.Tensor(tensor.name, std::string(SafetensorsTypeName(tensor.type)), tensor.dims, tensor.bytes);
  }
  nlohmann::json config = nlohmann::json::parse((*plain)->File("config.json"));
  config["quantization_config"] = {
      {"quant_method", method}, {"bits", 4}, {"group_size", 32}, {"bnb_4bit_quant_type", "nf4"}};
  *files = {{"config.json", config.dump()}, {"model.safetensors", builder.Finish()}};
  auto checkpoint = testing::OpenFiles(*files);
  EXPECT_OK(checkpoint);
  const auto file = GgufFile::Open(PathOf(name, "model.gguf"));
  EXPECT_OK(file);
  auto model = Model::Load(*std::move(checkpoint), *MakeTokenizer(**file));
  EXPECT_OK(model);
  return model.ok() ? *std::move(model) : nullptr;
}

std::vector<int32_t> Ids(int32_t count = 14) {
  std::vector<int32_t> ids;
  for (int32_t i = 0; i < count; ++i) ids.push_back((7 * i * i + 3 * i + 1) % 96);
  return ids;
}

std::vector<float> Expected(const std::string& name, const std::string& logits_file = "logits.bin") {
  auto file = base::MappedFile::Open(PathOf(name, logits_file));
  EXPECT_OK(file);
  std::vector<float> logits((*file)->bytes().size() / sizeof(float));
  std::memcpy(logits.data(), (*file)->bytes().data(), logits.size() * sizeof(float));
  return logits;
}

std::vector<float> Logits(const Model& model, const kernels::Kernels& kernels, kernels::Arithmetic arithmetic,
                          LaneSource* lane, const std::vector<int32_t>& ids = Ids()) {
  kernels::ThreadPool pool(2);
  auto logits = Engine(model, kernels, &pool, arithmetic).Logits(ids, lane);
  EXPECT_OK(logits);
  return logits.ok() ? *std::move(logits) : std::vector<float>();
}

// In units of the largest expected value.
double LargestError(const std::vector<float>& got, const std::vector<float>& expected) {
  double error = 0, largest = 0;
  EXPECT_EQ(got.size(), expected.size());
  for (size_t i = 0; i < expected.size(); ++i) {
    largest = std::max(largest, std::fabs(double{expected[i]}));
    error = std::max(error, std::fabs(double{got[i]} - expected[i]));
  }
  EXPECT_GT(largest, 0.5);
  return error / largest;
}

class ArchitecturesTest : public ::testing::TestWithParam<const char*> {
 protected:
  // From both formats, and from safetensors quantized in two ways.
  std::vector<std::unique_ptr<Model>> Models() {
    std::vector<std::unique_ptr<Model>> models;
    models.push_back(LoadGguf(GetParam()));
    models.push_back(LoadCheckpoint(GetParam()));
    models.push_back(LoadQuantized(GetParam(), "gptq", &gptq_files_));
    models.push_back(LoadQuantized(GetParam(), "bitsandbytes", &nf4_files_));
    return models;
  }
  std::map<std::string, std::string> gptq_files_, nf4_files_;
  kernels::ThreadPool pool_{2};
  PlainLane plain_;
};

// A logit passes through two blocks of about eight operations, sums of up to 64 terms among them, whose orders differ:
// some 100 roundings of 2⁻²⁴ that the norms between them do not let grow. The reference is computed in double, but for
// its norms, angles and softmax.
constexpr double kFp32Bound = 200 * 0x1p-24;
// Rounding an input to 16 bits costs up to 2⁻¹⁶ of the largest of its 32 values, to 8 bits 2⁻⁸; some ten rounded
// products lie between a token and its logits.
constexpr double kInt16Bound = 20 * 0x1p-16, kInt8Bound = 20 * 0x1p-8;

TEST_P(ArchitecturesTest, ComputesTheLogitsOfTransformersFromBothFormatsInEveryVariant) {
  const std::vector<float> expected = Expected(GetParam());
  for (const std::unique_ptr<Model>& model : Models()) {
    for (const auto& [arithmetic, bound] : {std::pair{kernels::Arithmetic::kFp32, kFp32Bound},
                                            {kernels::Arithmetic::kInt16, kInt16Bound},
                                            {kernels::Arithmetic::kInt8, kInt8Bound}}) {
      const std::vector<float> first = Logits(*model, *SupportedKernels().front(), arithmetic, &plain_);
      const double error = LargestError(first, expected);
      RecordProperty("error_" + std::to_string(static_cast<int>(arithmetic)), std::to_string(error));
      EXPECT_LT(error, bound) << model->path() << " arithmetic " << static_cast<int>(arithmetic);
      for (const kernels::Kernels* kernels : SupportedKernels()) {
        EXPECT_EQ(kernels::FirstDifference(Logits(*model, *kernels, arithmetic, &plain_), first), -1)
            << model->path() << " " << kernels->name;
      }
    }
  }
}

// Matrices that hold several layers are sliced by rows, and so are their multipliers.
TEST_P(ArchitecturesTest, MultipliersReachEveryRowAndGroup) {
  const std::unique_ptr<Model> model = LoadGguf(GetParam());
  for (const auto granularity : {method::Granularity::kChannel, method::Granularity::kGroup}) {
    const method::Partition partition(granularity, model->info().trained);
    std::vector<float> multipliers(static_cast<size_t>(partition.multipliers()));
    for (size_t i = 0; i < multipliers.size(); ++i) multipliers[i] = 0.8f + 0.05f * static_cast<float>(i * 7 % 11);
    const std::string bytes = MultipliedFile(*model, partition, multipliers);
    const std::unique_ptr<Model> multiplied = LoadBytes(bytes);
    FlatLanes lane(partition, {multipliers});
    const std::vector<float> expected =
        Logits(*multiplied, kernels::BestKernels(), kernels::Arithmetic::kFp32, &plain_);
    const std::vector<float> got = Logits(*model, kernels::BestKernels(), kernels::Arithmetic::kFp32, &lane);
    EXPECT_LT(LargestError(got, expected), kFp32Bound);
    EXPECT_GT(LargestError(got, Expected(GetParam())), 1e-3) << "multipliers without influence prove nothing";
  }
}

// A prompt that branches share, rows of several examples and keys of earlier passes change no bit.
TEST_P(ArchitecturesTest, LossesDoNotDependOnWhatSharesAPass) {
  const std::vector<int32_t> ids = Ids();
  const Example shared{.prompt = {ids.begin(), ids.begin() + 8},
                       .branches = {{ids.begin() + 8, ids.end()}, {3, 5, 7}},
                       .scored = {},
                       .label = 0};
  for (const std::unique_ptr<Model>& model : Models()) {
    Engine engine(*model, kernels::BestKernels(), &pool_, kernels::Arithmetic::kFp32);
    ASSERT_OK_AND_ASSIGN(const std::vector<double> scores, engine.OptionScores(shared, &plain_));
    for (size_t i = 0; i < 2; ++i) {
      const std::vector<int32_t>& branch = shared.branches[i];
      const Example whole{.prompt = {ids[0]},
                          .branches = {{ids.begin() + 1, ids.begin() + 8}},
                          .scored = std::vector<uint8_t>(7, 0),
                          .label = -1};
      Example alone = whole;
      alone.branches[0].insert(alone.branches[0].end(), branch.begin(), branch.end());
      alone.scored.insert(alone.scored.end(), branch.size(), 1);
      const Example* one = &alone;
      std::vector<ExampleLoss> losses;
      ASSERT_OK(engine.Losses(TaskKind::kCompletion, {&one, 1}, &plain_, &losses));
      EXPECT_DOUBLE_EQ(-losses[0].loss / static_cast<double>(branch.size()), scores[i]);
    }

    ASSERT_OK_AND_ASSIGN(const std::vector<float> expected, engine.Logits(ids, &plain_));
    Forward forward(*model, kernels::BestKernels(), &pool_, kernels::Arithmetic::kFp32);
    KeyValueCache cache(model->info());
    cache.Reserve(14);
    int32_t at = 0;
    for (const int32_t count : {8, 1, 5}) {
      PassRows rows;
      for (int32_t i = 0; i < count; ++i) {
        rows.tokens.push_back(ids[static_cast<size_t>(at + i)]);
        rows.positions.push_back(at + i);
        rows.spans.push_back({0, 0, 0, at + i + 1});
        rows.kept.push_back(i);
      }
      rows.lanes.push_back({.lane = 0, .begin = 0, .end = count, .kept_begin = 0, .kept_end = count});
      std::vector<float> logits(static_cast<size_t>(count * 96));
      forward.Head(forward.Run(rows, &plain_, {&cache}), rows.lanes, &plain_, logits.data());
      EXPECT_TRUE(std::equal(logits.begin(), logits.end(), expected.begin() + at * 96)) << "at " << at;
      at += count;
    }
  }
}

TEST_P(ArchitecturesTest, TwentyStepsLowerTheLossFromBothFormats) {
  TaskSpec task;
  task.prompt = "{t}";
  task.options = {"a", "b"};
  constexpr char kRows[] =
      "{\"t\":\"aab\",\"label\":0}\n{\"t\":\"bba\",\"label\":1}\n{\"t\":\"abaa\",\"label\":0}\n{\"t\":\"bbb\","
      "\"label\":1}\n";
  for (const std::unique_ptr<Model>& model : Models()) {
    DatasetReport report;
    ASSERT_OK_AND_ASSIGN(const TaskDataset data, TaskDataset::Load(task, model->tokenizer(), kRows, "rows", &report));
    method::MethodSpec spec;
    spec.seed = 5;
    spec.steps = 20;
    spec.batch_size = 4;
    Engine engine(*model, kernels::BestKernels(), &pool_, kernels::Arithmetic::kInt16);
    ASSERT_OK_AND_ASSIGN(const auto replica, Replica::Create(*model, spec, kernels::BestKernels(), &pool_));
    const method::BatchOrder order(spec, "digest", data.rows_by_label());
    const auto loss = [&]() {
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
    EXPECT_LT(loss(), 0.9 * before) << model->path();
  }
}

INSTANTIATE_TEST_SUITE_P(Both, ArchitecturesTest,
                         ::testing::Values("llama", "mistral", "qwen2", "qwen3", "gemma2", "gemma3", "phi3", "opt",
                                           "gpt2"),
                         [](const auto& name) { return std::string(name.param); });

// The weights of "llama" with other rotary settings, from config.json and from keys.
class RopeScalingTest : public ::testing::TestWithParam<const char*> {};

TEST_P(RopeScalingTest, ComputesTheLogitsOfTransformers) {
  const std::string name = GetParam();
  PlainLane plain;
  auto weights = base::MappedFile::Open(PathOf("llama", "model.safetensors"));
  auto config = base::MappedFile::Open(PathOf(name, "config.json"));
  ASSERT_OK(weights);
  ASSERT_OK(config);
  auto checkpoint =
      Checkpoint::FromFiles({{"model.safetensors", (*weights)->bytes()}, {"config.json", (*config)->bytes()}}, "dir");
  ASSERT_OK(checkpoint);
  const std::unique_ptr<Model> llama = LoadGguf("llama");
  auto tokenizer = MakeTokenizer(llama->file());
  ASSERT_OK(tokenizer);
  ASSERT_OK_AND_ASSIGN(const auto model, Model::Load(*std::move(checkpoint), *std::move(tokenizer)));
  const kernels::Arithmetic fp32 = kernels::Arithmetic::kFp32;
  EXPECT_LT(LargestError(Logits(*model, kernels::BestKernels(), fp32, &plain), Expected(name)), kFp32Bound);

  testing::GgufBuilder builder;
  testing::CopyKeys(llama->file(), &builder);
  if (name == "llama-linear") {
    builder.String("llama.rope.scaling.type", "linear").Float("llama.rope.scaling.factor", 3);
  } else {
    builder.String("llama.rope.scaling.type", "yarn").Float("llama.rope.scaling.factor", 4);
    builder.Uint32("llama.rope.scaling.original_context_length", 16);
    builder.Float("llama.rope.scaling.yarn_beta_fast", 4).Float("llama.rope.scaling.yarn_beta_slow", 0.5f);
  }
  for (const GgufTensor& tensor : llama->file().tensors()) {
    if (tensor.name == "rope_freqs.weight") continue;
    builder.Tensor(tensor.name, tensor.type, {tensor.dims.begin(), tensor.dims.end()}, tensor.bytes);
  }
  const std::string bytes = builder.Finish();
  const std::unique_ptr<Model> from_keys = LoadBytes(bytes);
  EXPECT_LT(LargestError(Logits(*from_keys, kernels::BestKernels(), fp32, &plain), Expected(name)), kFp32Bound);
  EXPECT_GT(LargestError(Expected("llama"), Expected(name)), 1e-3) << "a scaling without influence proves nothing";
}

// Phi 3 with an original context of 32 (tests/reference/phi3_longrope.py): the length of a sequence chooses the
// divisors of all its positions.
class LongRopeTest : public ::testing::Test {
 protected:
  std::vector<std::unique_ptr<Model>> Models() {
    std::vector<std::unique_ptr<Model>> models;
    models.push_back(LoadGguf("phi3"));
    models.push_back(LoadCheckpoint("phi3"));
    return models;
  }
  kernels::ThreadPool pool_{2};
  PlainLane plain_;
};

TEST_F(LongRopeTest, ATokenBeyondTheOriginalContextChangesTheDivisors) {
  const std::vector<float> at_most = Expected("phi3", "logits-32.bin"), beyond = Expected("phi3", "logits-33.bin");
  for (const std::unique_ptr<Model>& model : Models()) {
    EXPECT_EQ(model->info().context_length, 64);
    const auto logits = [&](int32_t count) {
      return Logits(*model, kernels::BestKernels(), kernels::Arithmetic::kFp32, &plain_, Ids(count));
    };
    EXPECT_LT(LargestError(logits(32), at_most), kFp32Bound) << model->path();
    EXPECT_LT(LargestError(logits(33), beyond), kFp32Bound) << model->path();
  }
  const std::vector<float> shared_rows(beyond.begin(), beyond.end() - 96);
  EXPECT_GT(LargestError(shared_rows, at_most), 1e-3) << "divisors without influence prove nothing";
}

TEST_F(LongRopeTest, TheLongestOptionChoosesForAnExampleWhateverSharesItsPass) {
  const std::vector<int32_t> ids = Ids(34);
  const Example longer{.prompt = {ids.begin(), ids.begin() + 20},
                       .branches = {{ids.begin() + 20, ids.end()}, {3, 5}},
                       .scored = {},
                       .label = 0};
  Example whole{.prompt = {ids[0]}, .branches = {{ids.begin() + 1, ids.end()}}, .scored = {}, .label = -1};
  whole.scored.assign(19, 0);
  whole.scored.resize(33, 1);
  const Example shorter{.prompt = {5, 6}, .branches = {{7, 8}}, .scored = {}, .label = -1};
  for (const std::unique_ptr<Model>& model : Models()) {
    Engine engine(*model, kernels::BestKernels(), &pool_, kernels::Arithmetic::kFp32);
    ASSERT_OK_AND_ASSIGN(const std::vector<double> scores, engine.OptionScores(longer, &plain_));
    std::vector<ExampleLoss> alone, together;
    const Example* examples[] = {&shorter, &whole};
    ASSERT_OK(engine.Losses(TaskKind::kCompletion, examples, &plain_, &together));
    EXPECT_DOUBLE_EQ(-together[1].loss / 14, scores[0]);
    ASSERT_OK(engine.Losses(TaskKind::kCompletion, {examples, 1}, &plain_, &alone));
    EXPECT_EQ(alone[0].loss, together[0].loss);
  }
}

TEST_F(LongRopeTest, GeneratedTextsAreRotatedAsTheLongestThatTheyMayBecome) {
  const std::vector<int32_t> ids = Ids(30);
  for (const std::unique_ptr<Model>& model : Models()) {
    for (const int tokens : {2, 3}) {
      GenerationBatch batch(*model, kernels::BestKernels(), &pool_, kernels::Arithmetic::kFp32);
      ASSERT_OK(batch.Add(ids, {.max_tokens = tokens}, &plain_));
      const std::vector<GenerationBatch::Progress> progress = batch.Step();
      ASSERT_EQ(progress.size(), 1u);
      std::vector<int32_t> all = ids;
      all.resize(static_cast<size_t>(30 + tokens), 7);  // causal: what follows a token does not change its logits
      const std::vector<float> logits =
          Logits(*model, kernels::BestKernels(), kernels::Arithmetic::kFp32, &plain_, all);
      const auto last = logits.begin() + 29 * 96;
      EXPECT_EQ(progress[0].token, static_cast<int32_t>(std::max_element(last, last + 96) - last));
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Scalings, RopeScalingTest, ::testing::Values("llama-linear", "llama-yarn"));

}  // namespace
}  // namespace qzo::model
