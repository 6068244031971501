// verify and export.
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/status_macros.h"
#include "client/cli/exit_code.h"
#include "client/cli/json_output.h"
#include "client/cli/verbs.h"
#include "client/export.h"
#include "client/local_model.h"
#include "model/tasks/evaluation.h"

namespace qzo::client {
namespace {

using ::nlohmann::ordered_json;

// Mean loss over a dataset, of the model as loaded.
absl::StatusOr<double> LossOf(LocalModel& local, const v1::Task& task, const std::string& dataset) {
  QZO_ASSIGN_OR_RETURN(const model::TaskSpec spec, TaskFor(local.model(), task));
  QZO_ASSIGN_OR_RETURN(const model::EvalSums sums, local.Evaluate(spec, dataset));
  return model::Figures(sums).loss;
}

}  // namespace

absl::StatusOr<int> Verify(Session& session, const LocalFlags& flags) {
  QZO_ASSIGN_OR_RETURN(const method::Adapter adapter, session.FindAdapter(flags.adapter, flags.step));
  QZO_ASSIGN_OR_RETURN(const std::string path, session.FindModel(flags.model, adapter.base_model_digest));
  const absl::StatusOr<VerifyReport> report = VerifyAdapter(path, adapter, session.flags().threads);
  if (!report.ok())
    return absl::Status(report.status().code(), absl::StrCat(flags.adapter, ": ", report.status().message()));
  const std::string digest = absl::StrFormat("%016x", report->replica_digest);
  if (WantsJson(session)) {
    PrintJson(session, {{"steps", report->steps},
                        {"multipliers", report->multipliers},
                        {"replicaDigest", digest},
                        {"digestRecorded", report->digest_recorded},
                        {"baseModelDigest", adapter.base_model_digest},
                        {"job", adapter.job}});
    return kOk;
  }
  session.out() << absl::StrFormat("base model   %s\n", adapter.base_model_digest)
                << absl::StrFormat("journal      %d steps, every coefficient follows from the measured gradients\n",
                                   report->steps)
                << absl::StrFormat("replica      %s, %d multipliers%s\n", digest, report->multipliers,
                                   report->digest_recorded ? ": as the adapter says"
                                                           : "; the adapter names no digest to compare with");
  return kOk;
}

absl::StatusOr<int> Export(Session& session, const LocalFlags& flags) {
  QZO_ASSIGN_OR_RETURN(const method::Adapter adapter, session.FindAdapter(flags.adapter, flags.step));
  QZO_ASSIGN_OR_RETURN(const std::string path, session.FindModel(flags.model, adapter.base_model_digest));
  QZO_ASSIGN_OR_RETURN(const auto local,
                       LocalModel::Load(path, &adapter, session.flags().threads, session.flags().arithmetic));
  if (!local->model().from_gguf()) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": only GGUF models can be exported"));
  }
  std::optional<v1::Task> task;
  std::optional<double> loss_before;
  if (!flags.dataset.empty()) {
    QZO_ASSIGN_OR_RETURN(task, TaskOf(adapter));
    QZO_ASSIGN_OR_RETURN(loss_before, LossOf(*local, *task, flags.dataset));
  }
  QZO_ASSIGN_OR_RETURN(const ExportReport report,
                       ExportGguf(session.fs(), local->model().file(), local->replica().partition(),
                                  local->replica().multipliers(), flags.destination));
  std::optional<double> loss_after;
  if (task) {
    QZO_ASSIGN_OR_RETURN(const auto exported, LocalModel::Load(flags.destination, nullptr, session.flags().threads,
                                                               session.flags().arithmetic));
    QZO_ASSIGN_OR_RETURN(loss_after, LossOf(*exported, *task, flags.dataset));
  }
  if (report.overflowed > 0) {
    session.Note(
        absl::StrCat("warning: ", report.overflowed, " scales are too large for the file's type and were cut"));
  }
  if (WantsJson(session)) {
    ordered_json json = {{"file", flags.destination},     {"tensors", report.tensors},
                         {"values", report.values},       {"overflowed", report.overflowed},
                         {"subnormal", report.subnormal}, {"maxRelativeError", report.max_relative_error}};
    if (loss_after) json.update({{"lossBeforeRounding", *loss_before}, {"lossAfterRounding", *loss_after}});
    PrintJson(session, json);
    return kOk;
  }
  session.out() << absl::StrFormat("wrote %s: %d tensors, %d numbers multiplied\n", flags.destination, report.tensors,
                                   report.values)
                << absl::StrFormat("rounding: at most %.2g relative; %d too large, %d subnormal\n",
                                   report.max_relative_error, report.overflowed, report.subnormal);
  if (loss_after)
    session.out() << absl::StrFormat("loss: %.6f as trained, %.6f as exported\n", *loss_before, *loss_after);
  return kOk;
}

}  // namespace qzo::client
