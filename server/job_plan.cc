#include "server/job_plan.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "method/batch_order.h"
#include "method/partition.h"
#include "qzo/v1/worker.pb.h"

namespace qzo::server {
namespace {

double TokensPerRow(const model::DatasetReport& report) {
  return report.rows > 0 ? static_cast<double>(report.tokens) / static_cast<double>(report.rows) : 0;
}

int64_t ValidatedRows(const v1::JobSpec& spec, const method::MethodSpec& method, const model::DatasetReport& report) {
  const std::vector<int64_t> rows =
      report.label_counts.empty() ? std::vector<int64_t>{report.rows} : report.label_counts;
  return method::EvaluationRowCount(method.sampling, rows, spec.evaluation().eval_rows());
}

uint32_t EvaluationItems(int64_t rows) {
  return static_cast<uint32_t>((rows + method::kRowsPerEvaluationItem - 1) / method::kRowsPerEvaluationItem);
}

// Before the first step, every eval_steps and after the last.
int64_t Validations(const v1::JobSpec& spec, uint32_t steps) {
  const uint32_t every = spec.evaluation().eval_steps();
  return every == 0 ? 2 : 1 + (int64_t{steps} + every - 1) / every;
}

double TokensPerStep(const method::MethodSpec& method, const model::DatasetReport& training) {
  return TokensPerRow(training) * method.batch_size * method.probes * 2;
}

double PayloadPerStep(const method::MethodSpec& method) {
  v1::CoordinatorMessage down;
  v1::Work& work = *down.mutable_work();
  work.set_job(1);
  work.set_step(method.steps);
  for (uint32_t p = 0; p < method.probes; ++p) work.add_coefficients(1);
  work.set_item_count(method.items());
  v1::WorkerMessage up;
  v1::Results& results = *up.mutable_results();
  results.set_job(1);
  results.set_step(method.steps);
  for (uint32_t i = 0; i < 2 * method.items(); ++i) results.add_losses(1);
  results.add_counts(method.batch_size / method.micro_batches);
  results.set_digest(1);
  return static_cast<double>(down.ByteSizeLong() + up.ByteSizeLong());
}

int64_t WorkerMemory(const method::MethodSpec& method, const model::ModelInfo& model, int64_t multipliers,
                     int32_t longest_row) {
  // Absolute mode keeps a unit beside every multiplier.
  const int64_t state =
      multipliers * static_cast<int64_t>(sizeof(float)) * (method.mode == method::Mode::kAbsolute ? 2 : 1);
  const int64_t row = 2 * int64_t{longest_row};
  const int64_t item = row * (method.batch_size / method.micro_batches);
  return model.file_bytes + model.repacked_bytes + state +
         model.ActivationBytes(std::max(row, std::min(item, model::kPassRows)));
}

}  // namespace

absl::Status CheckMode(const method::MethodSpec& method, const model::ModelInfo& model, bool have_scales) {
  if (method.mode != method::Mode::kAbsolute) return absl::OkStatus();
  if (!have_scales) {
    return absl::InvalidArgumentError(
        "method.mode: ABSOLUTE, expected RELATIVE: some of the model's trained weights are plain floats without stored "
        "scales");
  }
  const bool one_scale_a_row =
      std::all_of(model.trained.begin(), model.trained.end(),
                  [](const method::TensorShape& tensor) { return tensor.group == tensor.cols; });
  if (method.granularity == method::Granularity::kGroup || one_scale_a_row) return absl::OkStatus();
  return absl::InvalidArgumentError(
      "method.granularity: CHANNEL, expected GROUP: mode ABSOLUTE needs it where a row has several stored scales");
}

JobFacts FactsOf(const v1::JobSpec& spec, const method::MethodSpec& method, const SplitReports& reports) {
  JobFacts facts;
  facts.validation_items = EvaluationItems(ValidatedRows(spec, method, reports.validation));
  facts.test_items = EvaluationItems(reports.test.rows);
  facts.tokens_per_step = std::llround(TokensPerStep(method, reports.training));
  return facts;
}

v1::Plan PlanOf(const v1::JobSpec& spec, const method::MethodSpec& method, const model::ModelInfo& model,
                const SplitReports& reports) {
  const method::Partition partition(method.granularity, model.trained);
  const model::DatasetReport& training = reports.training;
  v1::Plan plan;
  plan.set_steps(method.steps);
  plan.set_items_per_step(method.items());
  plan.set_multipliers(partition.multipliers());
  plan.set_training_tokens(std::llround(TokensPerStep(method, training) * method.steps));
  const double validated =
      TokensPerRow(reports.validation) * static_cast<double>(ValidatedRows(spec, method, reports.validation));
  plan.set_evaluation_tokens(std::llround(validated * static_cast<double>(Validations(spec, method.steps)) +
                                          2.0 * static_cast<double>(reports.test.tokens)));
  const int32_t longest = std::min(training.longest, spec.task().sequence_len());
  plan.set_worker_memory_bytes(WorkerMemory(method, model, partition.multipliers(), longest));
  plan.set_payload_bytes_per_step(PayloadPerStep(method));
  plan.set_journal_bytes(int64_t{method.steps} * method.probes * 2 * static_cast<int64_t>(sizeof(float)));
  plan.set_truncated_rows(training.truncated_rows);
  plan.set_shortened_chats(training.shortened_chats);
  plan.set_lost_tokens(training.lost_tokens);
  plan.set_longest_row_tokens(training.longest);
  plan.mutable_label_counts()->Add(training.label_counts.begin(), training.label_counts.end());
  return plan;
}

}  // namespace qzo::server
