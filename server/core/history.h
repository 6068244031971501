// What a job does next, decided from its journal length and evaluations alone, so that a recovered coordinator decides
// the same. Pure.
#ifndef QZO_SERVER_CORE_HISTORY_H_
#define QZO_SERVER_CORE_HISTORY_H_

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "absl/types/span.h"
#include "server/core/types.h"

namespace qzo::server::core {

struct TrainNext {};
struct EvaluateNext {
  uint32_t step;  // at or before the journal's end: the final test runs at the best step
  Split split;
  uint32_t items;
};
struct FinishNext {
  uint32_t step;  // of the adapter
  uint64_t replica_digest;
  bool stopped_early;
};
using Next = std::variant<TrainNext, EvaluateNext, FinishNext>;

// Before the first step: test (if there is one), validation. After every eval_steps steps and at the end: validation.
// At the end, or when `patience` validations in a row brought no lower loss: the test at the best step, then finish.
// Without a validation set the last step is the best; without a test set one item of the training set stands in, for
// the replica digest that the adapter carries.
Next NextOf(const JobConfig& config, uint32_t next_step, absl::Span<const EvaluationRecord> evaluations);

// The validated step with the lowest loss, the first of equals; `next_step` without validations. Non-finite losses
// lose.
uint32_t BestStep(uint32_t next_step, absl::Span<const EvaluationRecord> evaluations);

}  // namespace qzo::server::core

#endif  // QZO_SERVER_CORE_HISTORY_H_
