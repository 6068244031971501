#include "server/job_validation.h"

#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "model/tasks/builtin_tasks.h"
#include "model/tasks/task.h"
#include "proto/grpc_status.h"
#include "proto/spec_convert.h"
#include "qzo/v1/dataset.pb.h"
#include "qzo/v1/model.pb.h"
#include "server/dataset_rows.h"
#include "server/job_plan.h"
#include "server/resource_names.h"
#include "server/resources.h"

namespace qzo::server {
namespace {

constexpr int32_t kMaxPriority = 100;
constexpr uint32_t kMaxMinWorkers = 100'000;
constexpr size_t kMaxKindBytes = 64;
constexpr uint32_t kDefaultSnapshotSteps = 1000;
constexpr uint32_t kDefaultValidations = 10;

// One request on its way to being resolved.
class Resolution {
 public:
  Resolution(Store* store, BlobStore* blobs, ModelCache* models, const v1::JobSpec& spec)
      : store_(store), blobs_(blobs), models_(models), spec_(spec) {}

  absl::StatusOr<ResolvedJob> Run() {
    QZO_RETURN_IF_ERROR(FindInputs());
    if (!spec_.base_model_digest().empty()) {
      QZO_ASSIGN_OR_RETURN(model_, models_->Load(spec_.base_model_digest()));
    }
    ResolveTask();
    if (task_) {
      QZO_RETURN_IF_ERROR(LoadSplit(spec_.training_dataset(), spec_.training_digest(), &reports_.training));
      QZO_RETURN_IF_ERROR(LoadSplit(spec_.validation_dataset(), spec_.validation_digest(), &reports_.validation));
      QZO_RETURN_IF_ERROR(LoadSplit(spec_.test_dataset(), spec_.test_digest(), &reports_.test));
    }
    ResolveMethod();
    ResolvePolicy();
    ResolvePlacement();
    QZO_RETURN_IF_ERROR(Violations());
    return ResolvedJob{spec_, PlanOf(spec_, *method_, model_->info, reports_),
                       FactsOf(spec_, *method_, model_->info, reports_)};
  }

 private:
  void Violate(std::string field, std::string description) {
    auto* violation = details_.add_field_violations();
    violation->set_field(std::move(field));
    violation->set_description(std::move(description));
  }
  // The violations of an INVALID_ARGUMENT, whether it has them as details or as lines.
  void Violate(const absl::Status& status) {
    const auto details = rpc::BadRequestOf(status);
    details_.MergeFrom(details ? *details : *rpc::BadRequestOf(rpc::ViolationsFromLines(status, "")));
  }
  absl::Status Violations() const {
    if (details_.field_violations().empty()) return absl::OkStatus();
    std::string message = "the job cannot be accepted";
    for (const auto& violation : details_.field_violations()) {
      absl::StrAppend(&message, "\n", violation.field(), ": ", violation.description());
    }
    return rpc::WithReason(rpc::WithBadRequest(absl::InvalidArgumentError(message), details_), "INVALID_JOB");
  }

  absl::Status FindInputs() {
    spec_.clear_base_model_digest();
    spec_.clear_training_digest();
    spec_.clear_validation_digest();
    spec_.clear_test_digest();
    QZO_RETURN_IF_ERROR(
        Find<v1::Model>(kModelKind, "base_model", spec_.base_model(), spec_.mutable_base_model_digest()));
    QZO_RETURN_IF_ERROR(
        Find<v1::Dataset>(kDatasetKind, "training_dataset", spec_.training_dataset(), spec_.mutable_training_digest()));
    if (!spec_.validation_dataset().empty()) {
      QZO_RETURN_IF_ERROR(Find<v1::Dataset>(kDatasetKind, "validation_dataset", spec_.validation_dataset(),
                                            spec_.mutable_validation_digest()));
    }
    if (spec_.test_dataset().empty()) return absl::OkStatus();
    return Find<v1::Dataset>(kDatasetKind, "test_dataset", spec_.test_dataset(), spec_.mutable_test_digest());
  }

  template <typename Message>
  absl::Status Find(const char* kind, const char* field, const std::string& name, std::string* digest) {
    const absl::StatusOr<Message> found = GetMessage<Message>(store_, kind, field, name);
    if (absl::IsInvalidArgument(found.status())) {
      Violate(found.status());
      return absl::OkStatus();
    }
    QZO_RETURN_IF_ERROR(found.status());
    *digest = found->digest();
    return absl::OkStatus();
  }

