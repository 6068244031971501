#include "server/live_job.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/status_macros.h"
#include "proto/spec_convert.h"

namespace qzo::server {
namespace {

// Enough of the journal's tail to see a run of steps without finite losses that is about to fail the job.
constexpr uint32_t kTailSteps = 64;

// Of a job that an earlier version stored: nothing, and it is not cut.
core::ModelShape LoadShape(const v1::StoredJob::Shape& stored) {
  core::ModelShape shape;
  for (int l = 0; l < std::min(stored.layer_bytes_size(), stored.layer_costs_size()); ++l) {
    shape.layers.push_back({stored.layer_bytes(l), stored.layer_costs(l)});
  }
  shape.embedding_bytes = stored.embedding_bytes();
  shape.head_bytes = stored.head_bytes();
  shape.head_cost = stored.head_cost();
  shape.stage_bytes = stored.stage_bytes();
  shape.whole_bytes = stored.whole_bytes();
  return shape;
}

}  // namespace

absl::StatusOr<ResourceKey> JobKey(const std::string& name) {
  const std::vector<std::string> parts = absl::StrSplit(name, '/');
  if (parts.size() != 4 || parts[0] != "projects" || parts[2] != "jobs" || parts[1].empty() || parts[3].empty()) {
    return absl::NotFoundError(absl::StrCat("'", name, "' names no job; names look like projects/default/jobs/my-job"));
  }
  return ResourceKey{"job", parts[1], parts[3]};
}

void StoreShape(const core::ModelShape& shape, v1::StoredJob::Shape* stored) {
  for (const core::ModelShape::Layer& layer : shape.layers) {
    stored->add_layer_bytes(layer.bytes);
    stored->add_layer_costs(layer.cost);
  }
  stored->set_embedding_bytes(shape.embedding_bytes);
  stored->set_head_bytes(shape.head_bytes);
  stored->set_head_cost(shape.head_cost);
  stored->set_stage_bytes(shape.stage_bytes);
  stored->set_whole_bytes(shape.whole_bytes);
}

absl::StatusOr<core::JobConfig> ConfigOf(const v1::StoredJob& stored, const std::string& project) {
  const v1::JobSpec& spec = stored.job().spec();
  core::JobConfig config;
  QZO_ASSIGN_OR_RETURN(config.method, rpc::ToMethodSpec(spec.method()));
  config.project = project;
  config.priority = spec.placement().priority();
  config.min_workers = std::max(1u, spec.placement().min_workers());
  config.kind = spec.placement().kind();
  config.stages = spec.placement().stages();
  config.shape = LoadShape(stored.shape());
  config.base_model = spec.base_model_digest();
  config.eval_steps = spec.evaluation().eval_steps();
  config.patience = spec.evaluation().early_stopping_patience();
  config.snapshot_steps = spec.evaluation().snapshot_steps();
  config.validation_items = stored.validation_items();
  config.test_items = stored.test_items();
  return config;
}

v1::FineTuningJob::State ToProto(core::JobState state) {
  switch (state) {
    case core::JobState::kQueued:
      return v1::FineTuningJob::QUEUED;
    case core::JobState::kRunning:
      return v1::FineTuningJob::RUNNING;
    case core::JobState::kPaused:
      return v1::FineTuningJob::PAUSED;
    case core::JobState::kSucceeded:
      return v1::FineTuningJob::SUCCEEDED;
    case core::JobState::kFailed:
      return v1::FineTuningJob::FAILED;
    case core::JobState::kCancelled:
      return v1::FineTuningJob::CANCELLED;
  }
  return v1::FineTuningJob::STATE_UNSPECIFIED;
}

bool IsTerminal(v1::FineTuningJob::State state) { return state >= v1::FineTuningJob::SUCCEEDED; }

const char* SplitName(core::Split split) {
  switch (split) {
    case core::Split::kTrain:
      return "train";
    case core::Split::kValidation:
      return "validation";
    case core::Split::kTest:
      return "test";
  }
  return "";
}

std::string EncodeEvaluation(const core::EvaluationRecord& record) {
  v1::StoredEvaluation stored;
  stored.set_loss_sum(record.sums.loss_sum);
  stored.set_loss_count(record.sums.loss_count);
  stored.set_rows(record.sums.rows);
  stored.mutable_confusion()->Add(record.sums.confusion.begin(), record.sums.confusion.end());
  stored.set_replica_digest(record.replica_digest);
  return stored.SerializeAsString();
}

absl::StatusOr<core::EvaluationRecord> DecodeEvaluation(const StoredEvaluation& evaluation) {
  v1::StoredEvaluation stored;
  core::EvaluationRecord record;
  if (!stored.ParseFromString(evaluation.body)) {
    return absl::DataLossError(absl::StrCat("stored evaluation '", evaluation.name, "' at step ", evaluation.step));
  }
  record.step = evaluation.step;
  record.split = evaluation.name == "test"         ? core::Split::kTest
                 : evaluation.name == "validation" ? core::Split::kValidation
                                                   : core::Split::kTrain;
  record.sums = {
      stored.loss_sum(), stored.loss_count(), stored.rows(), {stored.confusion().begin(), stored.confusion().end()}};
  record.replica_digest = stored.replica_digest();
  return record;
}

absl::StatusOr<core::JobHistory> ReadHistory(Store* store, const StoredResource& resource) {
  core::JobHistory history;
  history.next_step = resource.next_step;
  history.paused = resource.state == v1::FineTuningJob::PAUSED;
  const uint32_t from = resource.next_step > kTailSteps ? resource.next_step - kTailSteps : 0;
  QZO_ASSIGN_OR_RETURN(const method::JournalChunk tail, store->ReadJournal(resource.uid, from, resource.next_step));
  if (tail.records.size() != resource.next_step - from) {
    return absl::DataLossError(absl::StrCat("the journal of job ", resource.key.id, " holds ", tail.records.size(),
                                            " of the steps ", from, " to ", resource.next_step));
  }
  history.rule = tail.state_after;
  for (auto record = tail.records.rbegin(); record != tail.records.rend(); ++record, ++history.non_finite_run) {
    if (std::none_of(record->d.begin(), record->d.end(), [](float d) { return std::isnan(d); })) break;
  }
  QZO_ASSIGN_OR_RETURN(const std::vector<StoredEvaluation> evaluations, store->ReadEvaluations(resource.uid));
  for (const StoredEvaluation& evaluation : evaluations) {
    QZO_ASSIGN_OR_RETURN(core::EvaluationRecord record, DecodeEvaluation(evaluation));
    history.evaluations.push_back(std::move(record));
  }
  return history;
}

void ShowStep(const core::StepCommitted& step, int64_t tokens_per_step, absl::Duration now, LiveJob* live) {
  const double seconds = absl::ToDoubleSeconds(step.duration);
  // Evaluations and other jobs' turns lie between steps: the ETA counts them, the speed does not.
  const double between =
      live->last_step_at == absl::ZeroDuration() ? seconds : absl::ToDoubleSeconds(now - live->last_step_at);
  live->last_step_at = now;
  live->seconds_per_step = live->seconds_per_step == 0 ? between : 0.8 * live->seconds_per_step + 0.2 * between;
  v1::Progress& progress = *live->job().mutable_progress();
  progress.set_step(step.step);
  progress.set_train_loss(step.train_loss);
  progress.set_learning_rate(step.learning_rate);
  if (seconds > 0) progress.set_tokens_per_second(static_cast<double>(tokens_per_step) / seconds);
  const double left = live->seconds_per_step * (progress.total_steps() - std::min(step.step, progress.total_steps()));
  progress.mutable_eta()->set_seconds(static_cast<int64_t>(std::ceil(left)));
}

void ShowEvaluation(const core::EvaluationRecord& record, v1::Progress* progress) {
  const v1::Evaluation evaluation = rpc::ToProto(record.sums, record.step, SplitName(record.split));
  if (record.split == core::Split::kValidation) {
    *progress->mutable_last_validation() = evaluation;
    if (!progress->has_best_validation() || evaluation.loss() < progress->best_validation().loss() ||
        !std::isfinite(progress->best_validation().loss())) {
      *progress->mutable_best_validation() = evaluation;
    }
  } else if (record.split == core::Split::kTest) {
    if (record.step == 0) *progress->mutable_first_test() = evaluation;
    if (record.step > 0) *progress->mutable_final_test() = evaluation;
  }
}

absl::StatusOr<core::ItemResults> ToCore(core::WorkerHandle worker, const v1::Results& results) {
  const int items = results.losses_size() / 2;
  if (items == 0 || results.losses_size() % 2 != 0 || (results.counts_size() != 1 && results.counts_size() != items)) {
    return absl::InvalidArgumentError(
        absl::StrCat("results: ", results.losses_size(), " losses with ", results.counts_size(),
                     " counts; expected two losses an item and one count for all or each"));
  }
  core::ItemResults event{worker, results.job(), results.step(), results.first_item(), {}, results.digest()};
  for (int i = 0; i < items; ++i) {
    const uint32_t count = results.counts(results.counts_size() == 1 ? 0 : i);
    event.losses.push_back({results.losses(2 * i), results.losses(2 * i + 1), count});
  }
  return event;
}

absl::StatusOr<core::EvaluationResults> ToCore(core::WorkerHandle worker, const v1::EvalResults& results) {
  core::EvaluationResults event{
      worker, results.job(),   results.step(), static_cast<core::Split>(results.split()), results.first_item(),
      {},     results.digest()};
  if (results.split() < v1::TRAIN || results.split() > v1::TEST || results.items().empty()) {
    return absl::InvalidArgumentError(absl::StrCat("evaluation results: split ", static_cast<int>(results.split()),
                                                   " with ", results.items_size(), " items"));
  }
  for (const auto& item : results.items()) {
    event.sums.push_back(
        {item.loss_sum(), item.loss_count(), item.rows(), {item.confusion().begin(), item.confusion().end()}});
    if (item.confusion_size() != results.items(0).confusion_size()) {
      return absl::InvalidArgumentError("evaluation results: confusion tables of different sizes");
    }
  }
  return event;
}

}  // namespace qzo::server
