// From log-probabilities of tokens to scores and losses: double, in token order, no libm, so that they are the same
// bits everywhere. Pure.
#ifndef QZO_MODEL_GRAPH_LOSSES_H_
#define QZO_MODEL_GRAPH_LOSSES_H_

#include <vector>

#include "absl/types/span.h"
#include "model/graph/engine.h"
#include "model/tasks/example.h"
#include "model/tasks/task.h"

namespace qzo::model {

// e^x to 1e-15 relative; 0 below −700, NaN for NaN. x <= 700.
double ExpDouble(double x);

// The mean log-probability of each branch's tokens. `log_probs` has one value per token of every branch, in order.
void OptionScoresOf(const Example& example, absl::Span<const double> log_probs, std::vector<double>* scores);

// The loss of one example, from the same. `scores` is working memory.
ExampleLoss LossOf(TaskKind kind, const Example& example, absl::Span<const double> log_probs,
                   std::vector<double>* scores);

}  // namespace qzo::model

#endif  // QZO_MODEL_GRAPH_LOSSES_H_
