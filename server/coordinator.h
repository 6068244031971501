// The coordinator's shell: it owns the core (server/core), the open streams and the timers, carries the core's actions
// out and feeds what happens back in. Services call it; they decide nothing themselves. Thread contract: all methods
// may be called from any thread. One mutex guards the core; no method waits for the network; Recover, Stop and those
// that change a job wait until the change is durable.
#ifndef QZO_SERVER_COORDINATOR_H_
#define QZO_SERVER_COORDINATOR_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/clock.h"
#include "qzo/v1/job.pb.h"
#include "qzo/v1/stored.pb.h"
#include "qzo/v1/worker.pb.h"
#include "server/blob_store.h"
#include "server/core/split.h"
#include "server/metrics.h"
#include "server/store.h"

namespace qzo::server {

// The sending half of a worker's stream. Implementations queue and never block.
class WorkerStream {
 public:
  virtual ~WorkerStream() = default;
  virtual void Send(const v1::CoordinatorMessage& message) = 0;
  // Ends the stream; Detach follows from whoever owns it.
  virtual void Close(const absl::Status& status) = 0;
  // Called every Options::tick while the worker is attached.
  virtual void Tick() {}
};

// What a job needs to know of its datasets and model, found out once when it is created or recovered.
struct JobFacts {
  uint32_t validation_items = 0;  // of the rows that are evaluated each time; 0 = no such split
  uint32_t test_items = 0;
  int64_t tokens_per_step = 0;  // both lanes of all probes, mean over the training set
  core::ModelShape shape;       // for splits into stages
};

// A job that has not ended, as metrics show it.
struct JobView {
  std::string project;
  std::string id;
  v1::FineTuningJob::State state = v1::FineTuningJob::QUEUED;
  v1::Progress progress = {};
  uint32_t items = 0;    // of a step
  absl::Duration quiet;  // of a RUNNING job: since an item was answered, a step became durable or it began to run
};

class Coordinator {
 public:
  struct Options {
    absl::Duration tick = absl::Milliseconds(100);
    absl::Duration prepare_timeout = absl::Minutes(10);  // a worker that is not ready by then gives the job up
    // Makes the adapter file of a job's journal (steps [0, n)), stores it as a blob and fills in everything but name,
    // uid, figures and time. Called on a thread of the coordinator's own.
    std::function<absl::StatusOr<v1::StoredAdapter>(const v1::FineTuningJob& job, const method::JournalChunk& journal,
                                                    uint64_t replica_digest)>
        build_adapter;
    // Removes a blob that one resource fewer refers to, unless another still does. Called without the coordinator's
    // mutex.
    std::function<void(const std::string& digest)> discard_blob;
  };

  // The arguments must outlive the coordinator.
  Coordinator(const Options& options, Store* store, BlobStore* blobs, const base::Clock* clock, Metrics* metrics);
  ~Coordinator();

  // Takes over every job that has not ended, from the store. Call once, before serving.
  absl::Status Recover();
  // No new steps; waits until what was submitted to the store is durable.
  void Stop();

  // --- jobs (names are checked by the caller; errors: NOT_FOUND, FAILED_PRECONDITION with reasons) ---
  // `job` is resolved and validated. Durable when it returns. Answers an earlier request with the same request_id.
  absl::StatusOr<v1::FineTuningJob> Create(v1::FineTuningJob job, const JobFacts& facts, const std::string& request_id);
  absl::StatusOr<v1::FineTuningJob> Get(const std::string& name);
  absl::StatusOr<v1::FineTuningJob> Cancel(const std::string& name);
  absl::StatusOr<v1::FineTuningJob> Pause(const std::string& name);
  absl::StatusOr<v1::FineTuningJob> Resume(const std::string& name);
  absl::StatusOr<v1::FineTuningJob> Retry(const std::string& name);
  absl::Status Delete(const std::string& name, bool force);
  // Whether a job that has not ended uses this model or dataset name.
  bool InUse(const std::string& resource_name);

  // All that have not ended, the older first.
  std::vector<JobView> LiveJobs();

  // Calls `wake` (on some thread, quickly) whenever the job has new events or a new state; once at once. Returns an id
  // for Unwatch. The watcher then reads Get and Store::ReadEvents: events are stored before `wake` is called.
  absl::StatusOr<uint64_t> Watch(const std::string& name, std::function<void()> wake);
  void Unwatch(uint64_t watch);

  // --- workers ---
  // `stream` must stay valid until Detach. Returns the worker's id. INVALID_ARGUMENT for a bad Attach.
  absl::StatusOr<std::string> Attach(const v1::Attach& attach, WorkerStream* stream);
  void Receive(const std::string& worker, const v1::WorkerMessage& message);
  void Detach(const std::string& worker, std::string_view reason);  // reason: "closed", "lost", "protocol"
  absl::StatusOr<v1::Worker> GetWorker(const std::string& name);
  std::vector<v1::Worker> ListWorkers();
  absl::StatusOr<v1::Worker> Drain(const std::string& name);
  // A snapshot has been stored as blob `digest`; its header said job, step and replica digest.
  absl::Status SnapshotStored(const v1::PutSnapshotRequest::Header& header, const std::string& blob);

 private:
  class Impl;
  const std::unique_ptr<Impl> impl_;
};

}  // namespace qzo::server

#endif  // QZO_SERVER_COORDINATOR_H_
