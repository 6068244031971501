// What stands between a submitted spec and a queued job: every name, row and setting is checked, every default filled
// in, and the cost worked out, so that a job that was accepted can only fail for reasons that nobody could know.
// Thread-safe.
#ifndef QZO_SERVER_JOB_VALIDATION_H_
#define QZO_SERVER_JOB_VALIDATION_H_

#include "absl/status/statusor.h"
#include "qzo/v1/job.pb.h"
#include "server/blob_store.h"
#include "server/coordinator.h"
#include "server/model_cache.h"
#include "server/store.h"

namespace qzo::server {

struct ResolvedJob {
  v1::JobSpec spec;
  v1::Plan plan;
  JobFacts facts;
};

// Reads and tokenizes whole datasets: not for threads that others wait for. Possible errors: INVALID_ARGUMENT with all
// violations at once (fields of the spec, or "<dataset>:line:column" for a row); NOT_FOUND for a model or dataset;
// those of the store and the blobs.
absl::StatusOr<ResolvedJob> ResolveJob(Store* store, BlobStore* blobs, ModelCache* models, const v1::JobSpec& spec);

}  // namespace qzo::server

#endif  // QZO_SERVER_JOB_VALIDATION_H_
