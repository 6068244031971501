// verify and export.
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/status_macros.h"
#include "client/cli/exit_code.h"
#include "client/cli/ggml_type.h"
#include "client/cli/json_output.h"
#include "client/cli/verbs.h"
#include "client/comparing_file_system.h"
#include "client/convert.h"
#include "client/export.h"
#include "client/local_model.h"
#include "model/tasks/evaluation.h"

namespace qzo::client {
namespace {

using ::nlohmann::ordered_json;

// Writes the model with its replica's multipliers through `fs`.
absl::StatusOr<ExportReport> WriteModel(base::FileSystem* fs, LocalModel& local, const std::string& type,
                                        const std::string& destination) {
  const model::Model& model = local.model();
  const method::Partition& partition = local.replica().partition();
  if (model.from_gguf()) {
    return ExportGguf(fs, model.file(), partition, local.replica().multipliers(), TypeNamed(type), destination);
  }
  if (!type.empty()) {
    const Fold fold = {.partition = &partition, .multipliers = local.replica().multipliers()};
    QZO_RETURN_IF_ERROR(ConvertToGguf(fs, model.checkpoint(), *TypeNamed(type), fold, destination).status());
    const auto tensors = static_cast<int64_t>(partition.tensors().size());
    return ExportReport{.tensors = tensors, .converted = tensors, .rounding = {}};
  }
  return ExportCheckpoint(fs, model.checkpoint(), partition, local.replica().multipliers(), destination);
}

// Mean loss over a dataset, of the model as loaded.
absl::StatusOr<double> LossOf(LocalModel& local, const v1::Task& task, const std::string& dataset) {
  QZO_ASSIGN_OR_RETURN(const model::TaskSpec spec, TaskFor(local.model(), task));
  QZO_ASSIGN_OR_RETURN(const model::EvalSums sums, local.Evaluate(spec, dataset));
  return model::Figures(sums).loss;
}

// What keeps the model's types from holding the multipliers, and what it would cost to make them.
absl::Status RefuseWhatCannotBeHeld(LocalModel& local, const LocalFlags& flags, const std::optional<v1::Task>& task,
                                    std::optional<double> loss) {
  if (!local.model().from_gguf() || !flags.type.empty()) return absl::OkStatus();
  model::Replica& replica = local.replica();
  const model::GgufFile& file = local.model().file();
  const std::vector<std::string> tensors = TensorsThatCannotHold(file, replica.partition());
  if (tensors.empty()) return absl::OkStatus();
  std::string cost = "--dataset DATA measures the loss that the nearest ones they can hold would cost";
  if (task) {
    const std::vector<float> held = NearestHeld(file, replica.partition(), replica.multipliers());
    QZO_RETURN_IF_ERROR(replica.Restore(replica.step(), held));
    QZO_ASSIGN_OR_RETURN(const double held_loss, LossOf(local, *task, flags.dataset));
    cost =
        absl::StrFormat("with the nearest ones they can hold the loss would be %.6f instead of %.6f", held_loss, *loss);
  }
  return absl::InvalidArgumentError(
      absl::StrCat(file.path(), ": ", tensors.size(), " tensors cannot hold the adapter's multipliers, the first ",
                   tensors[0], "; ", cost, "; --type f16, q8_0 or q4_1 stores them as another type"));
}

absl::StatusOr<int> ExportMultipliersAlone(Session& session, const LocalFlags& flags, const method::Adapter& adapter,
                                           LocalModel& local) {
  const method::Partition& partition = local.replica().partition();
  QZO_RETURN_IF_ERROR(
      ExportMultipliers(session.fs(), partition, local.replica().multipliers(),
                        {{"base_model_digest", adapter.base_model_digest},
                         {"granularity", partition.granularity() == method::Granularity::kGroup ? "group" : "channel"},
                         {"step", absl::StrCat(local.replica().step())},
                         {"job", adapter.job}},
                        flags.destination));
  if (WantsJson(session)) {
    PrintJson(session, {{"file", flags.destination},
                        {"tensors", partition.tensors().size()},
                        {"multipliers", partition.multipliers()},
                        {"deltas", partition.deltas()}});
  } else {
    session.out() << absl::StrFormat(
        "wrote %s: %d multipliers%s of %d tensors\n", flags.destination, partition.multipliers(),
        partition.deltas() == 0 ? "" : absl::StrFormat(" and %d deltas", partition.deltas()),
        partition.tensors().size());
  }
  return kOk;
}

}  // namespace

absl::StatusOr<int> Verify(Session& session, const LocalFlags& flags) {
  QZO_ASSIGN_OR_RETURN(const method::Adapter adapter, session.FindAdapter(flags.adapter, flags.step));
  QZO_ASSIGN_OR_RETURN(const std::string path, session.FindModel(flags.model, adapter.base_model_digest));
  const absl::StatusOr<VerifyReport> report = VerifyAdapter(path, adapter, session.flags().threads);
  if (!report.ok())
    return absl::Status(report.status().code(), absl::StrCat(flags.adapter, ": ", report.status().message()));
  if (!flags.exported.empty()) {
    QZO_ASSIGN_OR_RETURN(const auto local,
                         LocalModel::Load(path, &adapter, session.flags().threads, session.flags().arithmetic));
    ComparingFileSystem compare(session.fs());
    QZO_RETURN_IF_ERROR(WriteModel(&compare, *local, flags.type, flags.exported).status());
  }
  const std::string digest = absl::StrFormat("%016x", report->replica_digest);
  if (WantsJson(session)) {
    ordered_json json = {{"steps", report->steps},
                         {"multipliers", report->multipliers},
                         {"deltas", report->deltas},
                         {"replicaDigest", digest},
                         {"digestRecorded", report->digest_recorded},
                         {"baseModelDigest", adapter.base_model_digest},
                         {"job", adapter.job}};
    if (!flags.exported.empty()) json["exported"] = flags.exported;
    PrintJson(session, json);
    return kOk;
  }
  session.out() << absl::StrFormat("base model   %s\n", adapter.base_model_digest)
                << absl::StrFormat("journal      %d steps, every coefficient follows from the measured gradients\n",
                                   report->steps)
                << absl::StrFormat("replica      %s, %d multipliers%s%s\n", digest, report->multipliers,
                                   report->deltas == 0 ? "" : absl::StrFormat(", %d deltas", report->deltas),
                                   report->digest_recorded ? ": as the adapter says"
                                                           : "; the adapter names no digest to compare with");
  if (!flags.exported.empty()) {
    session.out() << absl::StrFormat("exported     %s is this model with this adapter, bit for bit\n", flags.exported);
  }
  return kOk;
}

absl::StatusOr<int> Export(Session& session, const LocalFlags& flags) {
  QZO_ASSIGN_OR_RETURN(const method::Adapter adapter, session.FindAdapter(flags.adapter, flags.step));
  QZO_ASSIGN_OR_RETURN(const std::string path, session.FindModel(flags.model, adapter.base_model_digest));
  QZO_ASSIGN_OR_RETURN(const auto local,
                       LocalModel::Load(path, &adapter, session.flags().threads, session.flags().arithmetic));
  if (flags.multipliers) return ExportMultipliersAlone(session, flags, adapter, *local);
  std::optional<v1::Task> task;
  std::optional<double> loss_before;
  if (!flags.dataset.empty()) {
    QZO_ASSIGN_OR_RETURN(task, TaskOf(adapter));
    QZO_ASSIGN_OR_RETURN(loss_before, LossOf(*local, *task, flags.dataset));
  }
  QZO_RETURN_IF_ERROR(RefuseWhatCannotBeHeld(*local, flags, task, loss_before));
  QZO_ASSIGN_OR_RETURN(const ExportReport report, WriteModel(session.fs(), *local, flags.type, flags.destination));
  std::optional<double> loss_after;
  if (task) {
    QZO_ASSIGN_OR_RETURN(const auto exported, LocalModel::Load(flags.destination, nullptr, session.flags().threads,
                                                               session.flags().arithmetic));
    QZO_ASSIGN_OR_RETURN(loss_after, LossOf(*exported, *task, flags.dataset));
  }
  const Rounding& rounding = report.rounding;
  if (rounding.overflowed > 0) {
    session.Note(
        absl::StrCat("warning: ", rounding.overflowed, " numbers are too large for the file's type and were cut"));
  }
  if (WantsJson(session)) {
    ordered_json json = {{"file", flags.destination}, {"tensors", report.tensors}, {"converted", report.converted}};
    if (rounding.values > 0) {
      json.update({{"values", rounding.values},
                   {"overflowed", rounding.overflowed},
                   {"subnormal", rounding.subnormal},
                   {"maxRelativeError", rounding.max_relative_error}});
    }
    if (loss_after) json.update({{"lossBeforeRounding", *loss_before}, {"lossAfterRounding", *loss_after}});
    PrintJson(session, json);
    return kOk;
  }
  session.out() << absl::StrFormat("wrote %s: %d tensors", flags.destination, report.tensors);
  if (rounding.values > 0) session.out() << absl::StrFormat(", %d numbers changed", rounding.values);
  if (report.converted > 0) session.out() << absl::StrFormat("; %d tensors stored as %s", report.converted, flags.type);
  session.out() << "\n";
  if (rounding.values > 0) {
    session.out() << absl::StrFormat("rounding: at most %.2g relative; %d too large, %d subnormal\n",
                                     rounding.max_relative_error, rounding.overflowed, rounding.subnormal);
  }
  if (loss_after)
    session.out() << absl::StrFormat("loss: %.6f as trained, %.6f as exported\n", *loss_before, *loss_after);
  return kOk;
}

}  // namespace qzo::client
