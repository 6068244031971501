#include "model/graph/stage_passes.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <deque>
#include <optional>
#include <set>

#include "base/philox.h"
#include "method/batch_order.h"
#include "method/rule.h"
#include "model/graph/replica.h"
#include "tests/support/queue_seam.h"
#include "tests/support/status_matchers.h"
#include "tests/support/tiny_checkpoint.h"
#include "tests/support/tiny_model.h"

namespace qzo::model {
namespace {

using qzo::testing::FlatLanes;
using qzo::testing::LoadBytes;
using qzo::testing::LoadStories;
using qzo::testing::OpenFiles;
using qzo::testing::Passed;
using qzo::testing::QueueSeam;
using qzo::testing::StatusIs;
using qzo::testing::SupportedKernels;
using qzo::testing::TinyCheckpoint;
using ::testing::HasSubstr;

using Ranges = std::vector<LayerRange>;
// One stage's model, seam and engine.
struct Stage {
  Stage(std::unique_ptr<Model> model_in, Passed* in, Passed* out, const kernels::Kernels& kernels,
        kernels::ThreadPool* pool, kernels::Arithmetic arithmetic, int64_t max_rows)
      : model(std::move(model_in)),
        seam(in, out),
        engine(*model, std::make_unique<StagePasses>(*model, kernels, pool, arithmetic, &seam), max_rows) {}
  std::unique_ptr<Model> model;
  QueueSeam seam;
  Engine engine;
};

bool UsedBy(const ModelInfo& info, LayerRange range, const std::string& tensor) {
  if (tensor.starts_with("blk.")) {
    const int layer = std::stoi(tensor.substr(4));
    return layer >= range.begin && layer < range.end;
  }
  const bool first = range.begin == 0, last = range.end == info.layers;
  if (tensor == info.embedding.weight && first) return true;
  if (tensor == info.head.weight || tensor == info.output_norm.weight || tensor == info.output_norm.bias) return last;
  if (tensor == info.positions.weight) return first;
  return tensor == info.rope.divisors_tensor;
}

// The file with noughts and ones in place of what a range has no use for: NaN in whatever reads it.
std::string Scrubbed(const Model& model, LayerRange range) {
  std::string bytes(model.file().bytes());
  for (const GgufTensor& tensor : model.file().tensors()) {
    if (UsedBy(model.info(), range, tensor.name)) continue;
    const size_t begin = static_cast<size_t>(tensor.bytes.data() - model.file().bytes().data());
    std::fill_n(bytes.begin() + static_cast<int64_t>(begin), tensor.bytes.size(), '\xff');
  }
  return bytes;
}

std::vector<float> Multipliers(const method::Partition& partition, uint32_t lane) {
  std::vector<float> k(static_cast<size_t>(partition.multipliers()));
  for (size_t i = 0; i < k.size(); ++i) {
    const uint32_t word = base::Philox4x32(5, {{static_cast<uint32_t>(i), lane, 0, 0}}).w[0];
    k[i] = 1 + 0.1f * (static_cast<float>(word) * 0x1p-32f - 0.5f);
  }
  return k;
}

// Options of several lengths after prompts of several lengths.
std::vector<Example> Examples() {
  std::vector<Example> examples;
  for (int32_t i = 0; i < 5; ++i) {
    Example& example = examples.emplace_back();
    for (int32_t j = 0; j < 3 + 4 * i; ++j) example.prompt.push_back((7 * j * j + 3 * j + i) % 96);
    example.branches = {{5, 9 + i}, {40 + i, 2, 11}, {17}};
    example.label = i % 3;
  }
  return examples;
}

bool SameBits(const std::vector<ExampleLoss>& a, const std::vector<ExampleLoss>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](const ExampleLoss& x, const ExampleLoss& y) {
    return std::bit_cast<uint64_t>(x.loss) == std::bit_cast<uint64_t>(y.loss) && x.count == y.count &&
           x.predicted == y.predicted;
  });
}

class StagePassesTest : public ::testing::Test {
 protected:
  using LoadRange = std::function<std::unique_ptr<Model>(LayerRange)>;

