// Adapter files of jobs: what is downloaded, and what is kept when a job has succeeded. Thread-safe.
#ifndef QZO_SERVER_ADAPTER_FILES_H_
#define QZO_SERVER_ADAPTER_FILES_H_

#include <string>

#include "absl/status/statusor.h"
#include "method/journal.h"
#include "model/formats/model_info.h"
#include "qzo/v1/stored.pb.h"
#include "server/blob_store.h"
#include "server/model_cache.h"

namespace qzo::server {

// The adapter file (method/adapter.h, journal form) of a job after the steps of `journal`, which begins at step 0.
// `replica_digest` is that of the multipliers there, 0 = not known.
absl::StatusOr<std::string> BuildAdapterFile(const v1::FineTuningJob& job, const model::ModelInfo& info,
                                             const method::JournalChunk& journal, uint64_t replica_digest);

// Coordinator::Options::build_adapter: the same file, stored as a blob so that it outlives the job and its base model.
absl::StatusOr<v1::StoredAdapter> StoreAdapterFile(BlobStore* blobs, ModelCache* models, const v1::FineTuningJob& job,
                                                   const method::JournalChunk& journal, uint64_t replica_digest);

}  // namespace qzo::server

#endif  // QZO_SERVER_ADAPTER_FILES_H_
