#include "model/tasks/answer_metrics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>

#include "tests/support/status_matchers.h"
#include "tests/support/temp_dir.h"

namespace qzo::model {
namespace {

TEST(AnswerMetrics, AgreeWithPython) {  // tests/reference/squad_metrics.py
  const AnswerMetrics metrics;
  std::ifstream file(testing::TestFile("golden/data/squad_metrics.jsonl"));
  int cases = 0;
  for (std::string line; std::getline(file, line); ++cases) {
    const auto row = nlohmann::json::parse(line);
    ASSERT_OK_AND_ASSIGN(const AnswerScore score, metrics.Score(row["answer"].get<std::string>(),
                                                                row["references"].get<std::vector<std::string>>()));
    EXPECT_NEAR(score.f1, row["f1"].get<double>(), 1e-12) << line;
    EXPECT_EQ(score.exact, row["exact"].get<bool>()) << line;
  }
  EXPECT_EQ(cases, 54);
}

TEST(AnswerMetrics, FiguresHaveErrors) {
  AnswerSums sums;
  EXPECT_EQ(Figures(sums).f1, 0);
  sums.Add({.f1 = 1, .exact = true});
  sums.Add({.f1 = 0.5});
  sums.Add({});
  sums.Add({.f1 = 0.5});
  const AnswerFigures figures = Figures(sums);
  EXPECT_DOUBLE_EQ(figures.f1, 0.5);
  EXPECT_DOUBLE_EQ(figures.f1_error, std::sqrt(0.125 / 4));
  EXPECT_DOUBLE_EQ(figures.exact, 0.25);
  EXPECT_NEAR(figures.exact_low, 0.0456, 1e-4);  // by hand
  EXPECT_NEAR(figures.exact_high, 0.6994, 1e-4);
}

}  // namespace
}  // namespace qzo::model
