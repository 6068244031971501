// A job that has not ended, as the coordinator's shell holds it, and the conversions between the core's structs, the
// API's messages and what is stored. Thread-compatible.
#ifndef QZO_SERVER_LIVE_JOB_H_
#define QZO_SERVER_LIVE_JOB_H_

#include <string>

#include "absl/status/statusor.h"
#include "qzo/v1/job.pb.h"
#include "qzo/v1/stored.pb.h"
#include "qzo/v1/worker.pb.h"
#include "server/core/types.h"
#include "server/store.h"

namespace qzo::server {

struct LiveJob {
  v1::StoredJob stored;
  ResourceKey key;
  std::string uid;
  uint64_t epoch = 1;
  uint64_t events = 0;  // sequence of the last event
  // What could not be stored, and what came after it: events are numbered without gaps. All of it is tried again.
  WriteBatch unsaved;
  absl::Duration save_again_at;
  absl::Duration last_step_at;
  absl::Duration heard_at;      // see JobView::quiet
  double seconds_per_step = 0;  // moving average, for the ETA

  v1::FineTuningJob& job() { return *stored.mutable_job(); }
};

// "projects/p/jobs/j" ↔ {"job", p, j}. NOT_FOUND for anything else.
absl::StatusOr<ResourceKey> JobKey(const std::string& name);

void StoreShape(const core::ModelShape& shape, v1::StoredJob::Shape* stored);
absl::StatusOr<core::JobConfig> ConfigOf(const v1::StoredJob& stored, const std::string& project);
v1::FineTuningJob::State ToProto(core::JobState state);
bool IsTerminal(v1::FineTuningJob::State state);

std::string EncodeEvaluation(const core::EvaluationRecord& record);
absl::StatusOr<core::EvaluationRecord> DecodeEvaluation(const StoredEvaluation& stored);
const char* SplitName(core::Split split);

// Trailing steps with a projected gradient that was not finite, and the rule's state, from the end of the journal.
absl::StatusOr<core::JobHistory> ReadHistory(Store* store, const StoredResource& resource);

// Brings progress (step, figures, ETA) up to date in `job`.
void ShowStep(const core::StepCommitted& step, int64_t tokens_per_step, absl::Duration now, LiveJob* live);
void ShowEvaluation(const core::EvaluationRecord& record, v1::Progress* progress);

// Answers of a worker as core events. INVALID_ARGUMENT when the message contradicts itself.
absl::StatusOr<core::ItemResults> ToCore(core::WorkerHandle worker, const v1::Results& results);
absl::StatusOr<core::EvaluationResults> ToCore(core::WorkerHandle worker, const v1::EvalResults& results);

}  // namespace qzo::server

#endif  // QZO_SERVER_LIVE_JOB_H_
