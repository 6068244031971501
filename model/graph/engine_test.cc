#include "model/graph/engine.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>

#include "base/philox.h"
#include "model/formats/model_info.h"
#include "model/graph/pack.h"
#include "tests/support/status_matchers.h"
#include "tests/support/tiny_model.h"

namespace qzo::model {
namespace {

using qzo::testing::FlatLanes;
using qzo::testing::LoadStories;
using qzo::testing::StatusIs;
using qzo::testing::SupportedKernels;
using qzo::testing::TestFile;
using ::testing::HasSubstr;

constexpr int kLanes = 3;

nlohmann::json Json(const std::string& name) {
  std::ifstream file(TestFile("golden/" + name));
  return nlohmann::json::parse(file);
}

// Multipliers around 1, another set per lane.
std::vector<float> RandomMultipliers(const method::Partition& partition, uint32_t lane) {
  std::vector<float> k(static_cast<size_t>(partition.multipliers()));
  for (size_t i = 0; i < k.size(); ++i) {
    const uint32_t word = base::Philox4x32(5, {{static_cast<uint32_t>(i), lane, 0, 0}}).w[0];
    k[i] = 1 + 0.1f * (static_cast<float>(word) * 0x1p-32f - 0.5f);
  }
  return k;
}

// Prompts of 1 … 22 tokens of a story, each with 2 … 5 options of 1 … 6 tokens.
std::vector<Example> ClassificationExamples() {
  const std::vector<int32_t> ids = Json("models/stories260k/reference.json").at("greedy_ids");
  std::vector<Example> examples;
  for (size_t i = 0; i < 6; ++i) {
    const size_t begin = 11 * i, length = i == 5 ? 1 : 22 - 4 * i;
    Example example{
        .prompt = {ids.begin() + static_cast<int64_t>(begin), ids.begin() + static_cast<int64_t>(begin + length)},
        .branches = {},
        .scored = {},
        .label = static_cast<int32_t>(i % 2)};
    for (size_t option = 0; option < 2 + i % 4; ++option) {
      const auto at = ids.begin() + static_cast<int64_t>(70 + 9 * option + i);
      example.branches.emplace_back(at, at + 1 + static_cast<int64_t>((option * 5 + i) % 6));
    }
    examples.push_back(std::move(example));
  }
  return examples;
}

std::vector<const Example*> Pointers(const std::vector<Example>& examples) {
  std::vector<const Example*> pointers;
  for (const Example& example : examples) pointers.push_back(&example);
  return pointers;
}

bool SameBits(const ExampleLoss& a, const ExampleLoss& b) {
  return std::bit_cast<uint64_t>(a.loss) == std::bit_cast<uint64_t>(b.loss) && a.count == b.count &&
         a.predicted == b.predicted;
}

class EngineTest : public ::testing::Test {
 protected:
  std::vector<ExampleLoss> Losses(const Model& model, TaskKind kind, const std::vector<Example>& examples,
                                  LaneSource* lanes, const kernels::Kernels& kernels, kernels::Arithmetic arithmetic,
                                  int threads, int64_t max_rows) {
    kernels::ThreadPool pool(threads);
    Engine engine(model, kernels, &pool, arithmetic, max_rows);
    std::vector<ExampleLoss> losses;
    EXPECT_OK(engine.Losses(kind, Pointers(examples), lanes, &losses));
    return losses;
  }
  std::vector<ExampleLoss> Losses(const Model& model, TaskKind kind, const std::vector<Example>& examples,
                                  LaneSource* lanes) {
    return Losses(model, kind, examples, lanes, kernels::BestKernels(), kernels::Arithmetic::kFp32, 1, 2048);
  }

  // Each example under each lane on its own, by the reference kernels on one thread: what every way of sharing must
  // give.
  std::vector<ExampleLoss> OneByOne(const Model& model, TaskKind kind, const std::vector<Example>& examples,
                                    const method::Partition& partition,
                                    kernels::Arithmetic arithmetic = kernels::Arithmetic::kFp32) {
    std::vector<ExampleLoss> losses;
    for (uint32_t lane = 0; lane < kLanes; ++lane) {
      FlatLanes alone(partition, {RandomMultipliers(partition, lane)});
      for (const Example& example : examples) {
        losses.push_back(
            Losses(model, kind, {example}, &alone, *kernels::FindKernels("reference"), arithmetic, 1, 2048).at(0));
      }
    }
    return losses;
  }

