// What an evaluation measures, as sums that merge in any grouping of rows, and the figures made of them. Pure.
#ifndef QZO_MODEL_TASKS_EVALUATION_H_
#define QZO_MODEL_TASKS_EVALUATION_H_

#include <cstdint>
#include <vector>

namespace qzo::model {

// Sums over a set of rows. Merge adds; the caller merges in ascending row order, because loss_sum is a double.
struct EvalSums {
  double loss_sum = 0;
  int64_t loss_count = 0;  // examples (classification) or answer tokens
  int64_t rows = 0;
  std::vector<int64_t> confusion;  // classification: [true label][predicted], C x C row-major; else empty

  void Merge(const EvalSums& other);
};

struct EvalFigures {
  double loss = 0;  // mean per loss_count
  // Classification only; 0 otherwise.
  double accuracy = 0;
  double accuracy_low = 0;  // 95 % Wilson interval
  double accuracy_high = 0;
  double macro_f1 = 0;           // mean of f1 over the labels that are true or predicted somewhere
  std::vector<double> f1;        // per label; 0 where a label is neither true nor predicted
  double majority_accuracy = 0;  // of always answering the commonest label
};

EvalFigures Figures(const EvalSums& sums);

// 95 % score interval of a share, correct of n > 0, without continuity correction (Wilson, J. Am. Stat. Assoc. 22,
// 1927).
void WilsonInterval(double correct, double n, double* low, double* high);

}  // namespace qzo::model

#endif  // QZO_MODEL_TASKS_EVALUATION_H_
