#include "client/plot.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

namespace qzo::client {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

v1::JobEvent Step(uint32_t step, double loss) {
  v1::JobEvent event;
  event.mutable_step()->set_step(step);
  event.mutable_step()->set_train_loss(loss);
  return event;
}

v1::JobEvent Evaluated(uint32_t step, const std::string& split, double loss) {
  v1::JobEvent event;
  event.mutable_evaluation()->set_step(step);
  event.mutable_evaluation()->set_split(split);
  event.mutable_evaluation()->set_loss(loss);
  return event;
}

TEST(LossesOf, AreTheFiniteOnesOfStepsAndValidations) {
  const std::vector<LossSeries> series = LossesOf(
      {Step(1, 2.0), Step(2, NAN), Evaluated(2, "validation", 1.5), Evaluated(2, "test", 9.0), Step(3, 1.0)}, "a ");
  ASSERT_EQ(series.size(), 2u);
  EXPECT_EQ(series[0].name, "a training");
  ASSERT_EQ(series[0].points.size(), 2u);
  EXPECT_EQ(series[0].points[1].step, 3);
  ASSERT_EQ(series[1].points.size(), 1u);
  EXPECT_EQ(series[1].points[0].loss, 1.5);
  EXPECT_TRUE(LossesOf({}, "").empty());
}

TEST(TextPlot, PutsTheHighestFirstAndTheLastAtTheRight) {
  const std::vector<LossSeries> series = {{"training", '.', {{0, 2.0}, {10, 1.0}}}};
  EXPECT_EQ(TextPlot(series, /*columns=*/21, /*rows=*/3),
            "        2 |.\n"
            "      1.5 |\n"
            "        1 |         .\n"
            "          +----------\n"
            "           0       10\n"
            "           . training\n");
  EXPECT_EQ(TextPlot({}, 80, 10), "");
  EXPECT_THAT(TextPlot({{"flat", '.', {{1, 1.0}, {2, 1.0}}}}, 40, 5), HasSubstr("."));
}

TEST(LossPicture, HoldsEveryCurveBetweenItsAxes) {
  const Picture picture = LossPicture({{"a", '.', {{0, 1.0}, {4, 0.5}}}, {"b", 'o', {{4, 0.75}}}}, "x");
  EXPECT_EQ(picture.title, "Loss of x by step");
  ASSERT_EQ(picture.curves.size(), 2u);
  EXPECT_EQ(picture.curves[0].points[0].x, 56);
  EXPECT_EQ(picture.curves[0].points[0].y, 28);
  EXPECT_EQ(picture.curves[0].points[1].x, 710);
  EXPECT_EQ(picture.curves[0].points[1].y, 236);
  EXPECT_EQ(picture.texts.back().text, "b");
  EXPECT_EQ(picture.texts.back().colour, picture.curves[1].colour);
  EXPECT_TRUE(LossPicture({}, "none").curves.empty());
}

TEST(JobDifferences, ListsWhatDiffersAndTheResults) {
  v1::FineTuningJob a, b;
  a.set_name("projects/p/jobs/a");
  b.set_name("projects/p/jobs/b");
  a.mutable_spec()->mutable_method()->set_probes(8);
  b.mutable_spec()->mutable_method()->set_probes(4);
  b.mutable_spec()->mutable_method()->set_warmup_ratio(0.1);
  for (v1::FineTuningJob* job : {&a, &b}) job->mutable_spec()->mutable_method()->set_batch_size(16);
  a.mutable_progress()->mutable_final_test()->set_rows(10);
  a.mutable_progress()->mutable_final_test()->set_loss(0.25);
  const std::string table = JobDifferences(a, b).Render();
  EXPECT_THAT(table, AllOf(HasSubstr("method.probes"), HasSubstr("method.warmupRatio"), Not(HasSubstr("batchSize"))));
  EXPECT_THAT(table, ::testing::ContainsRegex("test loss +0.25 +-\n"));
}

}  // namespace
}  // namespace qzo::client