  // Losses under two lanes by the whole model and by its parts, by every variant and arithmetic.
  void ExpectThePartsAreTheWhole(const Model& whole, const LoadRange& load, const Ranges& ranges) {
    const method::Partition partition(method::Granularity::kChannel, whole.info().trained);
    const std::vector<std::vector<float>> multipliers = {Multipliers(partition, 0), Multipliers(partition, 1)};
    FlatLanes lanes(partition, multipliers);
    const std::vector<Example> examples = Examples();
    std::vector<const Example*> pointers;
    for (const Example& example : examples) pointers.push_back(&example);
    for (const kernels::Kernels* kernels : SupportedKernels()) {
      for (const auto arithmetic :
           {kernels::Arithmetic::kFp32, kernels::Arithmetic::kInt16, kernels::Arithmetic::kInt8}) {
        constexpr int64_t kRows = 60;  // several passes, some of one lane and some of two
        std::vector<ExampleLoss> expected, losses;
        ASSERT_OK(Engine(whole, *kernels, &pool_, arithmetic, kRows)
                      .Losses(TaskKind::kClassification, pointers, &lanes, &expected));
        std::vector<Passed> passed(ranges.size() + 1);
        size_t passes = 0;
        for (size_t i = 0; i < ranges.size(); ++i) {
          Stage stage(load(ranges[i]), &passed[i], &passed[i + 1], *kernels, &pool_, arithmetic, kRows);
          const method::Partition slice = Replica::PartitionOf(*stage.model, {});
          std::vector<std::vector<float>> parts;
          for (const std::vector<float>& lane : multipliers) {
            const auto begin = lane.begin() + slice.first_value();
            parts.emplace_back(begin, begin + slice.multipliers());
          }
          FlatLanes stage_lanes(slice, parts);
          ASSERT_OK(stage.engine.Losses(TaskKind::kClassification, pointers, &stage_lanes, &losses));
          EXPECT_TRUE(passed[i].empty());
          passes = std::max(passes, passed[i + 1].size());
        }
        EXPECT_GT(passes, 1u);
        EXPECT_TRUE(SameBits(losses, expected))
            << whole.path() << " " << kernels->name << " " << kernels::ArithmeticName(arithmetic);
      }
    }
  }

  kernels::ThreadPool pool_{2};
};

TEST_F(StagePassesTest, TwoStagesOfEveryArchitectureAreTheWholeModelBitForBit) {
  for (const char* name : {"llama", "mistral", "qwen2", "qwen3", "gemma2", "gemma3", "phi3", "opt", "gpt2"}) {
    const std::string directory = testing::TestFile(std::string("golden/architectures/") + name);
    ASSERT_OK_AND_ASSIGN(const auto gguf, Model::Load(directory + "/model.gguf"));
    const Ranges ranges = {{0, 1}, {1, gguf->info().layers}};
    std::deque<std::string> files;
    ExpectThePartsAreTheWhole(
        *gguf, [&](LayerRange range) { return LoadBytes(files.emplace_back(Scrubbed(*gguf, range)), range); }, ranges);
    const auto from_checkpoint = [&](LayerRange range) {
      auto checkpoint = Checkpoint::Open(directory);
      EXPECT_OK(checkpoint);
      auto tokenizer = MakeTokenizer(gguf->file());
      EXPECT_OK(tokenizer);
      auto model = Model::Load(*std::move(checkpoint), *std::move(tokenizer), range);
      EXPECT_OK(model);
      return *std::move(model);
    };
    ExpectThePartsAreTheWhole(*from_checkpoint({}), from_checkpoint, ranges);
  }
}

TEST_F(StagePassesTest, ThreeStagesAreTheWholeModelBitForBit) {
  for (const std::string storage : {"F32", "Q8_0", "Q4_1"}) {
    const std::unique_ptr<Model> whole = LoadStories(storage);
    std::deque<std::string> files;
    ExpectThePartsAreTheWhole(
        *whole, [&](LayerRange range) { return LoadBytes(files.emplace_back(Scrubbed(*whole, range)), range); },
        {{0, 1}, {1, 4}, {4, 5}});
  }
}

