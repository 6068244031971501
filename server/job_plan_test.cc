#include "server/job_plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/status_matchers.h"

namespace qzo::server {
namespace {

using ::qzo::testing::StatusIs;
using ::testing::HasSubstr;

model::DatasetReport Report(int64_t rows, int64_t tokens, int32_t longest) {
  model::DatasetReport report;
  report.rows = rows;
  report.tokens = tokens;
  report.longest = longest;
  return report;
}

class JobPlanTest : public ::testing::Test {
 protected:
  void SetUp() override {
    method_.steps = 10;
    method_.probes = 3;
    method_.batch_size = 8;
    method_.micro_batches = 2;
    model_.layers = 2;
    model_.trained = {{"a", 4, 64, 32}, {"b", 2, 96, 32}};
    model_.file_bytes = 1000;
    reports_.training = Report(100, 2500, 60);
    reports_.validation = Report(70, 700, 20);
    reports_.test = Report(33, 330, 20);
    spec_.mutable_task()->set_sequence_len(50);
    spec_.mutable_evaluation()->set_eval_steps(4);
  }

  v1::JobSpec spec_;
  method::MethodSpec method_;
  model::ModelInfo model_;
  SplitReports reports_;
};

TEST_F(JobPlanTest, AbsoluteModeNeedsAStoredScaleAMultiplier) {
  EXPECT_OK(CheckMode(method_, model_, false));
  method_.mode = method::Mode::kAbsolute;
  EXPECT_THAT(CheckMode(method_, model_, true),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("method.granularity: CHANNEL, expected GROUP")));
  method_.granularity = method::Granularity::kGroup;
  EXPECT_OK(CheckMode(method_, model_, true));
  EXPECT_THAT(CheckMode(method_, model_, false),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("method.mode: ABSOLUTE, expected RELATIVE")));
  method_.granularity = method::Granularity::kChannel;
  for (method::TensorShape& tensor : model_.trained) tensor.group = tensor.cols;
  EXPECT_OK(CheckMode(method_, model_, true)) << "one scale a row";
}

TEST_F(JobPlanTest, CountsTokensOfBothLanesOfEveryProbe) {
  const v1::Plan plan = PlanOf(spec_, method_, model_, reports_);
  EXPECT_EQ(plan.steps(), 10u);
  EXPECT_EQ(plan.items_per_step(), 6u);
  EXPECT_EQ(plan.training_tokens(), 25 * 8 * 3 * 2 * 10);
  EXPECT_EQ(FactsOf(spec_, method_, model_, reports_).tokens_per_step, 25 * 8 * 3 * 2);
}

TEST_F(JobPlanTest, CountsEveryEvaluation) {
  // Validation at steps 0, 4, 8 and 10; the test before and after.
  EXPECT_EQ(PlanOf(spec_, method_, model_, reports_).evaluation_tokens(), 4 * 700 + 2 * 330);
  spec_.mutable_evaluation()->set_eval_rows(7);
  EXPECT_EQ(PlanOf(spec_, method_, model_, reports_).evaluation_tokens(), 4 * 70 + 2 * 330);
  spec_.mutable_evaluation()->set_eval_steps(0);
  EXPECT_EQ(PlanOf(spec_, method_, model_, reports_).evaluation_tokens(), 2 * 70 + 2 * 330);
}

TEST_F(JobPlanTest, EvaluationItemsHoldThirtyTwoRows) {
  EXPECT_EQ(FactsOf(spec_, method_, model_, reports_).validation_items, 3u);
  EXPECT_EQ(FactsOf(spec_, method_, model_, reports_).test_items, 2u);
  spec_.mutable_evaluation()->set_eval_rows(32);
  EXPECT_EQ(FactsOf(spec_, method_, model_, reports_).validation_items, 1u) << "eval_rows is about validation";
  EXPECT_EQ(FactsOf(spec_, method_, model_, reports_).test_items, 2u);
  spec_.mutable_evaluation()->set_eval_rows(1000);
  EXPECT_EQ(FactsOf(spec_, method_, model_, reports_).validation_items, 3u);
  reports_.validation = {};
  reports_.test = {};
  EXPECT_EQ(FactsOf(spec_, method_, model_, reports_).validation_items, 0u);
  EXPECT_EQ(FactsOf(spec_, method_, model_, reports_).test_items, 0u);
}

TEST_F(JobPlanTest, MultipliersFollowTheGranularity) {
  EXPECT_EQ(PlanOf(spec_, method_, model_, reports_).multipliers(), 6);
  method_.granularity = method::Granularity::kGroup;
  EXPECT_EQ(PlanOf(spec_, method_, model_, reports_).multipliers(), 14);
}