  void ResolveTask() {
    v1::Task& task = *spec_.mutable_task();
    if (model_ != nullptr && task.sequence_len() == 0) {
      task.set_sequence_len(std::min(model::TaskSpec().sequence_len, model_->info.context_length));
    }
    rpc::ResolveTask(model_ != nullptr ? model::DefaultsFor(*model_->tokenizer) : model::TaskDefaults(), &task);
    absl::StatusOr<model::TaskSpec> spec = rpc::ToTaskSpec(task);
    if (!spec.ok()) return Violate(spec.status());
    if (model_ == nullptr) return;
    if (spec->sequence_len > model_->info.context_length) {
      return Violate("task.sequence_len",
                     absl::StrCat(spec->sequence_len, ", expected at most ", model_->info.context_length,
                                  ", which the model's context holds"));
    }
    task_ = *std::move(spec);
  }

  absl::Status LoadSplit(const std::string& name, const std::string& digest, model::DatasetReport* report) {
    if (digest.empty()) return absl::OkStatus();
    QZO_ASSIGN_OR_RETURN(const std::unique_ptr<base::MappedFile> file, blobs_->Open(digest));
    absl::Status status = model::TaskDataset::Load(*task_, *model_->tokenizer, file->bytes(), name, report).status();
    if (report->errors_total > 0) {
      Violate(BadRows(*report, name));
    } else if (absl::IsInvalidArgument(status) || absl::IsFailedPrecondition(status)) {
      Violate(status);
    } else if (!status.ok()) {
      return status;
    }
    return absl::OkStatus();
  }

  void ResolveMethod() {
    v1::Method& method = *spec_.mutable_method();
    if (const absl::Status status = rpc::ResolveMethod(std::max<int64_t>(1, reports_.training.rows), &method);
        !status.ok()) {
      return Violate(status);
    }
    method_ = *rpc::ToMethodSpec(method);
    if (method_->sampling == method::Sampling::kBalanced && spec_.task().kind() != v1::CLASSIFICATION) {
      Violate("method.sampling", "BALANCED, expected SHUFFLED for a task without labels");
    }
    if (model_ == nullptr) return;
    if (const absl::Status status = CheckMode(*method_, model_->info, model_->trained_have_scales); !status.ok()) {
      Violate(status);
    }
  }

  void ResolvePolicy() {
    v1::EvaluationPolicy& policy = *spec_.mutable_evaluation();
    if (!policy.has_eval_steps() && method_) policy.set_eval_steps(std::max(1u, method_->steps / kDefaultValidations));
    if (!policy.has_eval_rows()) policy.set_eval_rows(0);
    if (!policy.has_early_stopping_patience()) policy.set_early_stopping_patience(0);
    if (!policy.has_snapshot_steps()) policy.set_snapshot_steps(kDefaultSnapshotSteps);
    if (policy.early_stopping_patience() > 0 && spec_.validation_dataset().empty()) {
      Violate(
          "evaluation.early_stopping_patience",
          absl::StrCat(policy.early_stopping_patience(), " without a validation_dataset, which early stopping needs"));
    }
  }

  void ResolvePlacement() {
    v1::Placement& placement = *spec_.mutable_placement();
    if (!placement.has_min_workers()) placement.set_min_workers(1);
    if (!placement.has_priority()) placement.set_priority(0);
    if (placement.min_workers() < 1 || placement.min_workers() > kMaxMinWorkers) {
      Violate("placement.min_workers", absl::StrCat(placement.min_workers(), ", expected 1 to ", kMaxMinWorkers));
    }
    if (placement.priority() < -kMaxPriority || placement.priority() > kMaxPriority) {
      Violate("placement.priority",
              absl::StrCat(placement.priority(), ", expected ", -kMaxPriority, " to ", kMaxPriority));
    }
    if (placement.kind().size() > kMaxKindBytes) {
      Violate("placement.kind", absl::StrCat(placement.kind().size(), " characters, expected at most ", kMaxKindBytes));
    }
    if (model_ != nullptr && placement.stages() > static_cast<uint32_t>(model_->info.layers)) {
      Violate("placement.stages", absl::StrCat(placement.stages(), ", expected at most ", model_->info.layers,
                                               ", the layers of the model"));
    }
    if (model_ != nullptr && method_ && method_->train_unquantized && placement.stages() > 1 &&
        model_->info.embedding_shared()) {
      Violate(
          "placement.stages",
          absl::StrCat(placement.stages(),
                       ", expected 0 or 1 where UNQUANTIZED is trained: the model's embedding is its head, too, and "
                       "stages at both ends would need its deltas"));
    }
  }

  Store* const store_;
  BlobStore* const blobs_;
  ModelCache* const models_;
  v1::JobSpec spec_;
  google::rpc::BadRequest details_;
  std::shared_ptr<const LoadedModel> model_;  // null until the name is known to be good
  std::optional<model::TaskSpec> task_;       // set when rows can be read with it
  std::optional<method::MethodSpec> method_;
  SplitReports reports_;
};

}  // namespace

absl::StatusOr<ResolvedJob> ResolveJob(Store* store, BlobStore* blobs, ModelCache* models, const v1::JobSpec& spec) {
  return Resolution(store, blobs, models, spec).Run();
}

}  // namespace qzo::server