TEST_F(StagePassesTest, PartsOfRepackedCheckpointsAreTheWholeModelBitForBit) {
  const auto stories = LoadStories("F32");
  for (const auto& [method, bits, act_order] : {std::tuple("gptq", 4, true), std::tuple("awq", 4, false),
                                                std::tuple("bitsandbytes", 4, false), std::tuple("aqlm", 8, false)}) {
    const auto files = TinyCheckpoint(method, bits, act_order, /*layers=*/3).Files();
    const auto load = [&](LayerRange range) {
      auto checkpoint = OpenFiles(files);
      EXPECT_OK(checkpoint);
      auto tokenizer = MakeTokenizer(stories->file());
      EXPECT_OK(tokenizer);
      auto model = Model::Load(*std::move(checkpoint), *std::move(tokenizer), range);
      EXPECT_OK(model);
      return *std::move(model);
    };
    const std::unique_ptr<Model> whole = load({});
    ExpectThePartsAreTheWhole(*whole, load, {{0, 2}, {2, 3}});
    EXPECT_LT(load({0, 2})->resident_bytes() + load({2, 3})->resident_bytes(), whole->resident_bytes() + 1)
        << "what one stage holds no other does";
  }
}

// Items, coefficients, multipliers and digests over some steps: the same journal.
void ExpectTheSameJournal(const method::MethodSpec& spec, const std::string& path, const Ranges& ranges,
                          const kernels::Kernels& kernels) {
  constexpr char kRows[] =
      "{\"t\":\"aababbabaabbbabaababaab\",\"label\":0}\n{\"t\":\"bba\",\"label\":1}\n"
      "{\"t\":\"abaaaababbabab\",\"label\":0}\n{\"t\":\"bbbbabbbab\",\"label\":1}\n";
  constexpr kernels::Arithmetic kArithmetic = kernels::Arithmetic::kInt16;
  constexpr int64_t kMaxRows = 40;
  kernels::ThreadPool pool(2);
  TaskSpec task;
  task.prompt = "{t}";
  task.options = {"a", "bab"};
  ASSERT_OK_AND_ASSIGN(const std::unique_ptr<Model> whole, Model::Load(testing::TestFile(path)));
  DatasetReport report;
  ASSERT_OK_AND_ASSIGN(const TaskDataset data, TaskDataset::Load(task, whole->tokenizer(), kRows, "rows", &report));
  const method::BatchOrder order(spec, "digest", data.rows_by_label());
  Engine engine(*whole, kernels, &pool, kArithmetic);
  ASSERT_OK_AND_ASSIGN(const auto replica, Replica::Create(*whole, spec, kernels, &pool));

  std::vector<Passed> passed(ranges.size() + 1);
  std::deque<Stage> stages;
  std::vector<std::unique_ptr<Replica>> parts;
  for (size_t i = 0; i < ranges.size(); ++i) {
    ASSERT_OK_AND_ASSIGN(auto model, Model::Load(whole->path(), ranges[i]));
    stages.emplace_back(std::move(model), &passed[i], &passed[i + 1], kernels, &pool, kArithmetic, kMaxRows);
    ASSERT_OK_AND_ASSIGN(auto part, Replica::Create(*stages.back().model, spec, kernels, &pool));
    parts.push_back(std::move(part));
  }
  method::RuleState state;
  for (uint32_t step = 0; step < spec.steps; ++step) {
    std::vector<method::ItemLosses> expected, items;
    ASSERT_OK(replica->MeasureItems(&engine, task, data, order, 0, spec.items(), &expected));
    for (size_t i = 0; i < parts.size(); ++i) {
      ASSERT_OK(parts[i]->MeasureItems(&stages[i].engine, task, data, order, 0, spec.items(), &items));
    }
    ASSERT_EQ(items, expected) << "step " << step << " " << kernels.name;
    std::vector<float> d;
    for (uint32_t probe = 0; probe < spec.probes; ++probe) {
      d.push_back(method::ProjectedGradient(
          absl::MakeConstSpan(items).subspan(probe * spec.micro_batches, spec.micro_batches), spec.epsilon));
    }
    const std::vector<float> coefficients = method::Coefficients(spec, step, d, &state);
    EXPECT_NE(coefficients[0], 0) << "a step that moves nothing proves nothing";
    ASSERT_OK(replica->Apply(coefficients));
    uint64_t digest = 0;
    std::vector<float> multipliers;
    for (const auto& part : parts) {
      ASSERT_OK(part->Apply(coefficients));
      digest += part->digest();
      multipliers.insert(multipliers.end(), part->multipliers().begin(), part->multipliers().end());
    }
    EXPECT_EQ(digest, replica->digest());
    EXPECT_EQ(absl::MakeConstSpan(multipliers), replica->multipliers());
  }
}

