// How close a written answer is to those that are right, as the SQuAD evaluation defines it: case, punctuation
// (ASCII's) and the articles a, an, the do not matter. Pure; thread-safe once made.
#ifndef QZO_MODEL_TASKS_ANSWER_METRICS_H_
#define QZO_MODEL_TASKS_ANSWER_METRICS_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "model/tokenizer/normalizer.h"

namespace qzo::model {

struct AnswerScore {
  double f1 = 0;       // of the words that the answer shares with a reference; the best over the references
  bool exact = false;  // the same words in the same order as one of them
};

class AnswerMetrics {
 public:
  AnswerMetrics();
  // Possible errors: those of Normalizer::Apply.
  absl::StatusOr<AnswerScore> Score(std::string_view answer, const std::vector<std::string>& references) const;

 private:
  absl::StatusOr<std::vector<std::string>> Words(std::string_view text) const;

  Normalizer normalizer_;
};

// Over a dataset.
struct AnswerSums {
  int64_t rows = 0;
  int64_t exact = 0;
  double f1 = 0;
  double f1_squares = 0;
  void Add(const AnswerScore& score);
};

struct AnswerFigures {
  double f1 = 0;
  double f1_error = 0;  // standard error of the mean
  double exact = 0;
  double exact_low = 0;  // 95 % Wilson interval
  double exact_high = 0;
};
AnswerFigures Figures(const AnswerSums& sums);

}  // namespace qzo::model

#endif  // QZO_MODEL_TASKS_ANSWER_METRICS_H_