  void ExpectBatchInvariance(const std::string& storage, TaskKind kind, const std::vector<Example>& examples,
                             method::Granularity granularity, kernels::Arithmetic arithmetic) {
    const std::unique_ptr<Model> model = LoadStories(storage);
    const method::Partition partition(granularity, model->info().trained);
    const std::vector<ExampleLoss> expected = OneByOne(*model, kind, examples, partition, arithmetic);
    FlatLanes lanes(
        partition, {RandomMultipliers(partition, 0), RandomMultipliers(partition, 1), RandomMultipliers(partition, 2)});
    for (const kernels::Kernels* kernels : SupportedKernels()) {
      for (const auto& [threads, max_rows] : std::vector<std::pair<int, int64_t>>{{2, 2048}, {3, 97}, {1, 1}}) {
        const std::vector<ExampleLoss> together =
            Losses(*model, kind, examples, &lanes, *kernels, arithmetic, threads, max_rows);
        ASSERT_EQ(together.size(), expected.size());
        for (size_t i = 0; i < expected.size(); ++i) {
          EXPECT_TRUE(SameBits(together[i], expected[i]))
              << storage << " " << kernels::ArithmeticName(arithmetic) << " " << kernels->name << " threads " << threads
              << " max_rows " << max_rows << " lane " << i / examples.size() << " example " << i % examples.size()
              << ": " << together[i].loss << " instead of " << expected[i].loss;
        }
      }
    }
  }

