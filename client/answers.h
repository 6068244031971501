// Written answers of a model on this machine, and how right they are: what eval --generate measures.
#ifndef QZO_CLIENT_ANSWERS_H_
#define QZO_CLIENT_ANSWERS_H_

#include <functional>
#include <string>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "client/local_model.h"
#include "model/tasks/answer_metrics.h"
#include "model/tasks/task.h"

namespace qzo::client {

struct AnswerReport {
  model::AnswerSums sums;
  int64_t tokens = 0;   // written
  int64_t unended = 0;  // answers that had no end within max_tokens
};

// Answers every question greedily, with at most `max_tokens` tokens, some at a time: an answer ends at a token that
// ends texts or before one of `stop`. Hands each one, in the order of the questions, to `use`, which returns false to
// give up. CANCELLED then; other errors: those of GenerationBatch and of `use`'s metrics.
absl::StatusOr<AnswerReport> AnswerQuestions(
    LocalModel* local, const std::vector<std::string>& stop, absl::Span<const model::Question> questions,
    int max_tokens,
    const std::function<bool(size_t question, const std::string& answer, const model::AnswerScore& score)>& use);

}  // namespace qzo::client

#endif  // QZO_CLIENT_ANSWERS_H_
