#include "model/tasks/evaluation.h"

#include <algorithm>
#include <cmath>

#include "base/log.h"

namespace qzo::model {
namespace {

constexpr double kZ95 = 1.959963984540054;  // 97.5 % quantile of the normal distribution

}  // namespace

void WilsonInterval(double correct, double n, double* low, double* high) {
  const double p = correct / n;
  const double z2 = kZ95 * kZ95;
  const double centre = p + z2 / (2 * n);
  const double half_width = kZ95 * std::sqrt(p * (1 - p) / n + z2 / (4 * n * n));
  *low = std::max(0.0, (centre - half_width) / (1 + z2 / n));
  *high = std::min(1.0, (centre + half_width) / (1 + z2 / n));
}

void EvalSums::Merge(const EvalSums& other) {
  loss_sum += other.loss_sum;
  loss_count += other.loss_count;
  rows += other.rows;
  if (other.confusion.empty()) return;
  if (confusion.empty()) confusion.resize(other.confusion.size());
  QZO_CHECK(confusion.size() == other.confusion.size());
  for (size_t i = 0; i < confusion.size(); ++i) confusion[i] += other.confusion[i];
}

EvalFigures Figures(const EvalSums& sums) {
  EvalFigures figures;
  if (sums.loss_count > 0) figures.loss = sums.loss_sum / static_cast<double>(sums.loss_count);
  const auto labels = static_cast<size_t>(std::llround(std::sqrt(static_cast<double>(sums.confusion.size()))));
  QZO_CHECK(labels * labels == sums.confusion.size());
  std::vector<int64_t> of_true(labels);
  std::vector<int64_t> of_predicted(labels);
  int64_t total = 0;
  int64_t correct = 0;
  for (size_t t = 0; t < labels; ++t) {
    for (size_t p = 0; p < labels; ++p) {
      const int64_t count = sums.confusion[t * labels + p];
      of_true[t] += count;
      of_predicted[p] += count;
      total += count;
      if (t == p) correct += count;
    }
  }
  figures.f1.resize(labels);
  if (total == 0) return figures;
  const auto n = static_cast<double>(total);
  figures.accuracy = static_cast<double>(correct) / n;
  WilsonInterval(static_cast<double>(correct), n, &figures.accuracy_low, &figures.accuracy_high);
  figures.majority_accuracy = static_cast<double>(*std::max_element(of_true.begin(), of_true.end())) / n;
  int64_t seen = 0;
  for (size_t c = 0; c < labels; ++c) {
    const int64_t both = of_true[c] + of_predicted[c];
    if (both == 0) continue;
    ++seen;
    figures.f1[c] = 2 * static_cast<double>(sums.confusion[c * labels + c]) / static_cast<double>(both);
    figures.macro_f1 += figures.f1[c];
  }
  figures.macro_f1 /= static_cast<double>(seen);
  return figures;
}

}  // namespace qzo::model
