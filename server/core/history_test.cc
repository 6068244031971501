#include "server/core/history.h"

#include <gtest/gtest.h>

#include <limits>

namespace qzo::server::core {
namespace {

JobConfig Config() {
  JobConfig config;
  config.method.steps = 10;
  config.eval_steps = 5;
  config.validation_items = 3;
  config.test_items = 7;
  return config;
}

EvaluationRecord Record(uint32_t step, Split split, double loss, uint64_t digest = 1) {
  return {step, split, {.loss_sum = loss, .loss_count = 1, .rows = 1, .confusion = {}}, digest};
}

template <typename T>
const T& Get(const Next& next) {
  static const T none{};
  EXPECT_TRUE(std::holds_alternative<T>(next));
  return std::holds_alternative<T>(next) ? std::get<T>(next) : none;
}

TEST(History, BeginsWithTestThenValidationThenTraining) {
  std::vector<EvaluationRecord> done;
  EXPECT_EQ(Get<EvaluateNext>(NextOf(Config(), 0, done)).split, Split::kTest);
  done.push_back(Record(0, Split::kTest, 1));
  EXPECT_EQ(Get<EvaluateNext>(NextOf(Config(), 0, done)).split, Split::kValidation);
  done.push_back(Record(0, Split::kValidation, 1));
  EXPECT_TRUE(std::holds_alternative<TrainNext>(NextOf(Config(), 0, done)));
}

TEST(History, ValidatesWhenDueAndOnlyOnce) {
  std::vector<EvaluationRecord> done = {Record(0, Split::kTest, 1), Record(0, Split::kValidation, 1)};
  EXPECT_TRUE(std::holds_alternative<TrainNext>(NextOf(Config(), 4, done)));
  EXPECT_EQ(Get<EvaluateNext>(NextOf(Config(), 5, done)).step, 5u);
  done.push_back(Record(5, Split::kValidation, 2));
  EXPECT_TRUE(std::holds_alternative<TrainNext>(NextOf(Config(), 5, done)));
}

TEST(History, TestsAndFinishesAtTheBestValidatedStep) {
  std::vector<EvaluationRecord> done = {Record(0, Split::kTest, 1), Record(0, Split::kValidation, 3),
                                        Record(5, Split::kValidation, 1), Record(10, Split::kValidation, 2)};
  const Next test = NextOf(Config(), 10, done);
  EXPECT_EQ(Get<EvaluateNext>(test).step, 5u);
  EXPECT_EQ(Get<EvaluateNext>(test).split, Split::kTest);
  EXPECT_EQ(Get<EvaluateNext>(test).items, 7u);
  done.push_back(Record(5, Split::kTest, 1, 99));
  const Next finish = NextOf(Config(), 10, done);
  EXPECT_EQ(Get<FinishNext>(finish).step, 5u);
  EXPECT_EQ(Get<FinishNext>(finish).replica_digest, 99u);
  EXPECT_FALSE(Get<FinishNext>(finish).stopped_early);
}

TEST(History, AJobWithoutSetsTakesTheLastStepAndAsksForItsDigest) {
  JobConfig config = Config();
  config.validation_items = config.test_items = 0;
  EXPECT_TRUE(std::holds_alternative<TrainNext>(NextOf(config, 0, {})));
  const Next next = NextOf(config, 10, {});
  EXPECT_EQ(Get<EvaluateNext>(next).split, Split::kTrain);
  EXPECT_EQ(Get<EvaluateNext>(next).step, 10u);
  EXPECT_EQ(Get<EvaluateNext>(next).items, 1u);
}

TEST(History, StopsEarlyAfterPatienceValidationsWithoutGain) {
  JobConfig config = Config();
  config.method.steps = 100;
  config.patience = 2;
  std::vector<EvaluationRecord> done = {Record(0, Split::kTest, 1), Record(0, Split::kValidation, 3),
                                        Record(5, Split::kValidation, 1), Record(10, Split::kValidation, 2)};
  EXPECT_TRUE(std::holds_alternative<TrainNext>(NextOf(config, 10, done)));
  done.push_back(Record(15, Split::kValidation, 1));  // equal is no gain
  done.push_back(Record(5, Split::kTest, 1));
  const Next finish = NextOf(config, 15, done);
  EXPECT_TRUE(Get<FinishNext>(finish).stopped_early);
  EXPECT_EQ(Get<FinishNext>(finish).step, 5u);
}

TEST(History, ALossThatIsNotANumberNeverWins) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  EXPECT_EQ(BestStep(10, {Record(0, Split::kValidation, nan), Record(5, Split::kValidation, 9)}), 5u);
  EXPECT_EQ(BestStep(10, {}), 10u);
}

}  // namespace
}  // namespace qzo::server::core