  kernels::ThreadPool pool_{1};
  PlainLane plain_;
};

TEST_F(EngineTest, ReproducesTheLossesOfEveryStorageType) {
  const std::vector<int32_t> ids = Json("models/stories260k/reference.json").at("greedy_ids");
  const nlohmann::json manifest = Json("models/stories260k/gguf_manifest.json");
  for (const std::string storage : {"F32", "Q8_0", "Q4_0", "Q4_1"}) {
    const std::unique_ptr<Model> model = LoadStories(storage);
    const nlohmann::json& expected = manifest.at("stories260K-" + storage + ".gguf");
    const Example example{.prompt = {ids[0]}, .branches = {{ids.begin() + 1, ids.end()}}, .scored = {}, .label = -1};
    const ExampleLoss loss = Losses(*model, TaskKind::kCompletion, {example}, &plain_).at(0);
    EXPECT_EQ(loss.count, 200);
    EXPECT_NEAR(loss.loss / 200, expected.at("nll_on_reference_greedy_ids"), 1e-5) << storage;  // both computed in fp32
    Engine engine(*model, kernels::BestKernels(), &pool_, kernels::Arithmetic::kFp32);
    ASSERT_OK_AND_ASSIGN(const std::vector<float> logits, engine.Logits(ids, &plain_));
    const int64_t vocabulary = model->info().vocabulary;
    int agreed = 0;
    for (size_t i = 0; i + 1 < ids.size(); ++i) {
      const auto row = logits.begin() + static_cast<int64_t>(i) * vocabulary;
      agreed += std::max_element(row, row + vocabulary) - row == ids[i + 1] ? 1 : 0;
    }
    EXPECT_DOUBLE_EQ(agreed / 200.0, expected.at("greedy_agreement_with_f32")) << storage;
  }
}

TEST_F(EngineTest, LossOfAnOptionExampleDependsOnNothingThatSharesThePass) {
  using kernels::Arithmetic;
  using method::Granularity;
  const struct {
    const char* storage;
    Granularity granularity;
    Arithmetic arithmetic;
  } cases[] = {{"F32", Granularity::kChannel, Arithmetic::kFp32},   {"Q8_0", Granularity::kChannel, Arithmetic::kFp32},
               {"Q4_1", Granularity::kChannel, Arithmetic::kFp32},  {"Q4_1", Granularity::kGroup, Arithmetic::kFp32},
               {"F32", Granularity::kChannel, Arithmetic::kInt16},  {"Q8_0", Granularity::kGroup, Arithmetic::kInt16},
               {"Q4_1", Granularity::kChannel, Arithmetic::kInt16}, {"Q4_1", Granularity::kGroup, Arithmetic::kInt8},
               {"Q4_0", Granularity::kChannel, Arithmetic::kInt8}};
  for (const auto& c : cases) {
    ExpectBatchInvariance(c.storage, TaskKind::kClassification, ClassificationExamples(), c.granularity, c.arithmetic);
  }
}

TEST_F(EngineTest, LossOfAnAnswerDependsOnNothingThatSharesThePass) {
  std::vector<Example> examples;
  for (const Example& from : ClassificationExamples()) {
    Example example{.prompt = from.prompt, .branches = {from.prompt}, .scored = {}, .label = -1};
    for (size_t i = 0; i < from.prompt.size(); ++i) example.scored.push_back(i % 3 == 0 ? 0 : 1);
    examples.push_back(std::move(example));
  }
  examples.back().scored = {};
  for (const auto arithmetic : {kernels::Arithmetic::kFp32, kernels::Arithmetic::kInt16, kernels::Arithmetic::kInt8}) {
    ExpectBatchInvariance("Q4_0", TaskKind::kCompletion, examples, method::Granularity::kGroup, arithmetic);
  }
}

// Rounding to 16 bits is an error of 2^-16 of a block's largest value, to 8 bits of 2^-8; the losses of these
// examples move by up to 3.2e-4 and 0.09, and a product that forgot a block would be off by whole units.
TEST_F(EngineTest, RoundedActivationsMoveALossByLittle) {
  for (const std::string storage : {"Q8_0", "Q4_0", "Q4_1"}) {
    const std::unique_ptr<Model> model = LoadStories(storage);
    const std::vector<Example> examples = ClassificationExamples();
    const auto losses = [&](kernels::Arithmetic arithmetic) {
      return Losses(*model, TaskKind::kClassification, examples, &plain_, kernels::BestKernels(), arithmetic, 1, 2048);
    };
    const std::vector<ExampleLoss> exact = losses(kernels::Arithmetic::kFp32);
    const std::vector<ExampleLoss> fine = losses(kernels::Arithmetic::kInt16),
                                   coarse = losses(kernels::Arithmetic::kInt8);
    for (size_t i = 0; i < exact.size(); ++i) {
      EXPECT_NEAR(fine[i].loss, exact[i].loss, 1e-3) << storage << " " << i;
      EXPECT_NEAR(coarse[i].loss, exact[i].loss, 0.1) << storage << " " << i;
      EXPECT_NE(fine[i].loss, exact[i].loss) << storage << " " << i << ": nothing was rounded";
    }
  }
}

TEST_F(EngineTest, AnExampleThatIsListedTwiceHasItsLossTwice) {
  const std::unique_ptr<Model> model = LoadStories("Q4_1");
  const std::vector<Example> examples = ClassificationExamples();
  std::vector<const Example*> listed = {&examples[3], &examples[0], &examples[3], &examples[1], &examples[0]};
  const std::vector<ExampleLoss> once = Losses(*model, TaskKind::kClassification, examples, &plain_);
  Engine engine(*model, kernels::BestKernels(), &pool_, kernels::Arithmetic::kFp32);
  std::vector<ExampleLoss> losses;
  ASSERT_OK(engine.Losses(TaskKind::kClassification, listed, &plain_, &losses));
  ASSERT_EQ(losses.size(), listed.size());
  for (size_t i = 0; i < listed.size(); ++i) {
    EXPECT_TRUE(SameBits(losses[i], once[static_cast<size_t>(listed[i] - examples.data())])) << i;
  }
}

TEST_F(EngineTest, OptionsThatShareAPromptScoreAsSequencesOfTheirOwn) {
  const std::unique_ptr<Model> model = LoadStories("Q4_1");
  Engine engine(*model, kernels::BestKernels(), &pool_, kernels::Arithmetic::kFp32);
  for (const Example& example : ClassificationExamples()) {
    ASSERT_OK_AND_ASSIGN(const std::vector<double> scores, engine.OptionScores(example, &plain_));
    ASSERT_EQ(scores.size(), example.branches.size());
    for (size_t option = 0; option < scores.size(); ++option) {
      const std::vector<int32_t>& branch = example.branches[option];
      std::vector<int32_t> sequence = example.prompt;
      sequence.insert(sequence.end(), branch.begin(), branch.end());
      ASSERT_OK_AND_ASSIGN(const std::vector<float> logits, engine.Logits(sequence, &plain_));
      const int64_t vocabulary = model->info().vocabulary;
      double sum = 0;
      for (size_t j = 0; j < branch.size(); ++j) {
        const float* row = logits.data() + static_cast<int64_t>(example.prompt.size() - 1 + j) * vocabulary;
        sum += double{row[branch[j]]} - kernels::BestKernels().log_sum_exp(row, vocabulary);
      }
      EXPECT_EQ(scores[option], sum / static_cast<double>(branch.size()));
    }
  }
}

TEST_F(EngineTest, ClassificationLossIsTheCrossEntropyOverOptionScores) {
  const std::unique_ptr<Model> model = LoadStories("F32");
  Engine engine(*model, kernels::BestKernels(), &pool_, kernels::Arithmetic::kFp32);
  const std::vector<Example> examples = ClassificationExamples();
  const std::vector<ExampleLoss> losses = Losses(*model, TaskKind::kClassification, examples, &plain_);
  for (size_t i = 0; i < examples.size(); ++i) {
    ASSERT_OK_AND_ASSIGN(const std::vector<double> scores, engine.OptionScores(examples[i], &plain_));
    double sum = 0;
    for (const double score : scores) sum += std::exp(score);
    EXPECT_NEAR(losses[i].loss, std::log(sum) - scores[static_cast<size_t>(examples[i].label)], 1e-13);
    EXPECT_EQ(losses[i].predicted, std::max_element(scores.begin(), scores.end()) - scores.begin());
    EXPECT_EQ(losses[i].count, 1);
  }
}

TEST_F(EngineTest, OnlyScoredTokensOfAnAnswerCount) {
  const std::unique_ptr<Model> model = LoadStories("F32");
  Example example = ClassificationExamples()[0];
  example.branches.resize(1);
  example.branches[0] = {403, 407, 261, 378};
  const auto loss = [&](std::vector<uint8_t> scored) {
    example.scored = std::move(scored);
    return Losses(*model, TaskKind::kChat, {example}, &plain_).at(0);
  };
  const ExampleLoss all = loss({}), ends = loss({1, 0, 0, 1}), middle = loss({0, 1, 1, 0}), none = loss({0, 0, 0, 0});
  EXPECT_EQ(all.count, 4);
  EXPECT_EQ(ends.count, 2);
  EXPECT_NEAR(ends.loss + middle.loss, all.loss, 1e-12);
  EXPECT_GT(ends.loss, 0);
  EXPECT_EQ(none.count, 0);
  EXPECT_EQ(none.loss, 0);
}

TEST_F(EngineTest, ALaneOfOnesIsTheBaseModelBitForBit) {
  for (const method::Granularity granularity : {method::Granularity::kChannel, method::Granularity::kGroup}) {
    const std::unique_ptr<Model> model =
        LoadStories("F32");  // without blocks both granularities are one multiplier a row
    const method::Partition partition(granularity, model->info().trained);
    FlatLanes ones(partition, {std::vector<float>(static_cast<size_t>(partition.multipliers()), 1.0f)});
    const std::vector<Example> examples = ClassificationExamples();
    const std::vector<ExampleLoss> expected = Losses(*model, TaskKind::kClassification, examples, &plain_);
    const std::vector<ExampleLoss> losses = Losses(*model, TaskKind::kClassification, examples, &ones);
    for (size_t i = 0; i < losses.size(); ++i) EXPECT_TRUE(SameBits(losses[i], expected[i])) << i;
  }
}

TEST_F(EngineTest, ALaneThatOverflowsGivesANonFiniteLossAndLeavesOthersAlone) {
  const std::unique_ptr<Model> model = LoadStories("Q4_1");
  const method::Partition partition(method::Granularity::kChannel, model->info().trained);
  FlatLanes lanes(partition,
                  {RandomMultipliers(partition, 0), RandomMultipliers(partition, 1), RandomMultipliers(partition, 2)});
  lanes.lane(1)[100] = std::numeric_limits<float>::infinity();
  const std::vector<Example> examples = ClassificationExamples();
  const std::vector<ExampleLoss> losses = Losses(*model, TaskKind::kClassification, examples, &lanes);
  const std::vector<ExampleLoss> alone = OneByOne(*model, TaskKind::kClassification, examples, partition);
  for (size_t i = 0; i < losses.size(); ++i) {
    if (i / examples.size() == 1) {
      EXPECT_FALSE(std::isfinite(losses[i].loss)) << i;
    } else {
      EXPECT_TRUE(SameBits(losses[i], alone[i])) << i;
    }
  }
}

TEST_F(EngineTest, RefusesExamplesThatTheModelCannotRead) {
  const std::unique_ptr<Model> model = LoadStories("Q4_1");
  Engine engine(*model, kernels::BestKernels(), &pool_, kernels::Arithmetic::kFp32);
  const auto losses = [&](TaskKind kind, Example example) {
    const Example* one = &example;
    std::vector<ExampleLoss> out;
    return engine.Losses(kind, {&one, 1}, &plain_, &out);
  };
  const auto expect = [](const absl::Status& status, const char* message) {
    EXPECT_THAT(status, StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(message)));
  };
  const Example good{.prompt = {1, 2}, .branches = {{3}, {4, 5}}, .scored = {}, .label = 0};
  EXPECT_OK(losses(TaskKind::kClassification, good));
  Example bad = good;
  bad.branches[1][1] = 512;
  expect(losses(TaskKind::kClassification, bad), "token 512 is outside the vocabulary of 512");
  bad = good;
  bad.prompt[0] = -1;
  expect(losses(TaskKind::kClassification, bad), "token -1 is outside");
  bad = good;
  bad.prompt.assign(512, 7);
  expect(losses(TaskKind::kClassification, bad), "513 tokens, expected 1 to the model's context of 512");
  bad = good;
  bad.label = 2;
  expect(losses(TaskKind::kClassification, bad), "label 2 of an example with 2 options");
  bad = good;
  bad.branches[0].clear();
  expect(losses(TaskKind::kClassification, bad), "empty branch");
  bad = good;
  bad.prompt.clear();
  expect(losses(TaskKind::kClassification, bad), "without prompt");
  expect(losses(TaskKind::kCompletion, good), "2 branches, expected one");
  bad = good;
  bad.branches.resize(1);
  bad.scored = {1, 1};
  expect(losses(TaskKind::kCompletion, bad), "2 marks for an answer of 1 tokens");
  expect(engine.Logits({}, &plain_).status(), "0 tokens");
}

TEST_F(EngineTest, AnExampleAsLongAsTheContextIsRead) {
  const std::unique_ptr<Model> model = LoadStories("Q4_1");
  const Example example{.prompt = std::vector<int32_t>(512, 7), .branches = {{3}, {4}}, .scored = {}, .label = 0};
  EXPECT_TRUE(std::isfinite(Losses(*model, TaskKind::kClassification, {example}, &plain_).at(0).loss));
}

TEST_F(EngineTest, HoldsTheActivationsThatWerePlanned) {
  const std::unique_ptr<Model> model = LoadStories("Q4_1");
  const std::vector<int32_t> ids = Json("models/stories260k/reference.json").at("greedy_ids");
  std::vector<Example> examples(8);
  int64_t rows = 0;
  for (Example& example : examples) {
    example = {.prompt = {ids.begin(), ids.begin() + 100},
               .branches = {{ids.begin() + 100, ids.end()}},
               .scored = {},
               .label = -1};
    rows += PackedRows(example);
  }
  for (const auto& [max_rows, arithmetic] :
       {std::pair(int64_t{200}, kernels::Arithmetic::kFp32), std::pair(int64_t{900}, kernels::Arithmetic::kInt16),
        std::pair(rows, kernels::Arithmetic::kInt16)}) {
    Engine engine(*model, kernels::BestKernels(), &pool_, arithmetic, max_rows);
    std::vector<ExampleLoss> losses;
    ASSERT_OK(engine.Losses(TaskKind::kCompletion, Pointers(examples), &plain_, &losses));
    const int64_t held = engine.arena_bytes(), planned = model->info().ActivationBytes(max_rows);
    EXPECT_LE(held, planned);
    EXPECT_GE(held, planned * 2 / 3) << max_rows;
    ASSERT_OK(engine.Losses(TaskKind::kCompletion, Pointers(examples), &plain_, &losses));
    EXPECT_EQ(engine.arena_bytes(), held);
  }
}

}  // namespace
}  // namespace qzo::model
