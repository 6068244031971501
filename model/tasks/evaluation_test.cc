#include "model/tasks/evaluation.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace qzo::model {
namespace {

using ::testing::DoubleNear;
using ::testing::ElementsAre;

// Confusion of a binary task with these numbers of right and wrong answers.
EvalSums Binary(int64_t right, int64_t wrong) {
  EvalSums sums;
  sums.confusion = {right, wrong, 0, 0};
  return sums;
}

TEST(Evaluation, FiguresOfAWorkedConfusion) {
  EvalSums sums;
  sums.loss_sum = 30.0;
  sums.loss_count = 40;
  sums.rows = 40;
  // true \ predicted   0   1   2
  //                0  10   2   3   15
  //                1   1   8   1   10
  //                2   4   0  11   15
  //                   15  10  15   40
  sums.confusion = {10, 2, 3, 1, 8, 1, 4, 0, 11};
  const EvalFigures figures = Figures(sums);
  EXPECT_DOUBLE_EQ(figures.loss, 0.75);
  EXPECT_DOUBLE_EQ(figures.accuracy, 29.0 / 40);
  EXPECT_DOUBLE_EQ(figures.majority_accuracy, 15.0 / 40);
  // f1 = 2·hits / (true + predicted): 20/30, 16/20, 22/30; their mean is (20 + 24 + 22)/90 = 11/15.
  ASSERT_EQ(figures.f1.size(), 3u);
  EXPECT_DOUBLE_EQ(figures.f1[0], 2.0 / 3);
  EXPECT_DOUBLE_EQ(figures.f1[1], 0.8);
  EXPECT_DOUBLE_EQ(figures.f1[2], 11.0 / 15);
  EXPECT_DOUBLE_EQ(figures.macro_f1, 11.0 / 15);
}

TEST(Evaluation, WilsonIntervalIsThePublishedOne) {
  // Newcombe, Statistics in Medicine 17 (1998), table I, method 3. By hand for 81/263, z² = 3.84146: p = 0.307985,
  // centre p + z²/2n = 0.315288, half width z·√(p(1−p)/n + z²/4n²) = 1.959964·√(0.000810379 + 0.0000138843) = 0.056270,
  // both over 1 + z²/n = 1.014606: 0.259018/1.014606 = 0.25529 and 0.371558/1.014606 = 0.36621.
  const auto expect_interval = [](int64_t right, int64_t n, double low, double high) {
    const EvalFigures figures = Figures(Binary(right, n - right));
    EXPECT_NEAR(figures.accuracy_low, low, 5e-5) << right << "/" << n;
    EXPECT_NEAR(figures.accuracy_high, high, 5e-5) << right << "/" << n;
  };
  expect_interval(81, 263, 0.2553, 0.3662);
  expect_interval(15, 148, 0.0624, 0.1605);
  expect_interval(0, 20, 0.0000, 0.1611);
  expect_interval(1, 29, 0.0061, 0.1718);
}

TEST(Evaluation, IntervalStaysWithinZeroAndOne) {
  const EvalFigures all_right = Figures(Binary(7, 0));
  EXPECT_EQ(all_right.accuracy_high, 1.0);
  EXPECT_LT(all_right.accuracy_low, 1.0);
  const EvalFigures all_wrong = Figures(Binary(0, 7));
  EXPECT_GE(all_wrong.accuracy_low, 0.0);
  EXPECT_THAT(all_wrong.accuracy_low, DoubleNear(0.0, 1e-15));
}

TEST(Evaluation, LabelThatNeverOccursCountsInNoMean) {
  EvalSums sums;
  // Label 2 is neither true nor predicted. f1: 6/(4+3) = 6/7 and 2/(1+2) = 2/3; mean (18 + 14)/42 = 16/21.
  sums.confusion = {3, 1, 0, 0, 1, 0, 0, 0, 0};
  const EvalFigures figures = Figures(sums);
  EXPECT_EQ(figures.f1[2], 0);
  EXPECT_DOUBLE_EQ(figures.macro_f1, 16.0 / 21);
}

TEST(Evaluation, NothingMeasuredGivesZeros) {
  const EvalFigures none = Figures(EvalSums());
  EXPECT_EQ(none.loss, 0);
  EXPECT_EQ(none.accuracy_high, 0);
  EXPECT_TRUE(none.f1.empty());
  EvalSums no_rows;
  no_rows.confusion.resize(4);
  EXPECT_EQ(Figures(no_rows).macro_f1, 0);
  EXPECT_THAT(Figures(no_rows).f1, ElementsAre(0, 0));
}

TEST(Evaluation, CompletionHasALossAlone) {
  EvalSums sums;
  sums.loss_sum = 9;
  sums.loss_count = 6;
  sums.rows = 2;
  EXPECT_DOUBLE_EQ(Figures(sums).loss, 1.5);
  EXPECT_EQ(Figures(sums).accuracy, 0);
}

TEST(Evaluation, MergeAddsAndTakesTheShapeOfTheFirst) {
  EvalSums sums;
  EvalSums part = Binary(3, 1);
  part.loss_sum = 0.5;
  part.loss_count = 4;
  part.rows = 4;
  sums.Merge(part);
  sums.Merge(part);
  sums.Merge(EvalSums());
  EXPECT_DOUBLE_EQ(sums.loss_sum, 1.0);
  EXPECT_EQ(sums.loss_count, 8);
  EXPECT_EQ(sums.rows, 8);
  EXPECT_THAT(sums.confusion, ElementsAre(6, 2, 0, 0));
}

TEST(EvaluationDeathTest, SumsOfDifferentTasksDoNotMix) {
  EvalSums two_labels = Binary(1, 1);
  EvalSums three_labels;
  three_labels.confusion.resize(9);
  EXPECT_DEATH(two_labels.Merge(three_labels), "confusion");
}

}  // namespace
}  // namespace qzo::model
