#include "client/local_model.h"

#include <google/protobuf/util/json_util.h>

#include <algorithm>
#include <numeric>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/digest.h"
#include "base/fs.h"
#include "base/status_macros.h"
#include "kernels/fastest.h"
#include "model/tasks/builtin_tasks.h"
#include "proto/spec_convert.h"

namespace qzo::client {
namespace {

constexpr absl::Duration kMeasureTime = absl::Seconds(2);

// A method without effect, for a replica that stays at step 0.
method::MethodSpec NoSteps() {
  method::MethodSpec spec;
  spec.steps = 1;
  return spec;
}

std::string Describe(const method::TensorShape& shape) {
  return absl::StrCat(shape.name, " [", shape.rows, ", ", shape.cols, "] in groups of ", shape.group);
}

absl::Status CheckFits(const method::Adapter& adapter, const model::Model& model) {
  const std::string digest = model.Digest();
  if (digest != adapter.base_model_digest) {
    return absl::FailedPreconditionError(absl::StrCat(model.path(), ": SHA-256 is ", digest,
                                                      ", but the adapter was made for ", adapter.base_model_digest,
                                                      "; use that model"));
  }
  const std::vector<method::TensorShape> trained = model.info().TrainedBy(adapter.spec);
  if (adapter.tensors.size() != trained.size()) {
    return absl::FailedPreconditionError(absl::StrCat(model.path(), ": ", trained.size(), " tensors are trained, but ",
                                                      adapter.tensors.size(), " in the adapter"));
  }
  for (size_t i = 0; i < trained.size(); ++i) {
    if (adapter.tensors[i] == trained[i]) continue;
    return absl::FailedPreconditionError(absl::StrCat(model.path(), ": tensor ", i, " is ", Describe(trained[i]),
                                                      ", but ", Describe(adapter.tensors[i]), " in the adapter"));
  }
  return absl::OkStatus();
}

absl::Status BringTo(const method::Adapter& adapter, model::Replica* replica) {
  if (adapter.has_multipliers()) {
    QZO_RETURN_IF_ERROR(replica->Restore(adapter.step, adapter.multipliers));
  } else {
    for (const method::StepRecord& record : adapter.journal) QZO_RETURN_IF_ERROR(replica->Apply(record.coefficients));
  }
  if (adapter.replica_digest != 0 && replica->digest() != adapter.replica_digest) {
    return absl::DataLossError(absl::StrFormat("the replica at step %d has digest %016x, but the adapter says %016x",
                                               replica->step(), replica->digest(), adapter.replica_digest));
  }
  return absl::OkStatus();
}

}  // namespace

LocalModel::LocalModel(std::unique_ptr<model::Model> model, int threads, kernels::Arithmetic arithmetic)
    : model_(std::move(model)),
      arithmetic_(arithmetic),
      kernels_(kernels::FastestKernels(arithmetic)),
      pool_(threads),
      engine_(*model_, kernels_, &pool_, arithmetic) {}

absl::StatusOr<std::unique_ptr<LocalModel>> LocalModel::Load(const std::string& path, const method::Adapter* adapter,
                                                             int threads, kernels::Arithmetic arithmetic) {
  QZO_ASSIGN_OR_RETURN(std::unique_ptr<model::Model> model, model::Model::Load(path));
  if (adapter != nullptr) QZO_RETURN_IF_ERROR(CheckFits(*adapter, *model));
  std::unique_ptr<LocalModel> local(new LocalModel(std::move(model), threads, arithmetic));
  const method::MethodSpec spec = adapter == nullptr ? NoSteps() : adapter->spec;
  QZO_ASSIGN_OR_RETURN(local->replica_, model::Replica::Create(*local->model_, spec, local->kernels_, &local->pool_));
  if (adapter != nullptr) QZO_RETURN_IF_ERROR(BringTo(*adapter, local->replica_.get()));
  local->lane_ = local->replica_->CurrentLane();
  return local;
}

absl::StatusOr<model::EvalSums> LocalModel::Evaluate(const model::TaskSpec& task, const std::string& dataset_path) {
  QZO_ASSIGN_OR_RETURN(const auto file, base::MappedFile::Open(dataset_path));
  model::DatasetReport report;
  QZO_ASSIGN_OR_RETURN(const model::TaskDataset data,
                       model::TaskDataset::Load(task, model_->tokenizer(), file->bytes(), dataset_path, &report));
  std::vector<int32_t> rows(static_cast<size_t>(data.size()));
  std::iota(rows.begin(), rows.end(), 0);
  return replica_->EvaluateRows(&engine_, task, data, rows);
}

absl::StatusOr<absl::Duration> LocalModel::MeasureStep(const v1::JobSpec& job, const std::string& dataset_path,
                                                       const base::Clock& clock) {
  QZO_ASSIGN_OR_RETURN(const method::MethodSpec spec, rpc::ToMethodSpec(job.method()));
  QZO_ASSIGN_OR_RETURN(const model::TaskSpec task, TaskFor(*model_, job.task()));
  QZO_ASSIGN_OR_RETURN(const auto file, base::MappedFile::Open(dataset_path));
  model::DatasetReport report;
  QZO_ASSIGN_OR_RETURN(const model::TaskDataset data,
                       model::TaskDataset::Load(task, model_->tokenizer(), file->bytes(), dataset_path, &report));
  QZO_ASSIGN_OR_RETURN(const auto replica, model::Replica::Create(*model_, spec, kernels_, &pool_));
  const method::BatchOrder order(spec, job.training_digest(), data.rows_by_label());
  std::vector<method::ItemLosses> losses;
  const auto measure = [&](uint32_t items) -> absl::StatusOr<absl::Duration> {
    const absl::Duration begin = clock.Monotonic();
    QZO_RETURN_IF_ERROR(replica->MeasureItems(&engine_, task, data, order, 0, items, &losses));
    return std::max(clock.Monotonic() - begin, absl::Microseconds(1));
  };
  // The first item pays for page faults and buffers; it only says how many fit into the time that people wait.
  QZO_ASSIGN_OR_RETURN(const absl::Duration first, measure(1));
  const double affordable = absl::FDivDuration(kMeasureTime, first);
  const auto items = static_cast<uint32_t>(std::clamp(affordable, 1.0, static_cast<double>(spec.items())));
  QZO_ASSIGN_OR_RETURN(const absl::Duration taken, measure(items));
  return taken * spec.items() / items;
}

absl::StatusOr<v1::Task> TaskOf(const method::Adapter& adapter) {
  if (adapter.task_json.empty()) return absl::NotFoundError("the adapter names no task; give a job file with one");
  v1::Task task;
  const auto status = google::protobuf::util::JsonStringToMessage(adapter.task_json, &task);
  if (!status.ok()) return absl::InvalidArgumentError(absl::StrCat("the adapter's task: ", status.ToString()));
  return task;
}

absl::StatusOr<model::TaskSpec> TaskFor(const model::Model& model, v1::Task task) {
  rpc::ResolveTask(model::DefaultsFor(model.tokenizer()), &task);
  return rpc::ToTaskSpec(task);
}

absl::StatusOr<VerifyReport> VerifyAdapter(const std::string& model_path, const method::Adapter& adapter, int threads) {
  if (adapter.has_multipliers()) {
    return absl::FailedPreconditionError(
        "the adapter holds multipliers without the journal that made them: nothing to replay");
  }
  QZO_RETURN_IF_ERROR(method::CheckCoefficients(adapter.spec, adapter.journal));
  QZO_ASSIGN_OR_RETURN(const auto local, LocalModel::Load(model_path, &adapter, threads, kernels::Arithmetic::kFp32));
  return VerifyReport{.steps = local->replica().step(),
                      .multipliers = local->replica().partition().multipliers(),
                      .deltas = local->replica().partition().deltas(),
                      .replica_digest = local->replica().digest(),
                      .digest_recorded = adapter.replica_digest != 0};
}

}  // namespace qzo::client
