// models inspect: what a model file or directory on this machine holds, and what training it would take.
#include <map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "base/status_macros.h"
#include "client/cli/exit_code.h"
#include "client/cli/json_output.h"
#include "client/cli/verbs.h"
#include "method/partition.h"
#include "model/formats/checkpoint_info.h"
#include "model/formats/model_files.h"

namespace qzo::client {
namespace {

struct Inspected {
  model::ModelInfo info;
  int64_t plain = 0;  // trained tensors of plain floats, which have no scales
};

absl::StatusOr<Inspected> Inspect(const std::string& path) {
  QZO_ASSIGN_OR_RETURN(const model::ModelFiles files, model::OpenModelFiles(path));
  Inspected inspected;
  if (files.gguf != nullptr) {
    QZO_ASSIGN_OR_RETURN(inspected.info, model::ReadModelInfo(*files.gguf));
    for (const method::TensorShape& tensor : inspected.info.trained) {
      const auto type = static_cast<uint32_t>(files.gguf->FindTensor(tensor.name)->type);
      inspected.plain += model::FindGgmlType(type)->block_values == 1 ? 1 : 0;
    }
    return inspected;
  }
  QZO_ASSIGN_OR_RETURN(model::CheckpointInfo read, model::ReadCheckpointInfo(*files.checkpoint));
  for (const model::CheckpointLinear& linear : read.linears) {
    inspected.plain += linear.storage == model::LinearStorage::kPlain ? 1 : 0;
  }
  inspected.info = std::move(read.info);
  return inspected;
}

std::string Mebibytes(int64_t bytes) {
  return absl::StrFormat("%.1f MiB", static_cast<double>(bytes) / static_cast<double>(1 << 20));
}

}  // namespace

absl::StatusOr<int> InspectModel(Session& session, const LocalFlags& flags) {
  QZO_ASSIGN_OR_RETURN(const Inspected inspected, Inspect(flags.model));
  const model::ModelInfo& info = inspected.info;
  std::map<std::string, int> groups;  // trained tensors by the size of their scale groups
  for (const method::TensorShape& tensor : info.trained) {
    ++groups[tensor.group == tensor.cols ? "row" : absl::StrCat(tensor.group)];
  }
  const int64_t channels = method::Partition(method::Granularity::kChannel, info.trained).multipliers();
  const int64_t by_group = method::Partition(method::Granularity::kGroup, info.trained).multipliers();
  int64_t deltas = 0;
  for (const method::TensorShape& tensor : info.unquantized) deltas += tensor.rows * tensor.cols;
  const int64_t floats = static_cast<int64_t>(sizeof(float));
  const int64_t activations = info.ActivationBytes(model::kPassRows);
  const int64_t base = info.file_bytes - info.released_bytes + info.repacked_bytes + activations;
  if (WantsJson(session)) {
    PrintJson(session, {{"architecture", info.architecture},
                        {"parameters", info.parameters},
                        {"layers", info.layers},
                        {"embeddingLength", info.embedding_length},
                        {"vocabulary", info.vocabulary},
                        {"contextLength", info.context_length},
                        {"tensorTypes", info.tensor_types},
                        {"trainedTensors", info.trained.size()},
                        {"scaleGroups", groups},
                        {"withoutScales", inspected.plain},
                        {"channelMultipliers", channels},
                        {"groupMultipliers", by_group},
                        {"unquantizedTensors", info.unquantized.size()},
                        {"deltas", deltas},
                        {"mappedBytes", info.file_bytes},
                        {"repackedBytes", info.repacked_bytes},
                        {"activationBytes", activations},
                        {"channelWorkerBytes", base + channels * floats},
                        {"groupWorkerBytes", base + by_group * floats},
                        {"deltaBytes", deltas * floats}});
    return kOk;
  }
  const auto listed = [](const auto& counts) { return absl::StrJoin(counts, ", ", absl::PairFormatter(": ")); };
  session.out() << absl::StrFormat("architecture  %s: %d layers of %d, %d tokens, context %d\n", info.architecture,
                                   info.layers, info.embedding_length, info.vocabulary, info.context_length)
                << absl::StrFormat("parameters    %.1fM\n", static_cast<double>(info.parameters) / 1e6)
                << "types         " << listed(info.tensor_types) << "\n"
                << absl::StrFormat("trained       %d tensors; values that share a scale: %s\n", info.trained.size(),
                                   listed(groups))
                << absl::StrFormat("multipliers   %d by channel, %d by group\n", channels, by_group)
                << absl::StrFormat("unquantized   %d tensors; %d deltas where they are trained, %s more\n",
                                   info.unquantized.size(), deltas, Mebibytes(deltas * floats))
                << absl::StrFormat("memory        %s mapped, %s repacked, %s activations of %d rows\n",
                                   Mebibytes(info.file_bytes), Mebibytes(info.repacked_bytes), Mebibytes(activations),
                                   model::kPassRows)
                << absl::StrFormat("of a worker   %s by channel, %s by group\n", Mebibytes(base + channels * floats),
                                   Mebibytes(base + by_group * floats));
  if (inspected.plain > 0) {
    session.out() << absl::StrFormat(
        "no scales     %d of the trained tensors are plain floats, which mode ABSOLUTE cannot train; of a checkpoint, "
        "qzoctl models convert makes a quantized GGUF file\n",
        inspected.plain);
  }
  return kOk;
}

}  // namespace qzo::client
