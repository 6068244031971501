#include "server/adapter_files.h"

#include <google/protobuf/util/json_util.h>

#include <limits>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "method/adapter.h"
#include "proto/spec_convert.h"

namespace qzo::server {

absl::StatusOr<std::string> BuildAdapterFile(const v1::FineTuningJob& job, const model::ModelInfo& info,
                                             const method::JournalChunk& journal, uint64_t replica_digest) {
  method::Adapter adapter;
  QZO_ASSIGN_OR_RETURN(adapter.spec, rpc::ToMethodSpec(job.spec().method()));
  adapter.base_model_digest = job.spec().base_model_digest();
  adapter.tensors = info.TrainedBy(adapter.spec);
  adapter.step = static_cast<uint32_t>(journal.records.size());
  adapter.replica_digest = replica_digest;
  adapter.job = job.name();
  adapter.journal = journal.records;
  adapter.state_after = journal.state_after;
  if (const auto status = google::protobuf::util::MessageToJsonString(job.spec().task(), &adapter.task_json);
      !status.ok()) {
    return absl::InternalError(
        absl::StrCat("the task of ", job.name(), " cannot be written as JSON: ", status.ToString()));
  }
  return method::EncodeAdapter(adapter);
}

absl::StatusOr<v1::StoredAdapter> StoreAdapterFile(BlobStore* blobs, ModelCache* models, const v1::FineTuningJob& job,
                                                   const method::JournalChunk& journal, uint64_t replica_digest) {
  QZO_ASSIGN_OR_RETURN(const std::shared_ptr<const LoadedModel> base, models->Load(job.spec().base_model_digest()));
  QZO_ASSIGN_OR_RETURN(const std::string file, BuildAdapterFile(job, base->info, journal, replica_digest));
  QZO_ASSIGN_OR_RETURN(const std::unique_ptr<BlobWriter> writer,
                       blobs->NewWriter(std::numeric_limits<uint64_t>::max()));
  QZO_RETURN_IF_ERROR(writer->Append(file));
  v1::StoredAdapter stored;
  QZO_ASSIGN_OR_RETURN(*stored.mutable_blob(), writer->Finish(""));
  QZO_ASSIGN_OR_RETURN(const method::MethodSpec spec, rpc::ToMethodSpec(job.spec().method()));
  v1::Adapter& adapter = *stored.mutable_adapter();
  adapter.set_base_model_digest(job.spec().base_model_digest());
  adapter.set_step(static_cast<uint32_t>(journal.records.size()));
  adapter.set_bytes(static_cast<int64_t>(file.size()));
  adapter.set_multipliers(base->info.PartitionFor(spec).multipliers());
  return stored;
}

}  // namespace qzo::server
