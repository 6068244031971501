#include "server/core/history.h"

#include <cmath>

namespace qzo::server::core {
namespace {

double LossOf(const EvaluationRecord& record) {
  const double loss = model::Figures(record.sums).loss;
  return std::isfinite(loss) ? loss : HUGE_VAL;
}

const EvaluationRecord* Find(absl::Span<const EvaluationRecord> evaluations, uint32_t step, Split split) {
  for (const EvaluationRecord& record : evaluations) {
    if (record.step == step && record.split == split) return &record;
  }
  return nullptr;
}

// Validations since the best one, the best not counted. Evaluations are in ascending order of steps.
uint32_t ValidationsWithoutGain(absl::Span<const EvaluationRecord> evaluations) {
  double best = HUGE_VAL;
  uint32_t since = 0;
  for (const EvaluationRecord& record : evaluations) {
    if (record.split != Split::kValidation) continue;
    if (LossOf(record) < best) {
      best = LossOf(record);
      since = 0;
    } else {
      ++since;
    }
  }
  return since;
}

}  // namespace

uint32_t BestStep(uint32_t next_step, absl::Span<const EvaluationRecord> evaluations) {
  const EvaluationRecord* best = nullptr;
  for (const EvaluationRecord& record : evaluations) {
    if (record.split == Split::kValidation && (best == nullptr || LossOf(record) < LossOf(*best))) best = &record;
  }
  return best == nullptr ? next_step : best->step;
}

Next NextOf(const JobConfig& config, uint32_t next_step, absl::Span<const EvaluationRecord> evaluations) {
  const uint32_t steps = config.method.steps;
  if (next_step == 0 && config.test_items > 0 && Find(evaluations, 0, Split::kTest) == nullptr) {
    return EvaluateNext{0, Split::kTest, config.test_items};
  }
  const bool due =
      next_step == 0 || next_step >= steps || (config.eval_steps > 0 && next_step % config.eval_steps == 0);
  if (config.validation_items > 0 && due && Find(evaluations, next_step, Split::kValidation) == nullptr) {
    return EvaluateNext{next_step, Split::kValidation, config.validation_items};
  }
  const bool stopped_early =
      next_step < steps && config.patience > 0 && ValidationsWithoutGain(evaluations) >= config.patience;
  if (next_step < steps && !stopped_early) return TrainNext{};

  const uint32_t best = BestStep(next_step, evaluations);
  const Split last = config.test_items > 0 ? Split::kTest : Split::kTrain;
  if (const EvaluationRecord* done = Find(evaluations, best, last); done != nullptr) {
    return FinishNext{best, done->replica_digest, stopped_early};
  }
  return EvaluateNext{best, last, last == Split::kTest ? config.test_items : 1};
}

}  // namespace qzo::server::core
