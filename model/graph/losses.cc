#include "model/graph/losses.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/exact_math.h"

namespace qzo::model {
namespace {

constexpr double kE = 2.718281828459045;

ExampleLoss Classification(const Example& example, const std::vector<double>& scores) {
  const auto best = std::max_element(scores.begin(), scores.end());
  ExampleLoss result{.loss = std::numeric_limits<double>::quiet_NaN(),
                     .count = 1,
                     .predicted = static_cast<int32_t>(best - scores.begin())};
  double sum = 0;
  for (const double score : scores) sum += ExpDouble(score - *best);
  // Log is for positive normal numbers only; a sum with a NaN, or with a score of ±inf, is none.
  if (std::isfinite(sum)) result.loss = kernels::Log(sum) - (scores[static_cast<size_t>(example.label)] - *best);
  return result;
}

}  // namespace

double ExpDouble(double x) {
  if (x < -700) return 0;
  return std::isnan(x) ? x : kernels::Pow(kE, x);
}

void OptionScoresOf(const Example& example, absl::Span<const double> log_probs, std::vector<double>* scores) {
  scores->clear();
  size_t at = 0;
  for (const std::vector<int32_t>& branch : example.branches) {
    double sum = 0;
    for (size_t j = 0; j < branch.size(); ++j) sum += log_probs[at++];
    scores->push_back(sum / static_cast<double>(branch.size()));
  }
}

ExampleLoss LossOf(TaskKind kind, const Example& example, absl::Span<const double> log_probs,
                   std::vector<double>* scores) {
  if (kind == TaskKind::kClassification) {
    OptionScoresOf(example, log_probs, scores);
    return Classification(example, *scores);
  }
  ExampleLoss result;
  for (size_t j = 0; j < example.branches[0].size(); ++j) {
    if (!example.scored.empty() && example.scored[j] == 0) continue;
    result.loss -= log_probs[j];
    ++result.count;
  }
  return result;
}

}  // namespace qzo::model