TEST_F(StagePassesTest, ThreeStagesTrainTheSameJournalInEveryVariant) {
  method::MethodSpec spec;
  spec.seed = 99;
  spec.steps = 3;
  spec.probes = 3;
  spec.micro_batches = 2;
  spec.batch_size = 4;
  for (const kernels::Kernels* kernels : SupportedKernels()) {
    ExpectTheSameJournal(spec, "golden/models/stories260k/stories260K-Q4_1.gguf", {{0, 2}, {2, 3}, {3, 5}}, *kernels);
  }
}

TEST_F(StagePassesTest, StagesTrainWhatIsUnquantizedInTheirLayers) {
  method::MethodSpec spec;
  spec.seed = 11;
  spec.steps = 2;
  spec.probes = 2;
  spec.batch_size = 4;
  spec.train_unquantized = true;
  spec.delta_unit = 0.5f;
  for (const char* name : {"llama", "opt", "gpt2"}) {
    ExpectTheSameJournal(spec, std::string("golden/architectures/") + name + "/model.gguf", {{0, 1}, {1, 2}},
                         kernels::BestKernels());
  }
}

TEST_F(StagePassesTest, TwoStagesTrainTheSameJournalByThePublishedMethod) {
  method::MethodSpec spec;
  spec.seed = 7;
  spec.steps = 3;
  spec.probes = 2;
  spec.batch_size = 4;
  spec.granularity = method::Granularity::kGroup;
  spec.mode = method::Mode::kAbsolute;
  spec.noise = method::Noise::kGaussian;
  spec.epsilon = 1e-3f;
  ExpectTheSameJournal(spec, "golden/architectures/llama/model.gguf", {{0, 1}, {1, 2}}, kernels::BestKernels());
}

TEST_F(StagePassesTest, WhatTheSeamReturnsEndsThePass) {
  Passed nothing, sent;
  const std::vector<Example> examples = Examples();
  const Example* one = &examples[0];
  PlainLane plain;
  std::vector<ExampleLoss> losses;
  const std::string path = LoadStories("Q4_1")->path();
  ASSERT_OK_AND_ASSIGN(auto last, Model::Load(path, {4, 5}));
  Stage fed(std::move(last), &nothing, &sent, kernels::BestKernels(), &pool_, kernels::Arithmetic::kFp32, 512);
  EXPECT_THAT(fed.engine.Losses(TaskKind::kClassification, {&one, 1}, &plain, &losses),
              StatusIs(absl::StatusCode::kUnavailable, HasSubstr("nothing was sent")));
  ASSERT_OK_AND_ASSIGN(auto begin, Model::Load(path, {0, 2}));
  Stage first(std::move(begin), &nothing, &sent, kernels::BestKernels(), &pool_, kernels::Arithmetic::kFp32, 512);
  first.seam.no_turns = true;
  EXPECT_THAT(first.engine.Losses(TaskKind::kClassification, {&one, 1}, &plain, &losses),
              StatusIs(absl::StatusCode::kCancelled, HasSubstr("no turn")));
  EXPECT_TRUE(sent.empty());
  EXPECT_THAT(first.engine.Logits(one->prompt, &plain).status(),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("layers [0, 2) have no logits")));
}

}  // namespace
}  // namespace qzo::model
