// submit and plan: from a job file to a job.
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "client/cli/exit_code.h"
#include "client/cli/follow.h"
#include "client/cli/verbs.h"
#include "client/job_file.h"
#include "client/local_model.h"
#include "client/report.h"
#include "proto/spec_convert.h"

namespace qzo::client {
namespace {

absl::StatusOr<JobFile> ReadJobFile(Session& session, const SubmitFlags& flags) {
  QZO_ASSIGN_OR_RETURN(const std::string text, session.ReadInput(flags.file));
  return ParseJobFile(text, flags.file, session.flags().project, flags.set);
}

// Uploads what the file names by path and fills in the names; what the server already holds is not stored again.
absl::Status UploadInputs(Session& session, Client* client, JobFile* file) {
  v1::JobSpec* spec = file->job.mutable_spec();
  if (!file->model_path.empty()) {
    UploadOptions options;
    options.progress = session.ShowTransfer("uploading " + file->model_path);
    QZO_ASSIGN_OR_RETURN(const v1::Model model, session.UploadModel(file->model_path, options));
    spec->set_base_model(model.name());
  }
  for (const auto& [split, path] : file->dataset_paths) {
    UploadOptions options;
    options.progress = session.ShowTransfer("uploading " + path);
    QZO_ASSIGN_OR_RETURN(const v1::Dataset dataset, client->UploadDataset(session.parent(), path, options));
    if (split == v1::TRAIN)
      spec->set_training_dataset(dataset.name());
    else if (split == v1::VALIDATION)
      spec->set_validation_dataset(dataset.name());
    else
      spec->set_test_dataset(dataset.name());
  }
  return absl::OkStatus();
}

absl::StatusOr<v1::FineTuningJob> Create(Session& session, JobFile* file, const std::string& request_id,
                                         bool validate_only) {
  QZO_ASSIGN_OR_RETURN(Client* const client, session.client());
  QZO_RETURN_IF_ERROR(UploadInputs(session, client, file));
  v1::CreateJobRequest request;
  request.set_parent(session.parent());
  request.set_job_id(file->job_id);
  request.set_request_id(request_id.empty() ? NewRequestId() : request_id);
  request.set_validate_only(validate_only);
  *request.mutable_job() = file->job;
  return client->CreateJob(request);
}

// Of the resolved job on this machine's model and training file; 0 when they are not here.
absl::StatusOr<double> MeasureLocally(Session& session, const JobFile& file, const v1::FineTuningJob& job) {
  const auto dataset = file.dataset_paths.find(v1::TRAIN);
  if (file.model_path.empty() || dataset == file.dataset_paths.end()) return 0;
  session.Note("measuring a step on this machine");
  QZO_ASSIGN_OR_RETURN(const auto local,
                       LocalModel::Load(file.model_path, nullptr, session.flags().threads, session.flags().arithmetic));
  QZO_ASSIGN_OR_RETURN(const absl::Duration step,
                       local->MeasureStep(job.spec(), dataset->second, *session.env().client.clock));
  return absl::ToDoubleSeconds(step);
}

void PrintPlan(Session& session, const v1::FineTuningJob& job, double seconds_per_step) {
  const OutputFormat output = session.flags().output;
  if (output == OutputFormat::kJson || output == OutputFormat::kYaml)
    session.PrintMessage(job);
  else
    session.out() << PlanReport(job, seconds_per_step);
}

}  // namespace

absl::StatusOr<int> Submit(Session& session, const SubmitFlags& flags) {
  QZO_ASSIGN_OR_RETURN(JobFile file, ReadJobFile(session, flags));
  QZO_ASSIGN_OR_RETURN(const v1::FineTuningJob job, Create(session, &file, flags.request_id, flags.validate_only));
  if (flags.validate_only) {
    PrintPlan(session, job, 0);
    return kOk;
  }
  const OutputFormat output = session.flags().output;
  if (flags.wait || (session.env().out_is_terminal && !flags.detach)) {
    session.Note("submitted " + job.name());
    return Follow(session, job.name(), 1);
  }
  if (output == OutputFormat::kJson || output == OutputFormat::kYaml)
    session.PrintMessage(job);
  else
    session.out() << job.name() << "\n";
  return kOk;
}

absl::StatusOr<int> Plan(Session& session, const SubmitFlags& flags) {
  QZO_ASSIGN_OR_RETURN(JobFile file, ReadJobFile(session, flags));
  QZO_ASSIGN_OR_RETURN(const v1::FineTuningJob job, Create(session, &file, "", /*validate_only=*/true));
  QZO_ASSIGN_OR_RETURN(const double seconds, MeasureLocally(session, file, job));
  PrintPlan(session, job, seconds);
  return kOk;
}

}  // namespace qzo::client