TEST_F(JobPlanTest, DeltasAreHeldByTheStagesOfTheirTensors) {
  model_.block_bytes = {300, 200};
  model_.embedding_length = 16;
  model_.vocabulary = 64;
  model_.embedding.weight = "embedding", model_.head.weight = "head", model_.output_norm.weight = "norm";
  model_.blocks.resize(2);
  for (const int layer : {0, 1}) {
    model_.blocks[static_cast<size_t>(layer)][model::Part::kAttentionNorm].weight = std::to_string(layer);
  }
  model_.ListUnquantized([](const std::string&) { return true; });
  const core::ModelShape without = FactsOf(spec_, method_, model_, reports_).shape;
  method_.train_unquantized = true;
  const core::ModelShape shape = FactsOf(spec_, method_, model_, reports_).shape;
  ASSERT_EQ(shape.layers.size(), 2u);
  for (size_t layer = 0; layer < 2; ++layer) {
    EXPECT_EQ(shape.layers[layer].bytes, without.layers[layer].bytes + 4 * 16);
    EXPECT_EQ(shape.layers[layer].cost, without.layers[layer].cost);
  }
  EXPECT_EQ(shape.embedding_bytes, without.embedding_bytes + 4 * 64 * 16);
  EXPECT_EQ(shape.head_bytes, without.head_bytes + 4 * (64 * 16 + 16));
  EXPECT_EQ(shape.whole_bytes, without.whole_bytes + 4 * (2 * 64 * 16 + 3 * 16));
  const v1::Plan plan = PlanOf(spec_, method_, model_, reports_);
  EXPECT_EQ(plan.deltas(), 2 * 64 * 16 + 3 * 16);
  EXPECT_EQ(plan.multipliers(), 6);

  model_.tied_head = true;
  model_.ListUnquantized([](const std::string&) { return true; });
  EXPECT_TRUE(FactsOf(spec_, method_, model_, reports_).shape.layers.empty()) << "two stages would train one tensor";
}

TEST_F(JobPlanTest, StagesAreCutByWhatLayersCostAndHold) {
  model_.block_bytes = {300, 200};
  model_.embedding_bytes = 150;
  model_.head_bytes = 250;
  model_.embedding_length = 16;
  model_.vocabulary = 64;
  model_.kv_heads = 1;
  model_.head_dim = 2;
  reports_.training.scored = 250;
  reports_.training.branches = 100;
  const core::ModelShape shape = FactsOf(spec_, method_, model_, reports_).shape;
  ASSERT_EQ(shape.layers.size(), 2u);
  EXPECT_EQ(shape.layers[0].bytes, 300 + 4 * 4) << "with a multiplier a row";
  EXPECT_EQ(shape.layers[0].cost, 4 * 64);
  EXPECT_EQ(shape.layers[1].bytes, 200 + 2 * 4);
  EXPECT_DOUBLE_EQ(shape.layers[1].cost, 2 * 2 * 16 + 0.1 * (2 * 96 - 2 * 2 * 16)) << "of few rows but for its keys";
  EXPECT_EQ(shape.embedding_bytes, 150);
  EXPECT_EQ(shape.head_bytes, 250);
  EXPECT_EQ(shape.head_cost, 0.1 * 64 * 16) << "a tenth of the tokens is scored";
  EXPECT_GE(shape.stage_bytes, 100) << "what belongs to no tensor, and activations";
  EXPECT_EQ(shape.whole_bytes, 1000 + 6 * 4) << "as workers count";

  EXPECT_EQ(PlanOf(spec_, method_, model_, reports_).stages_size(), 0);
  spec_.mutable_placement()->set_stages(2);
  const v1::Plan plan = PlanOf(spec_, method_, model_, reports_);
  ASSERT_EQ(plan.stages_size(), 2);
  EXPECT_EQ(plan.stages(0).first_layer(), 0u);
  EXPECT_EQ(plan.stages(0).end_layer(), 1u);
  EXPECT_EQ(plan.stages(0).worker_memory_bytes(), 316 + 150 + shape.stage_bytes);
  EXPECT_EQ(plan.stages(1).end_layer(), 2u);
  EXPECT_EQ(plan.stages(1).worker_memory_bytes(), 208 + 250 + shape.stage_bytes);
  EXPECT_DOUBLE_EQ(plan.link_bytes_per_step(), 24.0 * 8 * 3 * 2 * 16 * 4) << "24 of 25 tokens are rows of a pass";
}

TEST_F(JobPlanTest, AModelOfUnknownPartsIsNotCut) {
  EXPECT_TRUE(FactsOf(spec_, method_, model_, reports_).shape.layers.empty());
}

TEST_F(JobPlanTest, JournalIsEightBytesAProbeAndStep) {
  EXPECT_EQ(PlanOf(spec_, method_, model_, reports_).journal_bytes(), 10 * 3 * 8);
}

TEST_F(JobPlanTest, AStepsMessagesGrowWithProbesAndItemsOnly) {
  const double bytes = PlanOf(spec_, method_, model_, reports_).payload_bytes_per_step();
  EXPECT_GE(bytes, 3 * 4 + 6 * 2 * 8);
  EXPECT_LE(bytes, 3 * 4 + 6 * 2 * 8 + 50);
  reports_.training = Report(1'000'000, 99'000'000, 60);
  EXPECT_EQ(PlanOf(spec_, method_, model_, reports_).payload_bytes_per_step(), bytes);
}

}  // namespace
}  // namespace qzo::server
